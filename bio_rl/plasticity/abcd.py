"""The ABCD rule: Hebbian plasticity whose every synapse has coefficients of its own, found by
evolution.

    Δw_ji = η_ji M (A_ji o_i o_j + B_ji o_i + C_ji o_j + D_ji)

o_i and o_j are pre.spike and post.spike of the last tick, usually activities; `delta` is due every
tick, with M = 1 as published. η, A, B, C and D are numbers or tensors [..., post, pre], one for
each synapse, with leading axes where individuals differ. The defaults are Hebb's rule. Najarro &
Risi 2020 (their i is the presynaptic neuron too, their w_ij our w_ji).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.plasticity import Post, Pre, gate, outer, zeros


class ABCDState(NamedTuple):
    x: Tensor
    """[..., pre] activity at the last tick."""
    y: Tensor
    """[..., post] activity at the last tick."""


class ABCD(NamedTuple):
    """Constants, each a number or [..., post, pre]."""

    a: float | Tensor = 1.0
    b: float | Tensor = 0.0
    c: float | Tensor = 0.0
    d: float | Tensor = 0.0
    lr: float | Tensor = 0.01

    def init(self, *shape: int, device: torch.device | None = None) -> ABCDState:
        return ABCDState(*zeros(*shape, device=device)[:2])

    def trace(
        self,
        s: ABCDState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> ABCDState:
        return ABCDState(pre.spike.detach(), post.spike.detach())

    def delta(self, s: ABCDState, w: Tensor, modulator: Tensor) -> Tensor:
        terms = (
            self.a * outer(s.y, s.x)
            + self.b * s.x.unsqueeze(-2)
            + self.c * s.y.unsqueeze(-1)
            + self.d
        )
        return self.lr * gate(modulator, terms)


RULE = ABCD
