"""Reward-modulated spike-timing-dependent plasticity with an eligibility trace.

    x ← x e^(-dt/τ+) + s_pre      y ← y e^(-dt/τ-) + s_post
    c ← c e^(-dt/τ_c) + A+ s_post x - A- y s_pre            Δw = η M c

Each spike meets the other side's trace as it stood before this tick; spikes of one tick do not
pair. Florian 2007 (MSTDPET, eqs. 9-12, where his 1/τ_z is part of η); Izhikevich 2007, eqs. 1-3,
with dopamine as M: there dw/dt = c d, so η is dt.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.plasticity import Post, Pre, decay, gate, outer, zeros


class RSTDPState(NamedTuple):
    x: Tensor
    """[..., pre] trace of presynaptic spikes."""
    y: Tensor
    """[..., post] of postsynaptic ones."""
    c: Tensor
    """[..., post, pre] eligibility."""


class RSTDP(NamedTuple):
    """Constants; τ in ms."""

    tau_plus: float = 20.0
    tau_minus: float = 20.0
    tau_c: float = 1000.0
    a_plus: float = 0.1
    a_minus: float = 0.15
    lr: float = 1.0

    def init(self, *shape: int, device: torch.device | None = None) -> RSTDPState:
        return RSTDPState(*zeros(*shape, device=device))

    def trace(
        self,
        s: RSTDPState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> RSTDPState:
        x, y = decay(self.tau_plus, dt) * s.x, decay(self.tau_minus, dt) * s.y
        pairing = self.a_plus * outer(post.spike, x) - self.a_minus * outer(y, pre.spike)
        return RSTDPState(x + pre.spike, y + post.spike, decay(self.tau_c, dt) * s.c + pairing)

    def delta(self, s: RSTDPState, w: Tensor, modulator: Tensor) -> Tensor:
        return self.lr * gate(modulator, s.c)


RULE = RSTDP
