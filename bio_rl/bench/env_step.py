"""Steps per second of the MuJoCo worlds, against Gymnasium's SyncVectorEnv and EnvPool.

All take random actions. Only true transitions count: a row in which a NEXT_STEP environment merely
resets itself is no step.
"""

# The peers may be missing: the bench extra brings them.
# pyright: reportMissingImports=false

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from bio_rl import vector
from bio_rl.bench._peers import sync
from bio_rl.bench._report import Shared, cores, interleave

ACTIONS = 64
"""Batches of random actions made beforehand and used in turn."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Measure how fast vector environments step."""

    env: tuple[str, ...] = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5")
    """Worlds that we and Gymnasium both have, by Gymnasium's name."""
    num_envs: int = 64
    """Environments side by side."""
    rounds: int = 11
    """Measurements of each side, in turn."""
    seconds: float = 0.7
    """s, length of one measurement."""

    def __post_init__(self) -> None:
        if self.num_envs < 1 or self.seconds <= 0:
            raise ValueError(
                f"--num-envs {self.num_envs} --seconds {self.seconds}: expected positive numbers"
            )


def run(settings: Settings) -> dict[str, Any]:
    """Figures of every world: steps per second of each side, `vs_sync` and `vs_envpool`."""
    return {env: compare(env, settings) for env in settings.env}


def compare(env: str, settings: Settings) -> dict[str, Any]:
    """Ours against the peers that are installed."""
    if not vector.find_id(env).startswith("bio_rl/"):
        raise ValueError(f"--env {env}: the library has no environment of its own under this name")
    n = settings.num_envs
    ours = gym.make_vec(vector.find_id(env), n, autoreset_mode=AutoresetMode.SAME_STEP)
    peers: dict[str, Any] = {"sync": sync(env, n)}
    pool = envpool(env, n)
    if pool is not None:
        peers["envpool"] = pool
    sides = {"ours": stepper(ours, settings, ours)}
    for name, peer in peers.items():
        sides[name] = stepper(peer, settings, ours, resets=name == "envpool")
    measured = interleave(sides, settings.rounds)
    for made in (ours, *peers.values()):
        made.close()
    figures = measured.figures("ours", *peers)
    for name in peers:
        figures |= measured.figures(name, name=f"{name}_steps_per_s")
    return figures


def envpool(env: str, n: int) -> Any:
    """EnvPool's environment on all cores; None, and said so, where it is missing."""
    try:
        import envpool
    except ImportError:
        print("envpool is not installed, so it is left out: pip install 'bio-rl[bench]'")
        return None
    if env not in envpool.list_all_envs():
        print(f"EnvPool has no {env}, so it is left out")
        return None
    threads = min(cores(), n)
    return envpool.make(env, env_type="gymnasium", num_envs=n, num_threads=threads, seed=0)


def stepper(
    env: Any, settings: Settings, like: VectorEnv, resets: bool = False
) -> Callable[[], float]:
    """A measurement of `env`: true transitions per second.

    resets: it spends a step on the reset of a row, which is no transition; it takes no seed.
    """
    n = settings.num_envs
    space = like.action_space
    space.seed(0)
    # EnvPool takes no strided arrays
    actions = [np.ascontiguousarray(space.sample()) for _ in range(ACTIONS)]
    if resets:
        env.reset()
    else:
        env.reset(seed=0)
    # Both go on from one measurement to the next.
    at = 0
    resetting = 0

    def measure() -> float:
        nonlocal at, resetting
        steps = 0
        began = time.perf_counter()
        while (elapsed := time.perf_counter() - began) < settings.seconds:
            _, _, terminated, truncated, _ = env.step(actions[at % ACTIONS])
            steps += n - resetting
            at += 1
            if resets:
                resetting = int(np.count_nonzero(terminated | truncated))
        return steps / elapsed

    return measure
