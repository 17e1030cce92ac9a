"""Twin critics: two action values for each seed, all of them one stacked network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bio_rl import seeding
from bio_rl.contracts import Network, Percept, Probe, State, Transition
from bio_rl.groups import side_by_side
from bio_rl.networks import Blueprint, mlp
from bio_rl.rl import encoders
from bio_rl.rl.targets import next_outputs

CRITIC_SEED = 1_000_003
"""Added to the seed that the actor is drawn with."""
SUMMARY = 64
"""Numbers in which a critic with memory sums up what it has seen."""


class TwinCritic(nn.Module):
    """Two action values Q_1, Q_2 for each seed: heads of their own on what one memory, or encoder,
    makes of the observations.

    The heads see actions, or have a value for each choice.
    look: that network, None where the observations are numbers and nothing is remembered.
    """

    def __init__(self, look: Network | None, heads: Network, groups: int) -> None:
        super().__init__()
        self.look, self.heads, self.groups = look, heads, groups

    def initial_state(self, batch: int) -> State:
        return self.look.initial_state(batch) if self.look is not None else ()

    def anneal(self, progress: float) -> None:
        """Of its networks, where they follow a schedule."""
        for network in (self.look, self.heads):
            if network is not None:
                network.anneal(progress)

    def advance(self, seen: Percept, state: State) -> State:
        """The memory after T percepts [T, B, ...]."""
        return self.look.unroll(seen, state)[1] if self.look is not None else ()

    def summary(self, seen: Percept, state: State) -> Tensor:
        """What it makes of the observations of L steps, [L, B, F]."""
        return seen.obs if self.look is None else self.look.unroll(seen, state)[0]

    def next_summary(self, steps: Transition, state: State) -> Tensor:
        """And of those that truly came next."""
        return steps.final_obs if self.look is None else next_outputs(self.look, steps, state)

    def forward(self, summary: Tensor, action: Tensor | None = None) -> Tensor:
        """Q [2, L, B] of actions [L, B, A]; of each choice, [2, L, B, n], where heads see none."""
        rows, g = self._rows(summary, action), self.groups
        twice = rows.unsqueeze(1).expand(-1, 2, -1, -1).reshape(-1, rows.shape[-1])
        q, _ = self.heads(_seen(twice), ())
        if action is None:
            return q.view(g, 2, len(summary), -1, q.shape[-1]).permute(1, 2, 0, 3, 4).flatten(2, 3)
        return q.view(g, 2, len(summary), -1).permute(1, 2, 0, 3).flatten(2)

    def first(self, summary: Tensor, action: Tensor) -> Tensor:
        """Q_1 [L, B] alone."""
        q = self.heads.some(_seen(self._rows(summary, action).flatten(0, 1)), slice(0, None, 2))
        return q.view(self.groups, len(summary), -1).transpose(0, 1).flatten(1)

    def _rows(self, summary: Tensor, action: Tensor | None) -> Tensor:
        """[L, G·N, F] and [L, G·N, A] as [G, L·N, F + A]: without memory, all steps of a seed are
        rows of its block.
        """
        x = summary if action is None else torch.cat((summary, action), -1)
        return x.view(len(x), self.groups, -1, x.shape[-1]).transpose(0, 1).flatten(1, 2)


def twin_critic(
    network: Blueprint,
    hidden: tuple[int, ...],
    size: Any,
    n_action: int,
    seeds: Sequence[int],
    n_out: int = 1,
) -> TwinCritic:
    """Critics beside an actor of this blueprint: rectified layers of `hidden` units, or a network
    like the actor's where its own configuration asks for that; on an encoder for pictures and
    tokens, or on a memory where the actor has one.
    """
    plain = Blueprint("mlp", mlp.Config(hidden=hidden, activation="relu"))
    kind = network.critic()
    with seeding.drawing_from(CRITIC_SEED):
        probe = encoders.build(network, size, 1)
    remembers = probe.stateful
    head = kind if kind.name != "mlp" and not remembers and not kind.image else plain
    look, heads = [], []
    for seed in seeds:
        with seeding.drawing_from(CRITIC_SEED + seed):
            if remembers or kind.image:
                look.append(encoders.build(network, size, SUMMARY))
            elif not isinstance(size, int):
                look.append(Encoding(encoders.Encoder(size)))
            width = SUMMARY if remembers or kind.image else look[-1].encoder.size if look else size
            heads += [head.build(width + n_action, n_out) for _ in range(2)]
    return TwinCritic(side_by_side(look) if look else None, side_by_side(heads), len(seeds))


class Encoding(Network):
    """A learned encoder alone, as a network without memory."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def forward(
        self, x: Percept, state: tuple[()], probe: Probe | None = None
    ) -> tuple[Tensor, tuple[()]]:
        return self.encoder(x.obs), ()

    def unroll(self, xs: Percept, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return self.encoder(xs.obs), ()


def _seen(obs: Tensor) -> Percept:
    """Rows for a network without memory, to which nothing has happened."""
    zero = obs.new_zeros(()).expand(len(obs))
    never = torch.zeros((), dtype=torch.bool, device=obs.device).expand(len(obs))
    return Percept(obs, zero, zero, never, never)
