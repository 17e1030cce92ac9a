"""The one loop: play, learn, repeat. It serves every agent; how much is played between updates is
the agent's number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bio_rl.contracts import (
    Agent,
    Episodes,
    Metrics,
    Percept,
    Probe,
    Rollout,
    State,
    Steps,
    Transition,
)
from bio_rl.faults import DivergedError
from bio_rl.machine.compiling import working_time
from bio_rl.state import rows, stack, tree_map
from bio_rl.vector import Ended, Step, TensorVectorEnv


class Life(NamedTuple):
    """All that passes from one decision to the next."""

    percept: Percept
    """[B, ...]."""
    state: State
    """The agent's, not yet reset."""
    junk: Tensor | None = None
    """[B] bool, rows whose next step only resets a NEXT_STEP environment; None where there are
    none.
    """


EVALUATIONS = 0
"""The stream of environment seeds from which evaluations start."""
TRAINING = 1
"""The stream from which a training starts. One that goes on at step n without its episodes takes
TRAINING + n.
"""
LONGEST = 1e12
"""A vector of weights that is longer has diverged, though its numbers are finite; those that learn
stay below 1e4.
"""
CHECK_EVERY_ON_GPU = 32
"""Updates between checks of the weights on a GPU, where each has to wait for the device."""
OVERFLOW = "without overflow"
"""Words of torch's error where a factor is larger than float32 can hold."""


def begin(
    agent: Agent, env: TensorVectorEnv, seed: int | None = None, stream: int = EVALUATIONS
) -> Life:
    """Fresh lives in all environments, seeded by `seed` and `stream` (`seeding.world_seeds`)."""
    obs = env.reset(seed, stream)
    n = env.num_envs
    zero = torch.zeros(n, device=env.device)
    never = torch.zeros(n, dtype=torch.bool, device=env.device)
    # Nothing was done and nothing earned before the first decision.
    percept = Percept(obs, env.no_action(), zero, terminated=never, reset=~never)
    return Life(percept, agent.initial_state(n))


def decide(
    agent: Agent,
    env: TensorVectorEnv,
    life: Life,
    explore: bool = True,
    probe: Probe | None = None,
) -> tuple[Transition, Life]:
    """One decision in all environments: what happened, and the life after it."""
    percept, state, junk = life
    # Only who is asked to record hears of a probe: an agent may well do without the argument.
    given = () if probe is None else (probe,)
    out = agent.act(percept, state, explore, *given)
    step = env.step(out.action)
    valid = every_row(env.num_envs, env.device) if step.valid is None else step.valid
    transition = Transition(
        percept,
        out.action,
        step.reward,
        step.terminated,
        step.truncated,
        step.final_obs,
        valid,
        out.extras,
    )
    after = Percept(step.obs, out.action, step.reward, step.terminated, step.reset)
    will_be_junk = _ending(step, env)
    if junk is None:
        return transition, Life(after, out.state, will_be_junk)
    return transition, _skip(life, junk, after, out.state, will_be_junk)


@cache
def every_row(n: int, device: torch.device) -> Tensor:
    """A mask [n] that is True in every row: one tensor for all who ask, so nobody writes to it."""
    return torch.ones(n, dtype=torch.bool, device=device)


def _ending(step: Step, env: TensorVectorEnv) -> Tensor | None:
    """Rows whose next step will be junk."""
    if env.mode.name != "NEXT_STEP":
        return None
    done = step.terminated | step.truncated
    return done if bool(done.any()) else None


