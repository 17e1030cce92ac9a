"""Twin critics: two action values for each seed, all of them one stacked network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bio_rl import groups, seeding
from bio_rl.contracts import Network, Percept, Probe, State, Transition
from bio_rl.groups import Group, Stacked, side_by_side, stacked
from bio_rl.networks import Blueprint, mlp
from bio_rl.parts import Part
from bio_rl.rl import encoders
from bio_rl.rl.encoders import Encoder
from bio_rl.rl.observations import Mixed
from bio_rl.rl.targets import next_outputs
from bio_rl.state import index, stack

CRITIC_SEED = 1_000_003
"""Added to the seed that the actor is drawn with."""
SUMMARY = 64
"""Numbers in which a critic with memory sums up its observations."""


class TwinCritic(nn.Module):
    """Two action values Q_1, Q_2 for each seed: heads of their own on what one memory, or encoder,
    makes of the observations.

    The heads see actions, or have a value for each choice.
    trunk: that memory or encoder, None where the observations are numbers and nothing is
    remembered.
    """

    def __init__(self, trunk: Network | None, heads: Group | Stacked, groups: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = heads
        self.groups = groups

    def initial_state(self, batch: int) -> State:
        """The memory of `batch` fresh lives."""
        if self.trunk is None:
            return ()
        return self.trunk.initial_state(batch)

    def anneal(self, progress: Sequence[float]) -> None:
        """Set what follows a schedule in its networks, `progress` from 0 to 1 of each seed's
        run.
        """
        groups.anneal(self.heads, progress)
        if self.trunk is not None:
            groups.anneal(self.trunk, progress)

    def advance(self, percepts: Percept, state: State) -> State:
        """The memory after T percepts [T, B, ...]."""
        if self.trunk is None:
            return ()
        _, after = self.trunk.unroll(percepts, state)
        return after

    @torch.no_grad()
    def advance_in(self, percepts: Percept, state: State, stride: int) -> tuple[State, State]:
        """The memory before every stride-th of T percepts [T, B, ...], [T / stride, B, ...], and
        after the last.
        """
        starts = []
        for first in range(0, len(percepts.reset), stride):
            starts.append(state)
            part = index(percepts, slice(first, first + stride))
            state = self.advance(part, state)
        return stack(starts), state

    def summary(self, percepts: Percept, state: State) -> Tensor:
        """[L, B, F] what the heads see of the observations of L steps."""
        if self.trunk is None:
            return percepts.obs
        summary, _ = self.trunk.unroll(percepts, state)
        return summary

    def next_summary(self, steps: Transition, state: State) -> Tensor:
        """[L, B, F] what the heads see of the true next observations of L steps."""
        if self.trunk is None:
            return steps.final_obs
        return next_outputs(self.trunk, steps, state)

    def forward(self, summary: Tensor, action: Tensor | None = None) -> Tensor:
        """Q [2, L, B] of actions [L, B, A]; of each choice, [2, L, B, n], where heads see none."""
        rows = self._rows(summary, action)
        # Both heads of a seed see its block: [G, L·N, F] becomes [G · 2 · L·N, F].
        twice = rows.unsqueeze(1).expand(-1, 2, -1, -1)
        for_heads = twice.reshape(-1, rows.shape[-1])
        q, _ = self.heads(rows_percept(for_heads), ())
        length = len(summary)
        if action is None:
            # [G, 2, L, N, n] becomes [2, L, G·N, n].
            by_head = q.view(self.groups, 2, length, -1, q.shape[-1])
            return by_head.permute(1, 2, 0, 3, 4).flatten(2, 3)
        # [G, 2, L, N] becomes [2, L, G·N].
        by_head = q.view(self.groups, 2, length, -1)
        return by_head.permute(1, 2, 0, 3).flatten(2)

    def first(self, summary: Tensor, action: Tensor) -> Tensor:
        """Q_1 [L, B] alone."""
        rows = self._rows(summary, action).flatten(0, 1)
        every_second = slice(0, None, 2)
        q = self.heads.select(rows_percept(rows), every_second)
        # [G, L, N] becomes [L, G·N].
        by_seed = q.view(self.groups, len(summary), -1)
        return by_seed.transpose(0, 1).flatten(1)

    def _rows(self, summary: Tensor, action: Tensor | None) -> Tensor:
        """[L, G·N, F] and [L, G·N, A] as [G, L·N, F + A]: without memory, all steps of a seed are
        rows of its block.
        """
        x = summary if action is None else torch.cat((summary, action), -1)
        width = x.shape[-1]
        # [L, G, N, F] becomes [G, L·N, F].
        by_seed = x.view(len(x), self.groups, -1, width)
        return by_seed.transpose(0, 1).flatten(1, 2)


class _Kinds(NamedTuple):
    """The networks that a critic is made of."""

    head: Blueprint
    trunk: Blueprint | None
    """None where the observations are seen as they are, or by an encoder alone."""


def twin_critic(
    network: Blueprint,
    hidden: tuple[int, ...],
    size: int | Mixed,
    n_action: int,
    seeds: Sequence[int],
    n_out: int = 1,
) -> TwinCritic:
    """Critics beside an actor of this blueprint: rectified layers of `hidden` units, or a network
    like the actor's where its own configuration asks for that; on an encoder for pictures and
    tokens, or on a memory where the actor has one.

    size: of the features. n_action: numbers of an action that the heads see. n_out: values of a
    head.
    """
    kinds = _kinds(network, hidden, size)
    trunks: list[Network] = []
    heads: list[Network] = []
    for seed in seeds:
        with seeding.drawing_from(CRITIC_SEED + seed):
            if kinds.trunk is not None:
                trunks.append(encoders.build(kinds.trunk, size, SUMMARY))
                width = SUMMARY
            elif isinstance(size, int):
                width = size
            else:
                encoder = Encoder(size)
                trunks.append(Encoding(encoder))
                width = encoder.size
            heads += [kinds.head.build(width + n_action, n_out) for _ in range(2)]
    trunk = side_by_side(trunks) if trunks else None
    return TwinCritic(trunk, _twins(heads, len(seeds)), len(seeds))


def _twins(heads: Sequence[Network], seeds: int) -> Group | Stacked:
    """Two heads of each seed as one network."""
    if seeds > 1 and heads[0].follows_schedule:
        # Each seed may be at a point of its own.
        return Group(heads)
    return stacked(heads) or Group(heads)


def _kinds(network: Blueprint, hidden: tuple[int, ...], size: int | Mixed) -> _Kinds:
    """The kinds of networks for a critic beside an actor of this blueprint."""
    plain = Blueprint("mlp", mlp.Config(hidden=hidden, activation="relu"))
    asked = network.critic()
    with seeding.drawing_from(CRITIC_SEED):
        actor = encoders.build(network, size, 1)
    if actor.stateful or asked.image:
        return _Kinds(plain, network)
    return _Kinds(plain if asked.name == "mlp" else asked, None)


class Encoding(Network):
    """A learned encoder alone, as a network without memory."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def forward(
        self, x: Percept, state: tuple[()], probe: Probe | None = None
    ) -> tuple[Tensor, tuple[()]]:
        encoded = self.encoder(x.obs)
        return encoded, ()

    def unroll(self, xs: Percept, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        encoded = self.encoder(xs.obs)
        return encoded, ()

    def parts(self) -> tuple[Part, ...]:
        return self.encoder.graph()


def rows_percept(obs: Tensor) -> Percept:
    """Rows [N, ...] for a network without memory, to which nothing has happened."""
    n = len(obs)
    # One number that stands for all rows: it takes no memory.
    zero = obs.new_zeros(()).expand(n)
    no = torch.zeros((), dtype=torch.bool, device=obs.device).expand(n)
    return Percept(obs, zero, zero, no, no)
