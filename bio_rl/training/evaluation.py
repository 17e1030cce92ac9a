"""Greedy evaluation: fixed start states, one episode each, in environments of its own; and full
records of what a brain does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bio_rl.contracts import Agent, Probe, Steps, Transition
from bio_rl.state import index
from bio_rl.training.metrics import to_floats
from bio_rl.training.reel import Reel
from bio_rl.training.runner import begin, collect, decide
from bio_rl.vector import TensorVectorEnv, Vector

MAX_STEPS = 30_000
"""A guard: an environment without a time limit must not evaluate for ever. The longest episodes of
Atari have 27,000.
"""
FILMED = 10_000
"""Decisions that a film shows at most: five and a half minutes at 30 a second."""
PATIENCE = 1000
"""Decisions in which the end of an episode is waited for, where one is to be recorded."""
AFTER = 0.25
"""Share of the decisions that are recorded which come after that end."""


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


def evaluate(agent: Agent, env: TensorVectorEnv, seed: int, explore: bool = False) -> Evaluation:
    """One episode in each environment of `env`, whose start states `seed` fixes
    (`random.world_seeds`).

    The first episode of each row counts, so that short ones are not counted more often; one without
    end is cut. The agent's weights and normaliser stay as they are; its generators go on only where
    it explores.
    """
    n = env.num_envs
    life = begin(agent, env, seed)
    returns = np.zeros(n)
    lengths = np.zeros(n, np.int64)
    running = np.ones(n, bool)
    for _ in range(MAX_STEPS):
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


@dataclass(frozen=True)
class Recording:
    """A record of a brain in the first environment, decision by decision: D of them."""

    probe: Probe
    """Reports of the network in all D decisions, of all rows."""
    actions: np.ndarray
    """[D, A], or [D, 1] for choices."""
    rewards: np.ndarray
    """[D]."""
    terminated: np.ndarray
    """[D] bool, the episode ended by itself with this decision."""
    truncated: np.ndarray
    """[D] bool, a time limit cut it."""
    reported: dict[str, np.ndarray] = field(default_factory=dict)
    """[D] by name what `update` reported after each decision, where it learned; else dopamine/value
    alone, of a brain that has a critic. NaN where there was no such report.
    """
    first: int = 0
    """Number of decisions that its life had before these."""

    @staticmethod
    def of(moments: Sequence[Moment], first: int = 0) -> Recording:
        """The record of moments in their order."""
        steps = [moment.step for moment in moments]
        reports = [moment.reported for moment in moments]
        names = dict.fromkeys(name for report in reports for name in report)
        return Recording(
            _joined([moment.probe for moment in moments]),
            np.stack([step.action[0].reshape(-1).cpu().numpy() for step in steps]),
            np.array([float(step.reward[0]) for step in steps]),
            np.array([bool(step.terminated[0]) for step in steps]),
            np.array([bool(step.truncated[0]) for step in steps]),
            {name: np.array([report.get(name, np.nan) for report in reports]) for name in names},
            first,
        )

    def train(self, name: str) -> np.ndarray:
        """A record of the first row with all ticks in one row, [D·K, N]; what is held for a
        decision is repeated K times.
        """
        # [K, B, N] of each decision, or [1, B, N] of what is held for all of its ticks.
        rows = [x[:, 0].cpu().numpy() for x in self.probe.records[name]]
        held = [np.repeat(x, self.ticks, 0) if len(x) == 1 else x for x in rows]
        return np.concatenate(held)

    @property
    def ticks(self) -> int:
        """K; 1 for a network without spikes."""
        if not self.layers:
            return 1
        return len(self.probe.records["spikes/1"][0])

    @property
    def layers(self) -> int:
        """The number of layers that spiked; 0 for a network of other units."""
        return sum(name.startswith("spikes/") for name in self.probe.records)


class Moment(NamedTuple):
    """One decision."""

    probe: Probe
    step: Transition
    reported: dict[str, float]

    @property
    def last(self) -> bool:
        """Whether the episode of the first row ended with it."""
        # Either way the next percept is of a new life.
        ended = self.step.terminated | self.step.truncated
        return bool(ended[0])


def _joined(probes: Sequence[Probe]) -> Probe:
    """The records of several decisions, one after the other."""
    whole = Probe()
    for probe in probes:
        whole.products += probe.products
        for name, records in probe.records.items():
            whole.records.setdefault(name, []).extend(records)
    return whole


def record(agent: Agent, env: TensorVectorEnv, seed: int, decisions: int) -> Recording:
    """Up to `decisions` greedy decisions from the start state `seed`, with all that the deciding
    network reports.

    They end with the episode of the first row.
    """
    life = begin(agent, env, seed)
    moments = []
    for _ in range(decisions):
        probe = Probe()
        step, life = decide(agent, env, life, explore=False, probe=probe)
        value = step.extras.get("value")
        reported = {} if value is None else {"dopamine/value": float(value[0])}
        moments.append(Moment(probe, step, reported))
        if moments[-1].last:
            break
    return Recording.of(moments)


def record_learning(agent: Agent, env: TensorVectorEnv, seed: int, decisions: int) -> Recording:
    """`decisions` in a row of a life from the start state `seed` that explores and goes on
    learning, and what it learned.

    They are the first that hold the end of an episode, with a quarter of them after it; the last of
    `PATIENCE` where none ends. The agent changes: give a copy. Raises ValueError for one that does
    not learn at every decision.
    """
    if not (isinstance(agent.rollout, Steps) and agent.rollout.n == 1):
        raise ValueError(
            f"an agent that learns once in {agent.rollout} has nothing to show at a decision; "
            "expected Steps(1)"
        )
    life = begin(agent, env, seed)
    last = max(PATIENCE, decisions)
    moments: deque[Moment] = deque(maxlen=decisions)
    waits_for_end = True
    t = 0
    while t < last:
        probe = Probe()
        rollout, life = collect(agent, env, life, probe)
        state, metrics = agent.update(rollout, life.state)
        life = life._replace(state=state)
        moments.append(Moment(probe, index(rollout.steps, 0), to_floats(metrics)))
        t += 1
        if waits_for_end and moments[-1].last:
            waits_for_end = False
            last = min(last, max(decisions, t + int(AFTER * decisions)))
    return Recording.of(moments, t - len(moments))
