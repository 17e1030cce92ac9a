"""The contracts: what a brain receives, what a network, an agent and a rollout are. Everything else
is built on these.

Axes: T time, B environments, G groups (individuals or seeds side by side), N neurons, A actions, K
ticks per decision. State is always explicit: nested tuples of [B, ...] tensors that go in and come
out, `()` where there is none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from bio_rl.parts import Part, Plasticity
from bio_rl.state import index, leaves, tree_map

Obs = Tensor | Mapping[str, Tensor]
"""[B, *obs], or a dict of such tensors (vision, language, touch)."""

State = Any
"""Nested tuples of [B, ...] tensors; `()` for a memoryless network."""

Metrics = dict[str, Tensor | float | Callable[[], Tensor]]
"""Named scalars, tensors still on the device: the metrics sink reads them once per log interval, as
means over it. What costs more than an update may spend on it is a function, which is called only
then, for the update at hand.
"""


class Percept(NamedTuple):
    """All that a brain receives at one decision."""

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


class Synapses(NamedTuple):
    """The synapses of one connection, as a local rule meets them."""

    connection: nn.Module
    """Has `weight` [post, pre], and perhaps `bias`."""
    mask: Tensor | None = None
    """[post, pre] 1 where there is a synapse; None where all are."""
    pre: str = "activity"
    """The variable of presynaptic neurons that they see: spike or activity."""
    post: str = "activity"
    """The variable of postsynaptic neurons that they see: spike or activity."""
    dt: float = 1.0
    """ms per tick."""
    neuron: Any = None
    """The constants of postsynaptic neurons that spike (`bio_rl.neurons`)."""


class Lived(NamedTuple):
    """A decision of a network that local rules can teach, with what its synapses met in it."""

    activity: Tensor
    """[B, N] what the readout reads."""
    state: State
    """The network's state after the decision."""
    trails: tuple[Any, ...]
    """A `connections.Trail` for each of `Network.plastic`, in their order."""


class NetworkConfig(Protocol):
    """Settings of a network, a frozen dataclass that names this class as a base: what is declared
    here are the answers of a network that has no say in the matter, not settings.
    """

    # typeshed's mark of a dataclass, so that `dataclasses.replace` and `asdict` take it
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    critic: str = ""
    """Name of the network that values states beside this one while training; "" for a twin."""
    target_rate: float = 0.0
    """Spikes per tick towards which `Network.regulate` moves its neurons; 0 for no regulation."""
    ticks: int = 1
    """ms of simulation per decision; 1 for a network that decides without a time within."""
    tau_out: float = 0.0
    """ms, time constant of the readout; 0 for one that keeps nothing."""

    image: ClassVar[bool] = False
    """Whether it looks at pictures [B, C, H, W]; their shape (C, H, W) is then its `n_in`."""

    def of_critic(self) -> NetworkConfig:
        """The settings of a critic of the same kind."""
        return self