def _skip(
    life: Life, junk: Tensor, after: Percept, state: State, will_be_junk: Tensor | None
) -> Life:
    """The life after a step that was junk in some rows.

    Those have decided nothing: their state stays, and what ended their episode is felt at the new
    one's start.
    """

    def keep(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(rows(junk, old), old, new)

    before = life.percept
    after = after._replace(
        action=keep(after.action, before.action),
        reward=keep(after.reward, before.reward),
        terminated=keep(after.terminated, before.terminated),
    )
    return Life(after, tree_map(keep, state, life.state), will_be_junk)


def collect(
    agent: Agent, env: TensorVectorEnv, life: Life, probe: Probe | None = None
) -> tuple[Rollout, Life]:
    """The experience that `agent.rollout` asks for, and the live state before the next reset.

    probe: what the deciding network reports goes there, of rollouts that are `Steps`.
    """
    if isinstance(agent.rollout, Episodes):
        return _collect_episodes(agent, env, agent.rollout.n)
    n = agent.rollout.n
    chunk = agent.rollout.chunk or n
    transitions, states = [], []
    for t in range(n):
        # Training sequences start from the states that the agent really had.
        if t % chunk == 0:
            states.append(life.state)
        transition, life = decide(agent, env, life, probe=probe)
        transitions.append(transition)
    return Rollout(stack(transitions), stack(states), life.percept), life


def _collect_episodes(agent: Agent, env: TensorVectorEnv, n: int) -> tuple[Rollout, Life]:
    """n whole lives in every environment: a common fresh start, finished rows masked until the last
    has finished.
    """
    life = begin(agent, env)
    left = torch.full((env.num_envs,), n, device=env.device)
    transitions = []
    states = [life.state]
    while bool((left > 0).any()):
        transition, after = decide(agent, env, life)
        alive = left > 0
        transitions.append(transition._replace(valid=transition.valid & alive))
        ended = (transition.terminated | transition.truncated) & alive
        left = left - ended.to(left.dtype)
        life = after._replace(state=_frozen(alive, after.state, life.state))
    return Rollout(stack(transitions), stack(states), life.percept), life


def _frozen(alive: Tensor, after: State, before: State) -> State:
    """The state after a decision where `alive` [B] is set, else the one before."""
    return tree_map(lambda new, old: torch.where(rows(alive, old), new, old), after, before)


def counted(ends: list[Ended], rollout: Steps | Episodes) -> list[Ended]:
    """The episodes that belong to a rollout: of `Episodes(n)` the first n of each environment."""
    if isinstance(rollout, Steps):
        return ends
    by_row: Counter[int] = Counter()
    first = []
    for end in ends:
        by_row[end.row] += 1
        if by_row[end.row] <= rollout.n:
            first.append(end)
    return first


@dataclass
class Runner:
    """An agent in its environments, with the counters of a run. `step` plays and learns once."""

    agent: Agent
    env: TensorVectorEnv
    life: Life = None  # type: ignore[assignment]  # set by `start` or `load_state_dict`
    seen: int = 0
    """Environment steps that counted (junk rows are not steps)."""
    updates: int = 0
    """Updates of the agent."""
    collect_s: float = 0.0
    """Seconds spent playing, without those in which kernels were compiled."""
    learn_s: float = 0.0
    """Seconds spent learning, without those in which kernels were compiled."""
    episodes: list[Ended] = field(default_factory=list)
    """Those that ended in the last `step`."""
    began: int = 0
    """`seen` when this process took over."""
    seed: int = 0
    """Seed of the environments."""

    def start(self, seed: int) -> None:
        """Begin fresh lives."""
        self.seed = seed
        # Not the lives that it had before: a stream of their own for each beginning.
        self.life = begin(self.agent, self.env, seed, TRAINING + self.seen)

    def step(self) -> Metrics:
        """One rollout and one update; returns the agent's metrics."""
        t0 = working_time()
        # The state after the last decision, before the reset: a terminal reward is still felt.
        rollout, life = collect(self.agent, self.env, self.life)
        t1 = working_time()
        state, metrics = self._update(rollout, life.state)
        self.life = life._replace(state=state)
        self.episodes = counted(self.env.take_episodes(), self.agent.rollout)
        self._count(rollout.steps.valid)
        self.updates += 1
        # To look at a weight on a GPU is to wait for all that it was told to do.
        if self.env.device.type == "cpu" or self.updates % CHECK_EVERY_ON_GPU == 0:
            self.check()
        self.collect_s += t1 - t0
        self.learn_s += working_time() - t1
        return metrics

    def _count(self, valid: Tensor) -> None:
        """Add the steps of a rollout that counted, `valid` [T, B]."""
        self.seen += int(valid.sum())

    def _update(self, rollout: Rollout, state: State) -> tuple[State, Metrics]:
        try:
            return self.agent.update(rollout, state)
        except RuntimeError as error:
            if OVERFLOW not in str(error):
                raise
            raise DivergedError(
                f"the agent diverged: in update {self.updates + 1:,} a number grew beyond float32"
            ) from error

    def check(self) -> None:
        """Raise DivergedError where a weight is NaN or infinite."""
        reason = divergence(self.agent)
        if reason:
            raise DivergedError(f"the agent diverged: after update {self.updates:,} {reason}")

    def speed(self) -> float:
        """Environment steps per second, over all of this process so far."""
        # Before the first update nothing has passed.
        seconds = max(self.collect_s + self.learn_s, 1e-9)
        return (self.seen - self.began) / seconds

    def state_dict(self) -> dict[str, Any]:
        """The lives, the environments and the counters; the agent saves itself."""
        return {
            "life": self.life,
            "env": self.env.state_dict(),
            "seen": self.seen,
            "updates": self.updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the saved lives where the environment could save its own, else begin anew."""
        self.seen = self.began = state["seen"]
        self.updates = state["updates"]
        if not self.env.exact:
            self.start(self.seed)
            return
        # A saved tuple is a plain one: the fresh life lends the names of its fields.
        fresh = begin(self.agent, self.env, seed=0)
        device = self.env.device
        saved = Life(*state["life"])
        self.life = tree_map(lambda _, x: x if x is None else x.to(device), fresh, saved)
        self.env.load_state_dict(state["env"])


def divergence(agent: Agent) -> str:
    """The fault of the weights of an agent that has diverged, in words; "" for another agent."""
    for weights in agent.trained_tensors():
        # The sum of squares is one pass, and neither NaN nor infinity can hide in it.
        flat = weights.detach().flatten()
        square = float(flat.dot(flat))
        length = math.sqrt(square) if square >= 0 else math.nan
        if length < LONGEST:
            continue
        # Counted only now: it is several passes.
        bad = int((~weights.isfinite()).sum())
        if bad:
            return f"{bad:,} of {weights.numel():,} weights are NaN or infinite"
        return f"weights reach {length:.0e}"
    return ""
