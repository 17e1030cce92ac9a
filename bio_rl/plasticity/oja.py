"""Oja's rule: Hebbian growth that normalises itself.

    Δw_ji = η M y_j (x_i - y_j w_ji)

x and y are pre.spike and post.spike of the last tick, usually activities; `delta` is due every
tick, with M = 1 where nothing gates. For y = Σ w x and inputs of mean zero w turns to the first
principal component, with length one. Oja 1982.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.plasticity import Post, Pre, gate, zeros


class OjaState(NamedTuple):
    x: Tensor
    """[..., pre] activity at the last tick."""
    y: Tensor
    """[..., post] activity at the last tick."""


class Oja(NamedTuple):
    """Constants."""

    lr: float = 0.01

    def init(self, *shape: int, device: torch.device | None = None) -> OjaState:
        return OjaState(*zeros(*shape, device=device)[:2])

    def trace(
        self,
        s: OjaState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> OjaState:
        return OjaState(pre.spike.detach(), post.spike.detach())

    def delta(self, s: OjaState, w: Tensor, modulator: Tensor) -> Tensor:
        y = s.y.unsqueeze(-1)
        return self.lr * gate(modulator, y * (s.x.unsqueeze(-2) - y * w))


RULE = Oja
