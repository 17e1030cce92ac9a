"""Steps per second of every `bio_rl/` world, against a SyncVectorEnv of the same single class.

Random actions are drawn beforehand. All environments are asked for SAME_STEP, in which every step
is a true transition.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv

from bio_rl import envs, vector
from bio_rl.bench._peers import sync
from bio_rl.bench._report import Rounds, Shared, interleave, spread
from bio_rl.viz import worlds

BATCHES = 16
"""Batches of random actions made beforehand and used in turn."""
FEW = {"robotics": 16}
"""The most single environments that stand beside ours, by family: more are no faster per step."""
SOME = 64
"""The most of every other family."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Measure how fast our worlds step; `vs_sync` is the ratio of speeds per single step."""

    env: tuple[str, ...] = ()
    """Worlds of ours; by default all."""
    num_envs: tuple[int, ...] = (1, 1024)
    """Environments side by side."""
    rounds: int = 5
    """Measurements of each side, in turn."""
    budget: float = 2.0
    """s for each world, shared by all its measurements; each lasts a step at least."""

    def __post_init__(self) -> None:
        if min(self.num_envs, default=0) < 1 or self.budget <= 0:
            raise ValueError(
                f"--num-envs {self.num_envs} --budget {self.budget}: expected positive numbers"
            )


def run(settings: Settings) -> dict[str, Any]:
    """{"Name-v0 x N": steps_per_s, vs_sync, sync_steps_per_s, sync_envs}.

    Worlds that cannot be made here are left out.
    """
    results: dict[str, Any] = {}
    # refused before anything is measured
    chosen = [ours(env) for env in settings.env]
    for env_id in chosen or sorted(envs.discover()):
        try:
            results |= compare(env_id, settings)
        except (ImportError, gym.error.Error) as error:
            print(f"{env_id} is left out: {error}")
    return results


def ours(env: str) -> str:
    """The id of one of our worlds. Raises ValueError for any other."""
    env_id = vector.find_id(env)
    if not env_id.startswith("bio_rl/"):
        raise ValueError(
            f"--env {env}: the library has no world of its own under this name "
            "(see: train.py list envs)"
        )
    return env_id


def compare(env_id: str, settings: Settings) -> dict[str, Any]:
    """Figures of one world at each number of environments, beside some of the single class."""
    made: dict[str, VectorEnv] = {}
    try:
        for n in settings.num_envs:
            made[f"{n}"] = gym.make_vec(env_id, n, autoreset_mode=AutoresetMode.SAME_STEP)
            made[f"sync {n}"] = sync(env_id, peers(env_id, n))
        # one more than the rounds, as the first is not counted
        seconds = settings.budget / (len(made) * (settings.rounds + 1))
        sides = {side: stepper(env, seconds) for side, env in made.items()}
        measured = interleave(sides, settings.rounds)
    finally:
        for env in made.values():
            env.close()
    name = env_id.removeprefix("bio_rl/")
    results = {}
    for n in settings.num_envs:
        results[f"{name} x {n:,}"] = figures(measured, n) | {"sync_envs": peers(env_id, n)}
    return results


def peers(env_id: str, n: int) -> int:
    """The number of single environments that stand beside n of ours."""
    family = worlds.family(gym.spec(env_id))
    return min(n, FEW.get(family, SOME))


def figures(measured: Rounds, n: int) -> dict[str, Any]:
    """Speeds and their ratio at n environments."""
    mine = f"{n}"
    theirs = f"sync {n}"
    return {
        **spread("steps_per_s", measured.speeds[mine]),
        **spread("vs_sync", measured.ratios(mine, theirs)),
        **spread("sync_steps_per_s", measured.speeds[theirs]),
    }


def stepper(env: VectorEnv, seconds: float) -> Callable[[], float]:
    """A measurement of `env`: steps of single environments per second.

    It lasts `seconds`, and one step of all at least.
    """
    # drawn beforehand: sampling costs more than some worlds' steps
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(BATCHES)]
    env.reset(seed=0)
    at = 0

    def measure() -> float:
        nonlocal at
        steps = 0
        elapsed = 0.0
        began = time.perf_counter()
        while elapsed < seconds:
            env.step(actions[at % BATCHES])
            at += 1
            steps += env.num_envs
            elapsed = time.perf_counter() - began
        return steps / elapsed

    return measure
