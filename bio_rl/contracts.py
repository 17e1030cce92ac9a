"""The contracts: what a brain receives, what a network, an agent and a rollout are. Everything else
is built on these.

Axes: T time, B environments, G groups (individuals or seeds side by side), N neurons, A actions, K
ticks per decision. State is always explicit: nested tuples of [B, ...] tensors that go in and come
out, `()` where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

Obs = Tensor | Mapping[str, Tensor]
"""[B, *obs], or a dict of such tensors (vision, language, touch)."""

State = Any
"""Nested tuples of [B, ...] tensors; `()` for a memoryless network."""

Metrics = dict[str, Tensor | Callable[[], Tensor]]
"""Named scalars, still on the device: the metrics sink reads them once per log interval, as means
over it. What costs more than an update may spend on it is a function, which is called only then,
for the update at hand.
"""


class Percept(NamedTuple):
    """What a brain receives at one decision."""

    obs: Any
    """[B, *obs], or a dict of such tensors."""
    action: Tensor
    """[B, ...] the previous decision, also when it ended an episode; zero only at the first percept
    of a life.
    """
    reward: Tensor
    """[B] what that decision earned, also when it ended an episode; zero only at the first percept
    of a life.
    """
    terminated: Tensor
    """[B] bool, the previous episode ended just now by termination (not by a time limit)."""
    reset: Tensor
    """[B] bool, this obs starts an episode."""


@dataclass
class Probe:
    """Collects what a network reports while it runs one decision: named tensors, and what its
    connections had to compute.
    """

    records: dict[str, list[Tensor]] = field(default_factory=dict)
    """Spikes, membranes, … [K, B, N] by name, one entry a decision."""
    products: list[tuple[str, Tensor, Tensor]] = field(default_factory=list)
    """(name, weights [post, pre], inputs [..., pre]) of every product of the decision, a
    convolution unfolded to patches.
    """

    def record(self, name: str, value: Tensor) -> None:
        """Append `value` [K, B, N], detached, under `name`."""
        self.records.setdefault(name, []).append(value.detach())

    def synapses(self, name: str, weight: Tensor, pre: Tensor) -> None:
        """Note that `weight` [post, pre] was multiplied with each row of `pre` [..., pre]: what
        `bio_rl.energy` counts.
        """
        self.products.append((name, weight.detach(), pre.detach()))


class Network(Protocol):
    """A map from percepts to outputs whose memory is explicit.

    A network applies the reward to its old state first, then clears what its reset setting names
    (membrane, traces, fast weights), then looks at the new observation. A state of another batch
    size is an error, never silently re-created.
    """

    def initial_state(self, batch: int) -> State:
        """The state of `batch` fresh brains."""
        ...

    def __call__(
        self, x: Percept, state: State, probe: Probe | None = None
    ) -> tuple[Tensor, State]:
        """One decision: fields of x are [B, ...]; returns the output [B, out] and the new state."""
        ...

    def unroll(self, xs: Percept, state: State) -> tuple[Tensor, State]:
        """T decisions: fields of xs are [T, B, ...]; equals T single steps, resets inside. Returns
        [T, B, out], state.
        """
        ...


class ActOut(NamedTuple):
    """One decision of an agent."""

    action: Tensor
    """[B] or [B, A], as the environment's action space wants it (before clipping to its bounds)."""
    extras: Mapping[str, Tensor]
    """What `update` needs again, e.g. `logp` [B]."""
    state: State


class Transition(NamedTuple):
    """One step of all B environments (or T of them, stacked: [T, B, ...])."""

    percept: Percept
    """What was seen when the decision was taken."""
    action: Tensor
    reward: Tensor
    terminated: Tensor
    """bool: the episode ended by itself; its value beyond is zero."""
    truncated: Tensor
    """bool: a time limit cut it; the value of `final_obs` still counts. Where both are set,
    terminated wins.
    """
    final_obs: Any
    """The true next observation, before any reset: [B, *obs]."""
    valid: Tensor
    """[B] bool: False on junk rows (a NEXT_STEP environment's reset step, a finished row of
    `Episodes`).
    """
    extras: Mapping[str, Tensor]


class Rollout(NamedTuple):
    """What an agent learns from: T transitions of B environments."""

    steps: Transition
    """Every field [T, B, ...]."""
    states: State
    """The agent's state at every chunk start, [T // chunk, B, ...]."""
    next: Percept
    """The percept after the last step, [B, ...]; its obs is already the new episode's where one
    ended.
    """


@dataclass(frozen=True)
class Steps:
    """Update after every n steps of all environments: PPO 128, DQN 4, a dopamine learner 1."""

    n: int
    chunk: int = 0
    """The agent's state is kept at every `chunk`-th step for training on sequences; 0 means only at
    the first.
    """

    def __post_init__(self) -> None:
        if self.n < 1 or self.chunk < 0 or (self.chunk and self.n % self.chunk):
            raise ValueError(
                f"Steps(n={self.n}, chunk={self.chunk}): n must be positive and a multiple of chunk"
            )


@dataclass(frozen=True)
class Episodes:
    """Update after n whole episodes in every environment: all start together, finished rows are
    masked (evolution).
    """

    n: int = 1

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"Episodes(n={self.n}): at least one episode")


class Agent(Protocol):
    """A learner, made as Agent(config, network, observation_space, action_space, *, horizon, seed,
    device).

    `update` is the only place where slow weights change, and where fast ones may.
    """

    rollout: Steps | Episodes
    """How much experience `update` receives."""
    device: torch.device
    """Where percepts and states are."""
    replay: Any = None
    """Experience that is kept to learn from again (`rl.replay.Replay`), whose rows are saved apart;
    None where there is none.
    """

    def initial_state(self, batch: int) -> State:
        """The state of `batch` fresh lives."""
        ...

    def act(
        self, percept: Percept, state: State, explore: bool = True, probe: Probe | None = None
    ) -> ActOut:
        """One decision for each row; with explore=False the greedy one, which changes no random
        state. What the network that decides reports goes to `probe`.
        """
        ...

    def update(self, rollout: Rollout, state: State) -> tuple[State, Metrics]:
        """Learn. `state` is the live one after the last decision, before the next reset is applied:
        a terminal reward reaches the traces that earned it.
        """
        ...

    def trained_tensors(self) -> Iterable[Tensor]:
        """The tensors that learning changes: after every update all of their numbers must be
        finite.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bitwise continuation needs: weights, normaliser, optimisers, counters,
        generators.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def learned_state(self) -> dict[str, Any]:
        """All of `state_dict` but the rows of the replay."""
        return self.state_dict()

    def check_memory(self) -> str:
        """What the agent will keep in memory, in words; "" for nothing worth a word.

        Raises ValueError, with the flag to change, where memory has no room for it.
        """
        return ""

    @classmethod
    def batches(cls, spec: Any) -> bool:
        """Whether several seeds of an agent made from `spec` (`rl.base.Spec`) can learn as one
        batched program; else they learn one by one.
        """
        return False

    def member(self, i: int) -> Agent:
        """The agent of the i-th of several seeds as it is now, which shares nothing with this one.

        An agent of one seed is its own only member.
        """
        return self
