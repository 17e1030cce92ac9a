"""Updates per second of SAC, TD3 and DQN, with an MLP and spiking, against Stable-Baselines3.

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
"""Networks that we are measured with."""
STORED = 1000
"""Steps in a replay."""

# Settings of agents and networks beside those of the flags

REPLAY = {"replay": 20_000}
"""Settings of every agent."""
AGENTS = {"dqn": {"double": False}}
"""Settings of some agents."""
MLP = {"activation": "relu"}
"""Settings of the MLP."""


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
    """Seeds of ours, trained side by side: an update is then one of each."""
    threads: tuple[int, ...] = (1, 2)
    """Torch threads that everyone is tried with."""
    rounds: int = 5
    """Measurements of each side, in turn."""
    updates: int = 50
    """Updates per measurement."""
    device: str = "cpu"
    """The device that ours learns on: cpu or cuda."""


def run(settings: Settings) -> dict[str, Any]:
    """Figures of `agent network` and, in the same run, of SB3's."""
    results: dict[str, Any] = {}
    for agent in settings.agents:
        results |= compare(agent, settings)
    return results


def compare(agent: str, settings: Settings) -> dict[str, Any]:
    """Figures of one learner with each network, and of SB3's; each at its best thread count."""
    learners = {f"{agent} {network}": ours(agent, network, settings) for network in NETWORKS}
    peer = theirs(agent, settings)
    if peer is not None:
        learners[f"sb3 {agent}"] = peer
    sides = {}
    for name, do in learners.items():
        for threads in settings.threads:
            sides[f"{name} {threads}"] = timed(do, threads, settings.updates)
    tried = interleave(sides, settings.rounds)
    threads = {}
    speeds = {}
    for name in learners:
        best = tried.fastest(*(f"{name} {n}" for n in settings.threads))
        threads[name] = int(best.split()[-1])
        speeds[name] = tried.speeds[best]
    measured = Rounds(speeds)
    # everyone is compared with SB3 and with our MLP
    against = [name for name in learners if name.startswith("sb3") or name.endswith("mlp")]
    return {
        name: {
            **measured.figures(name, *(other for other in against if other != name)),
            "threads": threads[name],
        }
        for name in learners
    }


# Sides


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
    """The observation space and the action space."""
    observation = gym.spaces.Box(-np.inf, np.inf, (settings.observation,), np.float32)
    if agent == "dqn":
        return observation, gym.spaces.Discrete(settings.action)
    return observation, gym.spaces.Box(-1.0, 1.0, (settings.action,), np.float32)


def ours(agent: str, network: str, settings: Settings) -> Callable[[int], None]:
    """A function that does so many updates of our learner."""
    learner = make_agent(agent, network, settings).learner
    learner.replay.add(to(noise(agent, settings), settings.device))
    on_gpu = settings.device != "cpu"

    def do(updates: int) -> None:
        for _ in range(updates):
            learner.learn(learner.sample())
        # the calls return before the device has done them
        if on_gpu:
            torch.cuda.synchronize()

    return do


def make_agent(agent: str, network: str, settings: Settings) -> Any:
    """Our learner of that name, with its seeds side by side."""
    module = config.agents_module(agent)
    agent_settings = {"batch": settings.batch, **REPLAY, **AGENTS.get(agent, {})}
    if agent != "dqn":  # whose network is its critic
        agent_settings["critic_hidden"] = settings.hidden
    network_settings: dict[str, Any] = {"hidden": settings.hidden}
    network_settings |= MLP if network == "mlp" else {"ticks": settings.ticks}
    defaults = Blueprint.default(network).config
    return module.Agent(
        config.fill(module.Config(), agent_settings, agent),
        Blueprint(network, config.fill(defaults, network_settings, network)),
        *spaces(agent, settings),
        horizon=Horizon(1_000_000),
        seed=range(settings.seeds),
        device=settings.device,
    )


def noise(agent: str, settings: Settings) -> Transition:
    """Transitions [T, B, ...] of no world."""
    g = torch.Generator().manual_seed(0)
    batch = (STORED, settings.seeds)
    obs = torch.randn(*batch, settings.observation, generator=g)
    # drawn for dqn too, so that its rewards are those of the others
    action = torch.rand(*batch, settings.action, generator=g) * 2 - 1
    if agent == "dqn":
        action = torch.randint(settings.action, batch, generator=g)
    no = torch.zeros(batch, dtype=torch.bool)
    percept = Percept(obs, action, torch.zeros(batch), no, no)
    reward = torch.randn(*batch, generator=g)
    return Transition(percept, action, reward, no, no, obs.flip(0), ~no, {})


def theirs(agent: str, settings: Settings) -> Callable[[int], None] | None:
    """SB3 doing so many updates; None, and said so, where it is missing."""
    try:
        from bio_rl.bench import _sb3
    except ImportError:
        print("stable-baselines3 is not installed, so it is left out: pip install 'bio-rl[bench]'")
        return None
    return _sb3.off_policy(agent, *spaces(agent, settings), settings.hidden, settings.batch)
