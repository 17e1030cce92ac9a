"""Greedy evaluation: fixed start states, one episode each, in environments of its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bio_rl.runner import begin, decide
from bio_rl.types import Agent, Probe
from bio_rl.vector import Vector

MAX_STEPS = 100_000
"""A guard: an environment without a time limit must not evaluate for ever."""


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted returns of whole episodes."""

    episodes: int
    mean: float
    std: float
    median: float
    min: float
    max: float
    returns: list[float]
    lengths: list[int]

    @staticmethod
    def of(returns: list[float], lengths: list[int]) -> Evaluation:
        """Its statistics."""
        r = np.asarray(returns)
        return Evaluation(
            episodes=len(r),
            mean=float(r.mean()),
            std=float(r.std()),
            median=float(np.median(r)),
            min=float(r.min()),
            max=float(r.max()),
            returns=[float(x) for x in r],
            lengths=[int(x) for x in lengths],
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        digits = 1 if abs(self.mean) >= 10 else 2
        mean, std, median, least = (f"{x:.{digits}f}" for x in (self.mean, self.std, self.median, self.min))
        return f"{mean} ± {std} over {self.episodes} episodes (median {median}, min {least})"


def evaluate(agent: Agent, env: Vector, seed: int, explore: bool = False) -> Evaluation:
    """One episode in each environment of `env`, row i started from `seed + i`: the first of each row counts, so that
    short episodes are not counted more often. The agent's weights, normaliser and generators stay as they are."""
    n = env.num_envs
    life = begin(agent, env, seed)
    returns, lengths = np.zeros(n), np.zeros(n, np.int64)
    running = np.ones(n, bool)
    for _ in range(MAX_STEPS):
        transition, life = decide(agent, env, life, explore)
        counted = running & transition.valid.cpu().numpy()
        returns[counted] += transition.reward.cpu().numpy()[counted]
        lengths[counted] += 1
        running &= ~(transition.terminated | transition.truncated).cpu().numpy()
        if not running.any():
            return Evaluation.of(returns.tolist(), lengths.tolist())
    raise ValueError(f"an episode ran for {MAX_STEPS} steps without end; give the environment a max_episode_steps")


def frames(agent: Agent, env: Vector, seed: int) -> tuple[list[np.ndarray], float]:
    """The pictures [H, W, 3] of one greedy episode in the first environment of `env`, and its return."""
    life, pictures, total = begin(agent, env, seed), [], 0.0
    for _ in range(MAX_STEPS):
        picture: Any = env.env.render()
        pictures.append(np.asarray(picture[0]))
        transition, life = decide(agent, env, life, explore=False)
        total += float(transition.reward[0])
        if bool(transition.terminated[0] | transition.truncated[0]):
            break
    return pictures, total


@dataclass(frozen=True)
class Recording:
    """What a brain did in the first environment, decision by decision: D of them, until its episode ended."""

    probe: Probe
    """Of all D decisions; of all rows."""
    actions: np.ndarray
    """[D, A], or [D, 1] for choices."""
    rewards: np.ndarray
    """[D]."""

    def train(self, name: str) -> np.ndarray:
        """A record of the first row with all ticks in one row, [D·K, N]; what is held for a decision is repeated K times."""
        rows = [x[:, 0].cpu().numpy() for x in self.probe.records[name]]
        return np.concatenate([np.repeat(x, self.ticks, 0) if len(x) == 1 else x for x in rows])

    @property
    def ticks(self) -> int:
        """K."""
        return len(self.probe.records["spikes/1"][0])

    @property
    def layers(self) -> int:
        """How many layers spiked; 0 for a network of other units."""
        return sum(name.startswith("spikes/") for name in self.probe.records)


def record(agent: Agent, env: Vector, seed: int, decisions: int) -> Recording:
    """Up to `decisions` greedy decisions from the start state `seed`, with all that the deciding network reports."""
    life, probe = begin(agent, env, seed), Probe()
    actions, rewards = [], []
    for _ in range(decisions):
        transition, life = decide(agent, env, life, explore=False, probe=probe)
        actions.append(transition.action[0].reshape(-1).cpu().numpy())
        rewards.append(float(transition.reward[0]))
        if bool(transition.terminated[0] | transition.truncated[0]):
            break
    return Recording(probe, np.stack(actions), np.array(rewards))
