"""The one loop: play, learn, repeat. It serves every agent; how much is played between updates is
the agent's number.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
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
from bio_rl.state import rows, stack, tree_map
from bio_rl.vector import Ended, Step, TensorVectorEnv


class Life(NamedTuple):
    """What passes from one decision to the next."""

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


def begin(
    agent: Agent, env: TensorVectorEnv, seed: int | None = None, stream: int = EVALUATIONS
) -> Life:
    """Fresh lives in all environments, which draw from `seed` and `stream` (`random.world_seeds`)."""
    obs = env.reset(seed, stream)
    n = env.num_envs
    zero, never = (
        torch.zeros(n, device=env.device),
        torch.zeros(n, dtype=torch.bool, device=env.device),
    )
    return Life(Percept(obs, env.no_action(), zero, never, ~never), agent.initial_state(n))


def decide(
    agent: Agent, env: TensorVectorEnv, life: Life, explore: bool = True, probe: Probe | None = None
) -> tuple[Transition, Life]:
    """One decision in all environments."""
    percept, state, junk = life
    out = (
        agent.act(percept, state, explore)
        if probe is None
        else agent.act(percept, state, explore, probe)
    )
    step = env.step(out.action)
    valid = step.valid if step.valid is not None else torch.ones_like(step.terminated)
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
    seen = Percept(step.obs, out.action, step.reward, step.terminated, step.reset)
    if junk is None:
        return transition, Life(seen, out.state, _ending(step, env))
    return transition, _skip(life, seen, out.state, _ending(step, env))


def _ending(step: Step, env: TensorVectorEnv) -> Tensor | None:
    """Rows whose next step will be junk."""
    if env.mode.name != "NEXT_STEP":
        return None
    done = step.terminated | step.truncated
    return done if bool(done.any()) else None


def _skip(life: Life, seen: Percept, state: State, junk: Tensor | None) -> Life:
    """Junk rows have decided nothing: their state stays, and what ended their episode is felt at
    the new one's start.
    """

    def keep(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(rows(life.junk, old), old, new)

    before = life.percept
    seen = seen._replace(
        action=keep(seen.action, before.action),
        reward=keep(seen.reward, before.reward),
        terminated=keep(seen.terminated, before.terminated),
    )
    return Life(seen, tree_map(keep, state, life.state), junk)


def collect(
    agent: Agent, env: TensorVectorEnv, life: Life, probe: Probe | None = None
) -> tuple[Rollout, Life]:
    """Play what `agent.rollout` asks for. Returns the experience and the live state before the next
    reset is applied.

    probe: what the deciding network reports goes there, of rollouts that are `Steps`.
    """
    if isinstance(agent.rollout, Episodes):
        return _collect_episodes(agent, env, agent.rollout.n)
    n, chunk = agent.rollout.n, agent.rollout.chunk or agent.rollout.n
    transitions, states = [], []
    for t in range(n):
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
    transitions, states = [], [life.state]
    while bool((left > 0).any()):
        transition, after = decide(agent, env, life)
        alive = left > 0
        transitions.append(transition._replace(valid=transition.valid & alive))
        left = left - ((transition.terminated | transition.truncated) & alive).to(left.dtype)
        frozen = tree_map(
            lambda new, old, a=alive: torch.where(rows(a, old), new, old), after.state, life.state
        )
        life = after._replace(state=frozen)
    return Rollout(stack(transitions), stack(states), life.percept), life


def counted(ends: list[Ended], rollout: Steps | Episodes) -> list[Ended]:
    """The episodes that belong to a rollout: of `Episodes(n)` the first n of each environment."""
    if isinstance(rollout, Steps):
        return ends
    seen: Counter[int] = Counter()
    return [end for end in ends if (seen.update([end.row]) or seen[end.row]) <= rollout.n]


@dataclass
class Runner:
    """An agent in its environments, with the counters of a run. `step` plays and learns once."""

    agent: Agent
    env: TensorVectorEnv
    life: Life = None  # type: ignore[assignment]  # set by `start` or `load_state_dict`
    seen: int = 0
    """Environment steps that counted (junk rows are not steps)."""
    updates: int = 0
    collect_s: float = 0.0
    learn_s: float = 0.0
    episodes: list[Ended] = field(default_factory=list)
    """Those that ended in the last `step`."""
    began: int = 0
    """`seen` when this process took over."""
    seed: int = 0
    """Seed of the environments."""

    def start(self, seed: int) -> None:
        """Begin fresh lives."""
        self.seed = seed
        self.life = begin(self.agent, self.env, seed, TRAINING + self.seen)

    def step(self) -> Metrics:
        """One rollout and one update; returns the agent's metrics."""
        t0 = time.perf_counter()
        rollout, life = collect(self.agent, self.env, self.life)
        t1 = time.perf_counter()
        state, metrics = self._update(rollout, life.state)
        self.life = life._replace(state=state)
        self.episodes = counted(self.env.take_episodes(), self.agent.rollout)
        self.seen += int(rollout.steps.valid.sum())
        self.updates += 1
        if self.env.device.type == "cpu" or self.updates % CHECK_EVERY_ON_GPU == 0:
            self.check()
        self.collect_s += t1 - t0
        self.learn_s += time.perf_counter() - t1
        return metrics

    def _update(self, rollout: Rollout, state: State) -> tuple[State, Metrics]:
        try:
            return self.agent.update(rollout, state)
        except RuntimeError as error:
            if "without overflow" not in str(
                error
            ):  # torch refuses a factor that float32 cannot hold
                raise
            raise DivergedError(
                f"the agent diverged: in update {self.updates + 1:,} a number grew beyond float32"
            ) from error

    def check(self) -> None:
        """Raise DivergedError where a weight is NaN or infinite."""
        for weights in self.agent.trained_tensors():
            # The sum of squares is one pass, and neither NaN nor infinity can hide in it.
            flat = weights.detach().flatten()
            length = math.sqrt(square) if (square := float(flat.dot(flat))) >= 0 else math.nan
            if not length < LONGEST:
                bad = int((~weights.isfinite()).sum())
                found = (
                    f"{bad:,} of {weights.numel():,} weights are NaN or infinite"
                    if bad
                    else f"weights reach {length:.0e}"
                )
                raise DivergedError(f"the agent diverged: after update {self.updates:,} {found}")

    def speed(self) -> float:
        """Environment steps per second, over all of this process so far."""
        return (self.seen - self.began) / max(self.collect_s + self.learn_s, 1e-9)

    def state_dict(self) -> dict[str, Any]:
        """The lives, the environments and the counters; the agent saves itself."""
        return {
            "life": self.life,
            "env": self.env.state_dict(),
            "seen": self.seen,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the saved lives where the environment could save its own, else begin new ones."""
        self.seen = self.began = state["seen"]
        self.updates = state["updates"]
        if self.env.exact:
            like = begin(self.agent, self.env, seed=0)
            self.life = tree_map(
                lambda _, x: x if x is None else x.to(self.env.device), like, Life(*state["life"])
            )
            self.env.load_state_dict(state["env"])
        else:
            self.start(self.seed)
