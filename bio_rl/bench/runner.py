"""µs per step of the runner and the vector adapter: an idle agent in a world that does nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from bio_rl.bench._report import Rounds, Shared, interleave, spread
from bio_rl.contracts import ActOut, Agent, Episodes, Metrics, Percept, Probe, Rollout, State, Steps
from bio_rl.training import runner
from bio_rl.training.api import single_thread
from bio_rl.vector import Vector

# Sizes of HalfCheetah-v5.
OBS = 17
ACTIONS = 6


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Measure the overhead of the loop; the goal is at most 50 µs per step at one environment."""

    num_envs: tuple[int, ...] = (1, 64)
    """Environments side by side."""
    steps: int = 128
    """Steps of one rollout."""
    rollouts: int = 10
    """Rollouts per measurement."""
    rounds: int = 11
    """Measurements of each part, in turn."""

    def __post_init__(self) -> None:
        if min(self.num_envs, default=0) < 1 or self.steps < 1 or self.rollouts < 1:
            raise ValueError("--num-envs, --steps and --rollouts: expected positive numbers")


class NullEnv(VectorEnv):
    """A world that returns the same arrays at every step."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (OBS,), np.float64)
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        never = np.zeros(num_envs, bool)
        self._obs = np.zeros((num_envs, OBS))
        self._step = (self._obs, np.zeros(num_envs), never, never, {})

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        return self._obs, {}

    def step(self, actions: np.ndarray) -> tuple:
        return self._step


class NullAgent(Agent):
    """An agent that always decides the same and learns nothing; see `contracts.Agent`."""

    def __init__(self, num_envs: int, steps: int) -> None:
        self.rollout: Steps | Episodes = Steps(steps)
        self.device = torch.device("cpu")
        self._out = ActOut(torch.zeros(num_envs, ACTIONS), {"logp": torch.zeros(num_envs)}, ())

    def initial_state(self, batch: int) -> State:
        return ()

    def act(
        self, percept: Percept, state: State, explore: bool = True, probe: Probe | None = None
    ) -> ActOut:
        return self._out

    def update(self, rollout: Rollout, state: State) -> tuple[State, Metrics]:
        return state, {}

    def trained_tensors(self) -> Iterable[torch.Tensor]:
        return ()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def run(settings: Settings) -> dict[str, Any]:
    """µs per step (of all environments together) of the loop and its parts, by their number."""
    with single_thread():
        return {f"num_envs={n}": overhead(n, settings) for n in settings.num_envs}


def overhead(n: int, settings: Settings) -> dict[str, Any]:
    """Figures for n environments: `overhead_us` is the loop's time without the environment's own.

    `adapter_us` is the part of it in `Vector.step`.
    """
    agent = NullAgent(n, settings.steps)
    env = Vector(NullEnv(n))
    life = runner.begin(agent, env)
    action = torch.zeros(n, ACTIONS)
    array = np.zeros((n, ACTIONS), np.float32)
    rollouts = settings.rollouts
    # each of the first three is called as often as a rollout has steps
    steps = rollouts * settings.steps
    sides = {
        "env": timer(lambda: env.env.step(array), steps),
        "adapter": timer(lambda: env.step(action), steps),
        "decide": timer(lambda: runner.decide(agent, env, life), steps),
        "collect": timer(lambda: runner.collect(agent, env, life), rollouts, settings.steps),
    }
    return parts(interleave(sides, settings.rounds))


def timer(call: Callable[[], Any], calls: int, steps: int = 1) -> Callable[[], float]:
    """A measurement: µs per step of `calls` calls that make `steps` steps each."""

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(calls):
            call()
        return 1e6 * (time.perf_counter() - began) / (calls * steps)

    return measure


def parts(timed: Rounds) -> dict[str, Any]:
    """Differences of times within a round."""
    # each side does all that the one before it does, and more
    env = np.asarray(timed.speeds["env"])
    adapter = np.asarray(timed.speeds["adapter"])
    decide = np.asarray(timed.speeds["decide"])
    collect = np.asarray(timed.speeds["collect"])
    return {
        **spread("overhead_us", (collect - env).tolist()),
        **spread("adapter_us", (adapter - env).tolist()),
        **spread("decide_us", (decide - adapter).tolist()),
        **spread("stack_us", (collect - decide).tolist()),
        **spread("env_us", env.tolist()),
    }
