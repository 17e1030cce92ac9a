"""The base of agents: features, networks, a clock, generators, optimisers, and their saving.

An agent of one's own extends `Agent`: `build` makes its networks, `prepare` its optimisers, and
`initial_state`, `act` and `update` are the contract that the training loop calls. Everything that a
bitwise continuation needs is a parameter, a buffer, an optimiser in `optimisers` or a generator.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl import seeding
from bio_rl.contracts import (
    ActOut,
    Metrics,
    Network,
    Percept,
    Probe,
    Rollout,
    State,
    Steps,
    Transition,
)
from bio_rl.energy import fixed
from bio_rl.networks import Blueprint
from bio_rl.parts import Plasticity
from bio_rl.rl import replay_size
from bio_rl.rl.clock import Clock, Horizon
from bio_rl.rl.group_features import GroupFeatures
from bio_rl.rl.replay import Replay
from bio_rl.rl.seed_axis import SeedAxis
from bio_rl.state import leaves, tree_map


class Spec(NamedTuple):
    """The parts that an agent is made from, beside its horizon, its seeds and its device."""

    config: Any
    network: Blueprint
    observation_space: gym.Space
    action_space: gym.Space


class Agent(nn.Module, ABC):
    """A learner (`contracts.Agent`). Rows [G·B, ...] are the lives of G seeds, in blocks of B."""

    teaches: ClassVar[tuple[str, ...]] = ()
    """Networks whose synapses it can teach by local rules, its default first; () for a learner by
    gradients, which any network serves.
    """
    flatten: ClassVar[bool] = False
    """Whether observations of several axes are flattened to a vector of numbers."""
    replay: Replay | None = None
    """Experience that is kept to learn from again; None where the agent keeps none."""
    rollout: Steps
    """How much experience `update` receives; `prepare` sets it."""

    def __init__(
        self,
        config: Any,
        network: Blueprint,
        observation_space: gym.Space,
        action_space: gym.Space,
        *,
        horizon: Horizon,
        seed: int | Sequence[int] = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """horizon: when the schedules end. seed: several for seeds that learn side by side.

        Raises ValueError for a space or a network that the agent cannot serve.
        """
        super().__init__()
        self.config = config
        self.spec = Spec(config, network, observation_space, action_space)
        self.seeds = (seed,) if isinstance(seed, int) else tuple(seed)
        if self.groups > 1 and not self.batches(self.spec):
            raise ValueError(
                f"{self.name} cannot train the seeds {self.seeds} of {network.name} as one "
                "program; give one seed, or make them by bio_rl.rl.one_by_one.of_seeds"
            )
        self.device = torch.device(device)
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        """By name; `prepare` fills it."""
        self.clock = Clock(horizon, len(self.seeds))
        with seeding.drawing_from(self.seeds[0]):
            self.features = GroupFeatures(
                observation_space, config.normalise_obs, len(self.seeds), self.flatten
            )
            self.build(network)
        self.to(self.device)
        self.generators = [seeding.generator(s, self.device) for s in self.seeds]
        self.seed_axis = SeedAxis(self.generators)
        self.prepare()

    @classmethod
    def batches(cls, spec: Spec) -> bool:
        """Whether several seeds can learn as one batched program; else they learn one by one."""
        return False

    @property
    def groups(self) -> int:
        """The number of seeds that learn side by side."""
        return len(self.seeds)

    @property
    def generator(self) -> torch.Generator:
        """The generator of the first seed, the only one where one seed learns alone."""
        return self.generators[0]

    # ---------------------------------- what an agent writes

    @abstractmethod
    def build(self, network: Blueprint) -> None:
        """Make the networks and buffers; torch draws from the seed. Raises ValueError for an
        unserved network or space.
        """

    def prepare(self) -> None:
        """Make what needs the networks on their device, such as optimisers."""
        self.rollout = Steps(1)

    @property
    def decider(self) -> Network:
        """The network that decides, without those that only help to train it. Raises ValueError for
        an agent that does not say which it is.
        """
        raise ValueError(f"{self.name} does not say which network decides (Agent.decider)")

    def steady_operations(self, network: Network) -> float:
        """Operations of neurons and codes in a decision of its network, which do not depend on what
        is seen; 0 where that does not describe its parts, or several seeds share it.
        """
        if self.groups > 1 or not network.parts():
            return 0.0
        return fixed(network, self.spec.network.config.ticks, self.features.scaled).operations

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state of `batch` fresh lives."""

    @abstractmethod
    def act(
        self, percept: Percept, state: Any, explore: bool = True, probe: Probe | None = None
    ) -> ActOut:
        """One decision for each row; with explore=False the greedy one, which draws nothing."""

    @abstractmethod
    def update(self, rollout: Rollout, state: Any) -> tuple[Any, Metrics]:
        """Learn from a rollout; `state` is the live one after its last decision."""

    def plasticity(self) -> tuple[Plasticity, ...]:
        """The synapses that learn by local rules while it acts; () where learning is done apart."""
        return ()

    @abstractmethod
    def trained_tensors(self) -> Iterable[Tensor]:
        """The tensors that learning changes: their numbers must stay finite."""

    # ---------------------------------- what all of them do alike

    def see(self, percept: Percept, axis: int = 0) -> Percept:
        """The percept with features in place of raw observations, whose rows are at `axis`."""
        return percept._replace(obs=self.features(percept.obs, axis))

    def numbers(self) -> int:
        """The number of features. Raises ValueError where they are no vector of numbers."""
        size = self.features.size
        if isinstance(size, int):
            return size
        kinds = "numbers and pictures" if self.flatten else "numbers"
        raise ValueError(
            f"observation space {self.spec.observation_space} cannot be served: "
            f"{self.name} looks at {kinds}"
        )

    @property
    def name(self) -> str:
        """The agent's name in messages and flags: that of its file."""
        return type(self).__module__.rpartition(".")[2]

    def draw(self, like: Tensor, noise: Callable[[Tensor, torch.Generator], Tensor]) -> Tensor:
        """The numbers that `noise` draws for the rows of `like` [G·B, ...], each seed's by its own
        generator.
        """
        if self.groups == 1:
            return noise(like, self.generators[0])
        pairs = zip(like.chunk(self.groups), self.generators, strict=True)
        return torch.cat([noise(rows, generator) for rows, generator in pairs])

    def of_rows(self, x: Tensor, batch: int) -> Tensor:
        """[G·B, ...] what each seed has [G, ...], for each of its rows."""
        return x.repeat_interleave(batch // self.groups, 0)

    def count(self, steps: Transition, valid: int, ended: int) -> None:
        """The clock goes on by steps [G·B] or [T, G·B], of which `valid` count and `ended` ended an
        episode.
        """
        if self.groups == 1:
            self.clock.count(valid, ended)
            return
        ends = (steps.terminated | steps.truncated) & steps.valid
        self.clock.count(self._by_seed(steps.valid), self._by_seed(ends))

    def _by_seed(self, flags: Tensor) -> Tensor:
        """[G] on the CPU, how many flags [..., G·B] of each seed are set."""
        rows = flags.shape[-1] // self.groups
        return flags.reshape(-1, self.groups, rows).sum((0, 2)).cpu()

    def lr_factor(self) -> Any:
        """The factor of the learning rates by now; [G] where there are several seeds."""
        if self.groups == 1:
            return self.config.lr_factor(self.clock.lived)
        return self.config.lr_factor(self.clock.lived_each.to(self.device))

    # ---------------------------------- the memory that a replay takes

    def check_memory(self) -> str:
        """The size of what the agent will keep in memory, in words; "" for nothing worth a word.

        Raises ValueError, with the flag to change, where memory has no room for it.
        """
        if self.replay is None:
            return ""
        capacity = self.replay.capacity // self.groups
        return replay_size.check_size(
            capacity, self.step_bytes(), self.replay_flag, self.device, self.groups
        )

    def step_bytes(self) -> int:
        """Bytes that a step takes in the replay, in memory and on disk."""
        assert self.replay is not None
        spec = self.spec
        step = replay_size.step_bytes(spec.observation_space, spec.action_space)
        state = leaves(tuple(self.initial_state(1)))
        state_bytes = sum(x.numel() * x.element_size() for x in state)
        # A state is stored with every stride-th step alone.
        return step + state_bytes // self.replay.stride

    @property
    def replay_flag(self) -> str:
        """The flag that says how many steps are kept."""
        return f"--{self.name}.replay"

    # ---------------------------------- saving and copying

    def learned_state(self) -> dict[str, Any]:
        """All of `state_dict` but the replay, whose rows are saved apart."""
        return {
            "modules": nn.Module.state_dict(self),
            "optimisers": {name: x.state_dict() for name, x in self.optimisers.items()},
            "generators": torch.stack([g.get_state() for g in self.generators]),
        }

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Everything that a bitwise continuation needs."""
        if self.replay is None:
            return self.learned_state()
        return {**self.learned_state(), "replay": self.replay.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Go on from `state_dict` or `learned_state`; without a replay in it the experience stays
        as it is here.
        """
        super().load_state_dict(copy.deepcopy(state["modules"]))
        for name, optimiser in self.optimisers.items():
            # An optimiser would keep the very tensors that it is given.
            optimiser.load_state_dict(copy.deepcopy(state["optimisers"][name]))
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            # A generator of another kind of device cannot go on; evaluating needs none.
            if saved.shape == generator.get_state().shape:
                # torch reads the memory of a row of a tensor from its beginning: a copy
                generator.set_state(saved.clone())
        if self.replay is not None and "replay" in state:
            self._load_replay(self.replay, dict(state["replay"]))

    def _load_replay(self, replay: Replay, saved: dict[str, Any]) -> None:
        """Give the replay what another held, its states with the names of their fields."""
        if saved["states"]:
            like = self.initial_state(self.groups)
            saved["states"] = tree_map(lambda _, x: x, like, saved["states"])
        replay.load_state_dict(saved)

    def __reduce__(self) -> tuple[Any, ...]:
        """How copy and pickle make an agent like this one: anew, then in the same state.

        A plain deep copy would not learn: a flat vector of all weights and the weights in it would
        part.
        """
        seed = self.seeds[0] if len(self.seeds) == 1 else self.seeds
        named = {"horizon": self.clock.horizon, "seed": seed, "device": self.device}
        return _rebuilt, (type(self), self.spec, named, self.state_dict())

    def alone(self, i: int) -> Self:
        """A fresh agent of the i-th seed alone."""
        return type(self)(
            *self.spec, horizon=self.clock.horizon, seed=self.seeds[i], device=self.device
        )

    def member(self, i: int) -> Self:
        """The agent of the i-th of several seeds, as it is now, with nothing shared."""
        one = self.alone(i)
        one.load_state_dict(self.member_state(one, i))
        return one

    def member_state(self, one: Agent, i: int) -> dict[str, Any]:
        """The part of `state_dict` that belongs to the i-th seed, in the form of `one`.

        A tensor of G times as many numbers as `one` has under the name holds G blocks, of which the
        i-th is taken; one of as many numbers is common to all seeds. What each seed has a module of
        its own for is found among its container's `members`.
        """
        whole = self.state_dict()
        like = one.state_dict()
        names = {name: name for name in whole["modules"]}
        part = f"members.{i}."
        for name in whole["modules"]:
            if part in name:
                names[name.replace(part, "")] = name
                names[name.replace(part, "members.0.")] = name
        modules = {
            name: block(whole["modules"][names[name]], x, i) for name, x in like["modules"].items()
        }
        return {"modules": modules, "optimisers": {}, "generators": whole["generators"][i : i + 1]}


def block(x: Tensor, like: Tensor, i: int) -> Tensor:
    """The i-th of the blocks that x [G·n numbers] is made of, in the form of `like` [n numbers]."""
    if x.numel() == like.numel():
        return x.reshape(like.shape)
    return x.reshape(-1, *like.shape)[i]


def _rebuilt(
    kind: type[Agent], spec: Spec, named: Mapping[str, Any], state: Mapping[str, Any]
) -> Agent:
    """An agent made from these arguments, in this state."""
    agent = kind(*spec, **named)
    agent.load_state_dict(state)
    return agent
