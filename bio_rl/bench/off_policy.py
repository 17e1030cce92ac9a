"""Updates per second of SAC, TD3 and DQN, with an MLP and spiking, against Stable-Baselines3's.

An update is a draw from a replay of a thousand steps and one gradient step of all networks (TD3's
actor and targets move at every second). Layers, batch, observations and actions are the same for
everyone, and DQN is without its double form, which SB3 does not have. Each side runs at the best of
the thread counts tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from bio_rl.bench._report import Rounds, Shared, interleave
from bio_rl.contracts import Percept, Transition
from bio_rl.networks import Blueprint
from bio_rl.rl.clock import Horizon
from bio_rl.state import to
from bio_rl.training import config

NETWORKS = ("mlp", "spiking")


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Measure the speed of off-policy updates."""

    agents: tuple[str, ...] = ("sac", "td3", "dqn")
    """Learners."""
    observation: int = 17
    """Numbers in an observation: HalfCheetah's."""
    action: int = 6
    """Dimensions of an action, or choices."""
    batch: int = 256
    """Steps per update."""
    hidden: tuple[int, ...] = (256, 256)
    """Units per hidden layer, of actors and critics."""
    ticks: int = 5
    """K of the spiking network."""
    seeds: int = 1
    """Of ours, trained side by side: an update is then one of each."""
    threads: tuple[int, ...] = (1, 2)
    """Torch threads that everyone is tried with."""
    rounds: int = 5
    """Measurements of each side, in turn."""
    updates: int = 50
    """Per measurement."""
    device: str = "cpu"
    """Of ours: cpu or cuda."""


def run(settings: Settings) -> dict[str, Any]:
    """Figures of `agent network` and, in the same run, of SB3's."""
    results: dict[str, Any] = {}
    for agent in settings.agents:
        makers: dict[str, Callable[[int], None]] = {
            f"{agent} {network}": ours(agent, network, settings) for network in NETWORKS
        }
        peer = theirs(agent, settings)
        if peer is not None:
            makers[f"sb3 {agent}"] = peer
        sides = {
            f"{name} {n}": timed(do, n, settings.updates)
            for name, do in makers.items()
            for n in settings.threads
        }
        measured = interleave(sides, settings.rounds)
        best = {
            name: measured.fastest(*(f"{name} {n}" for n in settings.threads)) for name in makers
        }
        measured = Rounds({name: measured.speeds[side] for name, side in best.items()})
        against = [name for name in makers if name.startswith("sb3") or name.endswith("mlp")]
        for name in makers:
            figures = measured.figures(name, *(other for other in against if other != name))
            results[name] = figures | {"threads": int(best[name].split()[-1])}
    return results


def timed(do: Callable[[int], None], threads: int, updates: int) -> Callable[[], float]:
    """A measurement: updates per second."""

    def measure() -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            began = time.perf_counter()
            do(updates)
            return updates / (time.perf_counter() - began)
        finally:
            torch.set_num_threads(before)

    return measure


def spaces(agent: str, settings: Settings) -> tuple[gym.Space, gym.Space]:
    """What is seen and done."""
    seen = gym.spaces.Box(-np.inf, np.inf, (settings.observation,), np.float32)
    done = gym.spaces.Box(-1.0, 1.0, (settings.action,), np.float32)
    return seen, gym.spaces.Discrete(settings.action) if agent == "dqn" else done


def ours(agent: str, network: str, settings: Settings) -> Callable[[int], None]:
    """Do so many updates."""
    module = config.agents_module(agent)
    its = {"double": False} if agent == "dqn" else {"critic_hidden": settings.hidden}
    own = {"hidden": settings.hidden} | (
        {"activation": "relu"} if network == "mlp" else {"ticks": settings.ticks}
    )
    blueprint = Blueprint(network, config.fill(Blueprint.default(network).config, own, network))
    learner = module.Agent(
        module.Config(batch=settings.batch, replay=20_000, **its), blueprint, *spaces(agent, settings),
        horizon=Horizon(1_000_000), seed=range(settings.seeds), device=settings.device,
    )  # fmt: skip
    g = torch.Generator().manual_seed(0)
    t, b = 1000, settings.seeds
    obs = torch.randn(t, b, settings.observation, generator=g)
    action = torch.rand(t, b, settings.action, generator=g) * 2 - 1
    if agent == "dqn":
        action = torch.randint(settings.action, (t, b), generator=g)
    no = torch.zeros(t, b, dtype=torch.bool)
    percept = Percept(obs, action, torch.zeros(t, b), no, no)
    steps = Transition(
        percept, action, torch.randn(t, b, generator=g), no, no, obs.flip(0), ~no, {}
    )
    learner.replay.add(to(steps, settings.device))
    cuda = settings.device != "cpu"

    def do(updates: int) -> None:
        for _ in range(updates):
            learner.learn(learner.draw())
        if cuda:
            torch.cuda.synchronize()

    return do


def theirs(agent: str, settings: Settings) -> Callable[[int], None] | None:
    """SB3 doing so many updates; None, and said so, where it is missing."""
    try:
        from bio_rl.bench import _sb3
    except ImportError:
        print("stable-baselines3 is not installed, so it is left out: pip install 'bio-rl[bench]'")
        return None
    return _sb3.off_policy(agent, *spaces(agent, settings), settings.hidden, settings.batch)
