"""Sanger's rule, the generalised Hebbian algorithm: each output learns from what the outputs before
it leave unexplained.

    Δw_ji = η M y_j (x_i - Σ_{k≤j} y_k w_ki)

x and y are pre.spike and post.spike of the last tick, usually activities; `delta` is due every
tick, with M = 1 where nothing gates. For y = W x and inputs of mean zero the rows of W become the
principal components, in order. Sanger 1989. The sum makes the rule less local than the others: a
synapse needs the activities and the weights of the outputs before its own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.plasticity import Post, Pre, gate, zeros


class SangerState(NamedTuple):
    x: Tensor
    """[..., pre] activity at the last tick."""
    y: Tensor
    """[..., post] activity at the last tick."""


class Sanger(NamedTuple):
    """Constants."""

    lr: float = 0.01

    def init(self, *shape: int, device: torch.device | None = None) -> SangerState:
        return SangerState(*zeros(*shape, device=device)[:2])

    def trace(
        self,
        s: SangerState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> SangerState:
        return SangerState(pre.spike.detach(), post.spike.detach())

    def delta(self, s: SangerState, w: Tensor, modulator: Tensor) -> Tensor:
        y = s.y.unsqueeze(-1)
        return self.lr * gate(modulator, y * (s.x.unsqueeze(-2) - (y * w).cumsum(-2)))


RULE = Sanger
