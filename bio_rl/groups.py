"""The group axis: G networks of one kind as one network, each serving a block of the batch's rows
with weights of its own.

Twin critics and seeds trained side by side are the same mechanism: rows [G·B, ...] are G blocks of
B. The weights of members made of linear layers alone are stacked [G, post, pre], so that a layer of
all is one product; others run one after the other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from bio_rl import seeding
from bio_rl.codes import population
from bio_rl.connections import dense
from bio_rl.contracts import Lived, Network, Percept, Probe, State
from bio_rl.parts import INPUT, Part
from bio_rl.state import tree_map

Made = TypeVar("Made")


def side_by_side(networks: Sequence[Network]) -> Network:
    """One network that does what each of `networks` does in its block of the rows; the only one as
    it is.
    """
    if len(networks) == 1:
        return networks[0]
    if networks[0].follows_schedule:
        # Each may be at a point of its own.
        return Group(networks)
    return stacked(networks) or Group(networks)


def anneal(network: Network, progress: Sequence[float]) -> None:
    """Set what follows a schedule, with each group of members at its own point of its run.

    progress: from 0 to 1, one for each group; the members of a group stand beside each other.
    """
    if not isinstance(network, Group):
        # Members that are stacked follow none (`side_by_side`), so this is one group's alone.
        network.anneal(progress[0])
        return
    each = len(network.members) // len(progress)
    for i, member in enumerate(network.members):
        member.anneal(progress[i // each])


def shared(networks: Sequence[Network]) -> Network:
    """The first of `networks` where all are the same, for it serves every row; else all of them
    side by side, each for its block of the rows.
    """
    first = networks[0].state_dict()
    alike = all(
        torch.equal(x, network.state_dict()[name])
        for network in networks[1:]
        for name, x in first.items()
    )
    return networks[0] if alike else Group(networks)


class Group(Network):
    """Members one after the other, for those that cannot be stacked: see `contracts.Network`."""

    members: Sequence[Network]

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        # torch gives the members of a ModuleList no other type than Module
        self.members = cast("Sequence[Network]", nn.ModuleList(networks))
        self.teachable = networks[0].teachable and not networks[0].plastic
        self.unit_activity = networks[0].unit_activity

    def initial_state(self, batch: int) -> State:
        states = [member.initial_state(batch // len(self.members)) for member in self.members]
        return tree_map(lambda *blocks: torch.cat(blocks), *states)

    def forward(self, x: Percept, state: State, probe: Probe | None = None) -> tuple[Tensor, State]:
        return self._each(lambda member, x, state: member(x, state), x, state, 0)

    def unroll(self, xs: Percept, state: State) -> tuple[Tensor, State]:
        return self._each(lambda member, x, state: member.unroll(x, state), xs, state, 1)

    @property
    def width(self) -> int:
        """Neurons that a member's readout reads."""
        return self.members[0].width

    def live(
        self,
        x: Percept,
        state: State,
        noise: Sequence[Tensor] = (),
        probe: Probe | None = None,
    ) -> Lived:
        """One decision of every member for its block; none has hidden synapses that learn."""
        g = len(self.members)
        parts = zip(self.members, blocks(x, g), blocks(state, g), strict=True)
        lived = [member.live(part, before) for member, part, before in parts]
        return tree_map(lambda *rows: torch.cat(rows), *lived)

    def select(self, x: Percept, chosen: slice) -> Tensor:
        """The outputs of some memoryless members, each for its block of the rows of x."""
        some = self.members[chosen]
        return torch.cat(
            [member(part, ())[0] for member, part in zip(some, blocks(x, len(some)), strict=True)]
        )

    def anneal(self, progress: float) -> None:
        """Set what follows a schedule in the members, all at the same point."""
        for member in self.members:
            member.anneal(progress)

    @property
    def follows_schedule(self) -> bool:
        """Whether the members follow a schedule."""
        return self.members[0].follows_schedule

    def parts(self) -> tuple[Part, ...]:
        """Those of each member in turn, with its number before their names."""
        parts: list[Part] = []
        for i, member in enumerate(self.members):
            for part in member.parts():
                # all members read the same observation
                sources = (s if s == INPUT else f"{i}: {s}" for s in part.sources)
                parts.append(part._replace(name=f"{i}: {part.name}", sources=tuple(sources)))
        return tuple(parts)

    def _each(self, run: Any, x: Percept, state: State, axis: int) -> tuple[Tensor, State]:
        """The outputs and states of the members, each for its block of x, whose rows are at `axis`,
        and of the state, whose rows come first.
        """
        g = len(self.members)
        xs, states = blocks(x, g, axis), blocks(state, g, 0)
        outs, after = zip(
            *(run(*each) for each in zip(self.members, xs, states, strict=True)), strict=True
        )
        return torch.cat(outs, axis), tree_map(lambda *parts: torch.cat(parts), *after)


