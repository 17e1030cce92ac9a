"""Bounds of the weights that a rule changes, from hard to soft.

    Δw ← Δw (w_max - w)^μ where Δw > 0,   Δw (w - w_min)^μ where Δw < 0
    Δw ← min(max(w + Δw, w_min), w_max) - w         for w within the bounds

A weight that began outside is left there until its own rule moves it inwards: several brains that
share a weight add their changes, and each would otherwise pull it back by the whole distance.

μ = 0 is hard: the rule acts alike at every weight, and stops at the bound (additive: Song, Miller &
Abbott 2000). μ = 1 is soft: the nearer the bound, the smaller the change (multiplicative: van
Rossum, Bi & Turrigiano 2000). Between them lies Gütig et al. 2003, whose w_min = 0 and w_max = 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bio_rl.plasticity._rule import Needs, Post, Pre, Rule


class Bounds(NamedTuple):
    """A rule whose weights stay within bounds; itself a rule, with the state of the bounded one."""

    rule: Rule
    w_min: float | Tensor = -1.0
    w_max: float | Tensor = 1.0
    mu: float | Tensor = 0.0
    """The exponent μ of the distance to the bound: 0 hard, 1 soft."""

    @property
    def needs(self) -> Needs:
        return self.rule.needs

    def init(self, *shape: int, device: torch.device | None = None) -> Any:
        return self.rule.init(*shape, device=device)

    def trace(
        self,
        state: Any,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> Any:
        return self.rule.trace(state, w, pre, post, signal, dt)

    def delta(self, state: Any, w: Tensor, modulator: Tensor) -> Tensor:
        change = self.rule.delta(state, w, modulator)
        # beyond a bound there is no room
        room_above = (self.w_max - w).clamp(min=0.0)
        room_below = (w - self.w_min).clamp(min=0.0)
        room = torch.where(change > 0, room_above, room_below)
        change = change * room**self.mu

        # a weight outside is its own bound on that side
        lowest = w.clamp(max=self.w_min)
        highest = w.clamp(min=self.w_max)
        return (w + change).clamp(min=lowest, max=highest) - w