class Network(nn.Module, ABC):
    """A map from percepts to outputs whose memory is explicit, made as
    Network(config, n_in, n_out, out_gain).

    A network applies the reward to its old state first, then clears what its reset setting names
    (membrane, traces, fast weights), then looks at the new observation. A state of another batch
    size is an error, never silently re-created.
    """

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state of `batch` fresh brains."""

    @abstractmethod
    def forward(self, x: Percept, state: State, probe: Probe | None = None) -> tuple[Tensor, State]:
        """One decision: fields of x are [B, ...]; returns the output [B, out] and the new state."""

    if TYPE_CHECKING:
        __call__ = forward

    def unroll(self, xs: Percept, state: State) -> tuple[Tensor, State]:
        """T decisions: fields of xs are [T, B, ...]; equals T single steps, resets inside. Returns
        [T, B, out], state.
        """
        outputs = []
        for t in range(len(xs.reset)):
            output, state = self(index(xs, t), state)
            outputs.append(output)
        if outputs:
            return torch.stack(outputs), state
        blank = tree_map(lambda x: x.new_zeros(x.shape[1:]), xs)
        # no decisions: of one only the shape is of interest, and that a gradient can be asked for
        output, _ = self(blank, state)
        return output.unsqueeze(0)[:0], state

    @property
    def stateful(self) -> bool:
        """Whether it remembers anything from one decision to the next."""
        return any(True for _ in leaves(self.initial_state(1)))

    def anneal(self, progress: float) -> None:
        """Set what follows a schedule, at `progress` from 0 to 1 of the run; nothing by default."""

    @property
    def follows_schedule(self) -> bool:
        """Whether `anneal` changes anything. Such networks of several seeds are kept apart, as the
        seeds may be at different points of their runs.
        """
        return False

    def regulate(self, probe: Probe) -> None:
        """Move the neurons towards `NetworkConfig.target_rate`, by what `probe` saw of the last
        decision. Nothing is regulated by default.
        """

    teachable: bool = False
    """Whether local rules can teach it: it then has a `readout`, `live` and `plastic`."""
    activity_unit: float = 1.0
    """The activity that `live` gives for a unit of its average: more where it is a sum."""
    unit_activity: bool = False
    """Whether the activity that `live` gives has a length of one at most."""
    readout: nn.Linear
    """The connection of a teachable network from its last hidden layer onto its outputs."""

    @property
    def width(self) -> int:
        """Neurons that the readout of a teachable network reads."""
        raise NotImplementedError(f"{type(self).__name__} is no network that local rules teach")

    def drop_readout(self) -> None:
        """Remove the readout of a teachable network that is read by something else from now on;
        `live` goes on without it.
        """
        del self.readout

    @property
    def plastic(self) -> tuple[Synapses, ...]:
        """The hidden synapses that local rules can teach, connection by connection."""
        return ()

    def live(
        self, x: Percept, state: State, noise: Sequence[Tensor] = (), probe: Probe | None = None
    ) -> Lived:
        """One decision of a teachable network, up to the readout, with what its synapses met.

        noise: [B, N] for each hidden layer, held for the decision and added to what drives it, in
        units of the threshold where neurons have one.
        """
        raise NotImplementedError(f"{type(self).__name__} is no network that local rules teach")

    def parts(self) -> tuple[Part, ...]:
        """Its codes, connections and neurons, those that are read before those that read them,
        where nothing drives itself. Empty for a network that does not describe itself.
        """
        return ()


class ActOut(NamedTuple):
    """One decision of an agent."""

    action: Tensor
    """[B] or [B, A], as the environment's action space wants it (before clipping to its bounds)."""
    extras: Mapping[str, Tensor]
    """All else that `update` needs again, e.g. `logp` [B]."""
    state: State


class Transition(NamedTuple):
    """One step of all B environments (or T of them, stacked: [T, B, ...])."""

    percept: Percept
    """The percept on which the decision was taken."""
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
    """T transitions of B environments, from which an agent learns."""

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

    @property
    def decider(self) -> Network:
        """The network that decides, without those that only help to train it. Raises ValueError for
        an agent that does not say which it is.
        """
        raise ValueError(f"{type(self).__name__} does not say which network decides (decider)")

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
        """The size of what the agent will keep in memory, in words; "" for nothing worth a word.

        Raises ValueError, with the flag to change, where memory has no room for it.
        """
        return ""

    @classmethod
    def batches(cls, spec: Any) -> bool:
        """Whether several seeds of an agent made from `spec` (`rl.base.Spec`) can learn as one
        batched program; else they learn one by one.
        """
        return False

    def plasticity(self) -> tuple[Plasticity, ...]:
        """The synapses that learn by local rules while it acts; () where learning is done apart."""
        return ()

    def member(self, i: int) -> Agent:
        """The agent of the i-th of several seeds as it is now, which shares nothing with this one.

        An agent of one seed is its own only member.
        """
        return self
