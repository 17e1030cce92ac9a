"""Recording: a life is lived, decision by decision, and all that is known of each is kept."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from torch import Tensor, nn

from bio_rl.contracts import Agent, Probe, Steps, Transition
from bio_rl.state import index
from bio_rl.training.metrics import to_floats
from bio_rl.training.recording.data import Recording
from bio_rl.training.runner import begin, collect, decide
from bio_rl.vector import Vector, names
from bio_rl.vector.coding import decoder
from bio_rl.vector.infos import row_of

PATIENCE = 1000
"""Decisions in which the end of an episode is waited for, where one is to be recorded."""
AFTER = 0.25
"""Share of the decisions that are recorded which come after that end."""
MOST_WEIGHTS = 20_000_000
"""Numbers that the weights of a record take at most; where they would take more, they are kept at
every second decision, every third, …
"""
Weights = dict[str, np.ndarray]


class Moment(NamedTuple):
    """One decision."""

    probe: Probe
    step: Transition
    reported: Mapping[str, float]
    infos: Mapping[str, np.ndarray]
    """The numbers that the world told about the first row after it."""
    weights: Weights | None = None
    """Those with which it was taken; None where they are not kept."""

    @property
    def last(self) -> bool:
        """Whether the episode of the first row ended with it."""
        # Either way the next percept is of a new life.
        ended = self.step.terminated | self.step.truncated
        return bool(ended[0])


def record(
    agent: Agent, env: Vector, seed: int, decisions: int, episodes: int | None = 1
) -> Recording:
    """Up to `decisions` greedy decisions from the start state `seed`, with all that the deciding
    network reports.

    They end with the episode of the first row, or with as many as `episodes` says; None lets
    episodes follow each other. Raises ValueError for less than one of either.
    """
    moments = list(_until(_greedy(agent, env, seed), decisions, episodes))
    return _recording(env, moments)


def record_life(
    agent: Agent, env: Vector, seed: int, decisions: int, episodes: int | None = None
) -> Recording:
    """Up to `decisions` in a row of a life from the start state `seed` that explores and goes on
    learning, what it learned, and its weights.

    episodes: ends of episodes with which they end; None for any number. The agent changes: give a
    copy. Raises ValueError for one that does not learn at every decision.
    """
    every = _weights_every(agent, decisions)
    moments = list(_until(_learning(agent, env, seed, every), decisions, episodes))
    return _recording(env, moments, last_weights=_weights(agent))


def record_window(agent: Agent, env: Vector, seed: int, decisions: int) -> Recording:
    """As `record_life`, the first `decisions` that hold the end of an episode, with a quarter of
    them after it; the last of `PATIENCE` where none ends.
    """
    last = max(PATIENCE, decisions)
    moments: deque[Moment] = deque(maxlen=decisions)
    waits_for_end = True
    t = 0
    for moment in _learning(agent, env, seed, _weights_every(agent, decisions)):
        moments.append(moment)
        t += 1
        if waits_for_end and moment.last:
            waits_for_end = False
            last = min(last, max(decisions, t + int(AFTER * decisions)))
        if t >= last:
            break
    return _recording(env, list(moments), t - len(moments), _weights(agent))


def _until(moments: Iterable[Moment], decisions: int, episodes: int | None) -> Iterator[Moment]:
    """The first moments, up to so many decisions and ends of episodes."""
    for name, count in {"decisions": decisions, "episodes": episodes}.items():
        if count is not None and count < 1:
            raise ValueError(f"--{name} is {count}, expected at least 1")
    ends = 0
    for t, moment in enumerate(moments, start=1):
        yield moment
        ends += moment.last
        if t == decisions or ends == episodes:
            return


def _greedy(agent: Agent, env: Vector, seed: int) -> Iterator[Moment]:
    """The moments of lives that follow each other, without end."""
    life = begin(agent, env, seed)
    while True:
        probe = Probe()
        step, life = decide(agent, env, life, explore=False, probe=probe)
        value = step.extras.get("value")
        reported = {} if value is None else {"dopamine/value": float(value[0])}
        moment = Moment(probe, step, reported, row_of(env.infos, 0))
        if bool(step.valid[0]):
            yield moment


def _learning(agent: Agent, env: Vector, seed: int, every: int) -> Iterator[Moment]:
    """The moments of lives that explore and learn, without end; with weights at every so many."""
    if not (isinstance(agent.rollout, Steps) and agent.rollout.n == 1):
        raise ValueError(
            f"an agent that learns once in {agent.rollout} has nothing to show at a decision; "
            "expected Steps(1)"
        )
    life = begin(agent, env, seed)
    t = 0
    while True:
        probe = Probe()
        weights = _weights(agent) if t % every == 0 else None
        rollout, life = collect(agent, env, life, probe)
        infos = row_of(env.infos, 0)
        state, metrics = agent.update(rollout, life.state)
        life = life._replace(state=state)
        step = index(rollout.steps, 0)
        if bool(step.valid[0]):
            yield Moment(probe, step, to_floats(metrics), infos, weights)
            t += 1


# ---------------------------------- what is kept of them


def _weights(agent: Agent) -> Weights:
    """Copies of the tensors that learning changes, by their names in the agent."""
    known: dict[int, str] = {}
    if isinstance(agent, nn.Module):
        for named in (agent.named_parameters(), agent.named_buffers()):
            known |= {id(tensor): name for name, tensor in named}
    weights = {}
    for i, tensor in enumerate(agent.trained_tensors()):
        # a view of a parameter, a flat one say, has no name of its own
        name = known.get(id(tensor), f"tensor {i}")
        weights[name] = tensor.detach().cpu().numpy().copy()
    return weights


def _weights_every(agent: Agent, decisions: int) -> int:
    """The number of decisions from one copy of the weights to the next."""
    count = sum(tensor.numel() for tensor in agent.trained_tensors())
    return max(1, math.ceil(count * decisions / MOST_WEIGHTS))


def _recording(
    env: Vector, moments: Sequence[Moment], first: int = 0, last_weights: Weights | None = None
) -> Recording:
    """The record of moments in their order; `last_weights` are those after them."""
    steps = [moment.step for moment in moments]
    space = env.observation_space
    act = decoder(env.action_space)
    kept = {d: moment.weights for d, moment in enumerate(moments) if moment.weights is not None}
    if last_weights is not None:
        kept[len(moments)] = last_weights
    weights = {name: np.stack([one[name] for one in kept.values()]) for name in last_weights or ()}
    return Recording(
        probe=_joined([moment.probe for moment in moments]),
        actions=np.stack([act(step.action[:1].cpu().numpy()).reshape(-1) for step in steps]),
        rewards=np.array([float(step.reward[0]) for step in steps]),
        terminated=np.array([bool(step.terminated[0]) for step in steps]),
        truncated=np.array([bool(step.truncated[0]) for step in steps]),
        reported=_columns([moment.reported for moment in moments]),
        first=first,
        observations=np.stack([flat(space, index(step.percept.obs, 0)) for step in steps]),
        begins=np.array([bool(step.percept.reset[0]) for step in steps]),
        infos=_columns([moment.infos for moment in moments]),
        weights=weights,
        weights_at=np.array(list(kept), int),
        names=names(env.env),
    )


def _joined(probes: Sequence[Probe]) -> Probe:
    """The records of several decisions, one after the other."""
    whole = Probe()
    for probe in probes:
        whole.products += probe.products
        for name, records in probe.records.items():
            whole.records.setdefault(name, []).extend(records)
    return whole


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """[D, ...] by name; NaN where a row has no such name."""
    shapes = {name: np.shape(value) for row in rows for name, value in row.items()}
    columns = {}
    for name, shape in shapes.items():
        column = np.full((len(rows), *shape), np.nan)
        for d, row in enumerate(rows):
            # of another form than elsewhere it cannot stand in a column
            if name in row and np.shape(row[name]) == shape:
                column[d] = row[name]
        columns[name] = column
    return columns


def flat(space: gym.Space, obs: Any) -> np.ndarray:
    """An observation as the learner keeps it, flattened as Gymnasium flattens those of its space:
    key after key, and a choice as as many numbers as there are.
    """
    if isinstance(space, gym.spaces.Dict):
        return np.concatenate([flat(part, obs[key]) for key, part in space.spaces.items()])
    values = obs.cpu().numpy() if isinstance(obs, Tensor) else np.asarray(obs)
    if isinstance(space, gym.spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[int(values)]
    if isinstance(space, gym.spaces.MultiDiscrete):
        bits: Any = gym.spaces.flatten(space, values + space.start)
        return bits.astype(np.float32)
    return values.reshape(-1)
