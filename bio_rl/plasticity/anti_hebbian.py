"""Anti-Hebbian plasticity: neurons that are active together come to inhibit each other, until they
are uncorrelated.

    Δw_ji = -η M (y_j x_i - p²)

x and y are pre.spike and post.spike of the last tick; for lateral weights both are the activities
of one layer, and the caller holds the diagonal at zero. `delta` is due every tick, with M = 1 where
nothing gates. It rests where E[y_j x_i] = p²: neurons of the mean activity p are then uncorrelated.
Földiák 1989 has p = 0, for activities of mean zero; Földiák 1990 has binary neurons whose
thresholds hold their mean at p, and w ≤ 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.plasticity import Post, Pre, gate, outer, zeros


class AntiHebbianState(NamedTuple):
    x: Tensor
    """[..., pre] activity at the last tick."""
    y: Tensor
    """[..., post] activity at the last tick."""


class AntiHebbian(NamedTuple):
    """Constants."""

    p: float = 0.0
    """Mean activity of a neuron in a tick."""
    lr: float = 0.01

    def init(self, *shape: int, device: torch.device | None = None) -> AntiHebbianState:
        return AntiHebbianState(*zeros(*shape, device=device)[:2])

    def trace(
        self,
        s: AntiHebbianState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> AntiHebbianState:
        return AntiHebbianState(pre.spike.detach(), post.spike.detach())

    def delta(self, s: AntiHebbianState, w: Tensor, modulator: Tensor) -> Tensor:
        return -self.lr * gate(modulator, outer(s.y, s.x) - self.p**2)


RULE = AntiHebbian