class Stacked(Network):
    """Memoryless members as one network whose layers have weights [G, post, pre]: see
    `contracts.Network`.
    """

    def __init__(self, network: Network, groups: int) -> None:
        super().__init__()
        self.network, self.groups = network, groups

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def forward(
        self, x: Percept, state: tuple[()], probe: Probe | None = None
    ) -> tuple[Tensor, tuple[()]]:
        return self.network(x, state)

    def unroll(self, xs: Percept, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        t = len(xs.reset)
        if t > 1:  # without memory a step is a row like any other, of its member's block
            xs = tree_map(self._as_rows, xs)
        out, _ = self.network.unroll(xs, state)
        return (
            out.unflatten(1, (self.groups, t, -1)).transpose(1, 2).reshape(t, -1, out.shape[-1])
            if t > 1
            else out
        ), ()

    def select(self, x: Percept, chosen: slice) -> Tensor:
        """The outputs of some members, each for its block of the rows of x."""
        weights = {name: w[chosen] for name, w in self.network.named_parameters()}
        return torch.func.functional_call(self.network, weights, (x, ()))[0]

    def anneal(self, progress: float) -> None:
        """Set what follows a schedule in the members."""
        self.network.anneal(progress)

    @property
    def follows_schedule(self) -> bool:
        """Whether the members follow a schedule."""
        return self.network.follows_schedule

    def parts(self) -> tuple[Part, ...]:
        """Those of a member, whose weights here are those of all, [G, post, pre]."""
        return self.network.parts()

    def _as_rows(self, x: Tensor) -> Tensor:
        """[T, G·B, ...] as [1, G·T·B, ...]."""
        return x.unflatten(1, (self.groups, -1)).transpose(0, 1).reshape(1, -1, *x.shape[2:])


def block(tree: Any, i: int, groups: int, axis: int = 0) -> Any:
    """The tree of group i: its block of the rows, which are at `axis`; all blocks are as long."""

    def own(x: Tensor) -> Tensor:
        rows = x.shape[axis] // groups
        return x.narrow(axis, i * rows, rows)

    return tree_map(own, tree)


def blocks(tree: Any, groups: int, axis: int = 0) -> list[Any]:
    """The tree of each group, as `block` has it."""
    return [block(tree, i, groups, axis) for i in range(groups)]


def stacked(networks: Sequence[Network]) -> Stacked | None:
    """Memoryless networks of linear layers alone, alike but for their weights, with all weights
    stacked; None for others.
    """
    if networks[0].stateful or _drawn(networks):
        return None
    whole = copy.deepcopy(networks[0])
    for name, layer in networks[0].named_modules():
        parts = [network.get_submodule(name) for network in networks]
        own = [key for key, _ in layer.named_parameters(recurse=False)]
        if own and not isinstance(layer, nn.Linear | dense.Connection | population.Readout):
            return None
        if not own:
            continue
        there = whole.get_submodule(name)
        if isinstance(layer, nn.Linear):
            there = dense.Linear(layer.in_features, layer.out_features, layer.bias is not None)
            whole.set_submodule(name, there)
        for key in own:
            setattr(
                there,
                key,
                nn.Parameter(torch.stack([getattr(part, key).detach() for part in parts])),
            )
    return Stacked(whole, len(networks))


def _drawn(networks: Sequence[Network]) -> bool:
    """Whether constants of theirs differ, as those that are drawn with a seed; a seed itself, a
    scalar, is none.
    """
    first, *others = ([x for x in network.buffers() if x.dim()] for network in networks)
    return any(not torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def members(
    network: nn.Module, groups: int, tensors: Sequence[Tensor] | None = None, each: int = 1
) -> list[list[Tensor]]:
    """The part of each group in `tensors`, which are like the network's parameters, or in these
    themselves; parts are views.

    each: members of the network that a group has, stacked like these in a network of its own.
    """
    tensors = list(network.parameters()) if tensors is None else list(tensors)
    if groups == 1:
        return [tensors]
    if isinstance(network, Group):
        own = len(tensors) // groups
        return [tensors[i * own : i * own + own] for i in range(groups)]
    return [
        [x[i] if each == 1 else x[i * each : i * each + each] for x in tensors]
        for i in range(groups)
    ]


def seeded(seed: int, make: Callable[[], Made]) -> Made:
    """The result of `make` when torch draws from `seed`; the generator of others is left alone."""
    with seeding.drawing_from(seed):
        return make()
