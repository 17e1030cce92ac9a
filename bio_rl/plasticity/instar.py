"""The instar rule: an active neuron's weights turn towards the input that it was active for.

    Δw_ji = η M y_j (x_i - w_ji)

x and y are pre.spike and post.spike of the last tick, activities; `delta` is due every tick, with M
= 1 where nothing gates. Among neurons that compete, so that few are active at once, each comes to
stand for a cluster of inputs, and together they spread as inputs do: competitive learning.
Grossberg 1976; Rumelhart & Zipser 1985; with a neighbourhood Kohonen 1982.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.plasticity import Post, Pre, gate, zeros


class InstarState(NamedTuple):
    x: Tensor
    """[..., pre] activity at the last tick."""
    y: Tensor
    """[..., post] activity at the last tick."""


class Instar(NamedTuple):
    """Constants."""

    lr: float = 0.05

    def init(self, *shape: int, device: torch.device | None = None) -> InstarState:
        return InstarState(*zeros(*shape, device=device)[:2])

    def trace(
        self,
        s: InstarState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> InstarState:
        return InstarState(pre.spike.detach(), post.spike.detach())

    def delta(self, s: InstarState, w: Tensor, modulator: Tensor) -> Tensor:
        return self.lr * gate(modulator, s.y.unsqueeze(-1) * (s.x.unsqueeze(-2) - w))


RULE = Instar
