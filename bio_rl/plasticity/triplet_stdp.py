"""Spike-timing-dependent plasticity of pairs and triplets of spikes, all to all.

    r1, r2: traces of presynaptic spikes with τ+, τx      o1, o2: of postsynaptic ones with τ-, τy
        each spike adds one
    Δw = η M { s_post r1 [A2+ + A3+ o2] - s_pre o1 [A2- + A3- r2] }

All traces are read as they stood before this tick, so spikes of one tick do not pair. `delta` is
the term of the last tick only: it is due every tick, with M = 1 where nothing gates. Weights have
no bounds here. Pfister & Gerstner 2006; the constants are their fit to visual cortex (full model,
all-to-all).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.plasticity import Post, Pre, decay, gate, outer, zeros


class TripletSTDPState(NamedTuple):
    r1: Tensor
    """[..., pre] fast trace of presynaptic spikes before the last tick."""
    r2: Tensor
    """[..., pre] slow one."""
    o1: Tensor
    """[..., post] fast trace of postsynaptic spikes before the last tick."""
    o2: Tensor
    """[..., post] slow one."""
    pre: Tensor
    """[..., pre] spikes of the last tick."""
    post: Tensor
    """[..., post] spikes of the last tick."""


class TripletSTDP(NamedTuple):
    """Constants; τ in ms."""

    tau_plus: float = 16.8
    tau_x: float = 101.0
    tau_minus: float = 33.7
    tau_y: float = 125.0
    a2_plus: float = 5e-10
    a3_plus: float = 6.2e-3
    a2_minus: float = 7e-3
    a3_minus: float = 2.3e-4
    lr: float = 1.0

    def init(self, *shape: int, device: torch.device | None = None) -> TripletSTDPState:
        x, y, _ = zeros(*shape, device=device)
        fresh = torch.zeros_like
        return TripletSTDPState(x, fresh(x), y, fresh(y), fresh(x), fresh(y))

    def trace(
        self,
        s: TripletSTDPState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> TripletSTDPState:
        return TripletSTDPState(
            r1=decay(self.tau_plus, dt) * (s.r1 + s.pre),
            r2=decay(self.tau_x, dt) * (s.r2 + s.pre),
            o1=decay(self.tau_minus, dt) * (s.o1 + s.post),
            o2=decay(self.tau_y, dt) * (s.o2 + s.post),
            pre=pre.spike.detach(),
            post=post.spike.detach(),
        )

    def delta(self, s: TripletSTDPState, w: Tensor, modulator: Tensor) -> Tensor:
        up = outer(s.post * (self.a2_plus + self.a3_plus * s.o2), s.r1)
        down = outer(s.o1, s.pre * (self.a2_minus + self.a3_minus * s.r2))
        return self.lr * gate(modulator, up - down)


RULE = TripletSTDP
