"""Greedy evaluation: fixed start states, one episode each, in environments of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from bio_rl.contracts import Agent, Probe
from bio_rl.training.reel import Reel
from bio_rl.training.runner import Life, begin, decide
from bio_rl.vector import TensorVectorEnv, Vector

MAX_STEPS = 30_000
"""A guard: an environment without a time limit must not evaluate for ever. The longest episodes of
Atari have 27,000.
"""
FILMED = 10_000
"""Decisions that a film shows at most: five and a half minutes at 30 a second."""


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
    cut: bool = False
    """Whether an episode had no end within `MAX_STEPS` and was cut there."""

    @staticmethod
    def of(returns: list[float], lengths: list[int], cut: bool = False) -> Evaluation:
        """The statistics of these episodes. Raises ValueError where there is none."""
        if not returns:
            raise ValueError("there is no episode to evaluate, expected at least one return")
        scores = np.asarray(returns)
        return Evaluation(
            episodes=len(scores),
            mean=float(scores.mean()),
            std=float(scores.std()),
            median=float(np.median(scores)),
            min=float(scores.min()),
            max=float(scores.max()),
            returns=[float(x) for x in scores],
            lengths=[int(x) for x in lengths],
            cut=cut,
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        # Three digits that count, whatever the scale of the rewards.
        digits = 1 if abs(self.mean) >= 10 else 2
        figures = (self.mean, self.std, self.median, self.min)
        mean, std, median, least = (f"{x:.{digits}f}" for x in figures)
        text = f"{mean} ± {std} over {self.episodes} episodes (median {median}, min {least})"
        if self.cut:
            text += f"; cut after {max(self.lengths):,} steps, as the environment has no end"
        return text


def evaluate(
    agent: Agent,
    env: TensorVectorEnv,
    seed: int,
    explore: bool = False,
    hear: Callable[[Life, list[int]], object] | None = None,
) -> Evaluation:
    """One episode in each environment of `env`, whose start states `seed` fixes
    (`random.world_seeds`).

    The first episode of each row counts, so that short ones are not counted more often; one without
    end is cut. The agent's weights and normaliser stay as they are; its generators go on only where
    it explores. hear: takes the lives before each decision, and the rows whose first episode goes
    on.
    """
    n = env.num_envs
    life = begin(agent, env, seed)
    returns = np.zeros(n)
    lengths = np.zeros(n, np.int64)
    running = np.ones(n, bool)
    for _ in range(MAX_STEPS):
        if hear is not None:
            hear(life, running.nonzero()[0].tolist())
        transition, life = decide(agent, env, life, explore)
        # Rows go on with further episodes after their first, which do not count.
        counted = running & transition.valid.cpu().numpy()
        returns[counted] += transition.reward.cpu().numpy()[counted]
        lengths[counted] += 1
        ended = transition.terminated | transition.truncated
        running &= ~ended.cpu().numpy()
        if not running.any():
            break
    return Evaluation.of(returns.tolist(), lengths.tolist(), bool(running.any()))


def evaluate_in_rounds(
    agent: Agent, env: TensorVectorEnv, episodes: int, seed: int, explore: bool = False
) -> Evaluation:
    """`episodes` of them, played one round after the other in environments that are fewer: a robot,
    say.

    Round i starts as `evaluate` does with seed + i. The episodes that `env` was playing are gone.
    """
    returns: list[float] = []
    lengths: list[int] = []
    cut = False
    while len(returns) < episodes:
        one_round = evaluate(agent, env, seed + len(returns) // env.num_envs, explore)
        returns += one_round.returns
        lengths += one_round.lengths
        cut = cut or one_round.cut
    # They are none of the training's.
    env.take_episodes()
    return Evaluation.of(returns[:episodes], lengths[:episodes], cut)


class Played(NamedTuple):
    """How a filmed episode went."""

    total: float
    """Return of the decisions that were filmed."""
    decisions: int
    ended: bool
    """Whether the episode ended; else it was cut after `FILMED` decisions."""


def filmed(
    agent: Agent,
    env: Vector,
    seed: int,
    show: Callable[[np.ndarray], object],
    hear: Callable[[Probe, float], object] | None = None,
    most: int | None = None,
) -> Played:
    """How one greedy episode went in the first environment of `env`, each of whose pictures [H, W,
    3] was given to `show`.

    No picture is kept here. hear: takes what the network reports of each decision, and its reward.
    An episode that has not ended is cut after `most` decisions, by default `FILMED`.
    """
    life = begin(agent, env, seed)
    total = 0.0
    most = FILMED if most is None else most
    for t in range(most):
        # A vector environment renders all of its rows.
        picture: Any = env.env.render()
        show(np.asarray(picture[0]))
        probe = None if hear is None else Probe()
        transition, life = decide(agent, env, life, explore=False, probe=probe)
        reward = float(transition.reward[0])
        total += reward
        if hear is not None and probe is not None:
            hear(probe, reward)
        if bool(transition.terminated[0] | transition.truncated[0]):
            return Played(total, t + 1, True)
    return Played(total, most, False)


def frames(agent: Agent, env: Vector, seed: int) -> tuple[Reel, float]:
    """The pictures [H, W, 3] of one greedy episode in the first environment of `env`, and its
    return.

    The pictures lie on disk, packed: memory does not grow with them. See `filmed` for one picture
    at a time.
    """
    # An hour of pictures does not fit into memory.
    pictures = Reel()
    return pictures, filmed(agent, env, seed, pictures.append).total
