"""Spike-timing-dependent plasticity of pairs and triplets of spikes, all to all.

    r1, r2: traces of presynaptic spikes with τ+, τx
    o1, o2: traces of postsynaptic spikes with τ-, τy      each spike adds one
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

from bio_rl.plasticity import Needs, Post, Pre, decay, gate, outer, remembered, zeros


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

    needs = Needs(modulator=False, every_tick=True, pre=("spike",), post=("spike",))

    def init(self, *shape: int, device: torch.device | None = None) -> TripletSTDPState:
        pre, post, _ = zeros(*shape, device=device)
        return TripletSTDPState(
            r1=pre,
            r2=pre.clone(),
            o1=post,
            o2=post.clone(),
            pre=pre.clone(),
            post=post.clone(),
        )

    def trace(
        self,
        state: TripletSTDPState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> TripletSTDPState:
        # a spike enters its traces one tick late: spikes of one tick do not pair
        return TripletSTDPState(
            r1=decay(self.tau_plus, dt) * (state.r1 + state.pre),
            r2=decay(self.tau_x, dt) * (state.r2 + state.pre),
            o1=decay(self.tau_minus, dt) * (state.o1 + state.post),
            o2=decay(self.tau_y, dt) * (state.o2 + state.post),
            pre=remembered(pre.spike),
            post=remembered(post.spike),
        )

    def delta(self, state: TripletSTDPState, w: Tensor, modulator: Tensor) -> Tensor:
        a_plus = self.a2_plus + self.a3_plus * state.o2
        a_minus = self.a2_minus + self.a3_minus * state.r2
        up = outer(state.post * a_plus, state.r1)
        down = outer(state.o1, state.pre * a_minus)
        return self.lr * gate(modulator, up - down)


RULE = TripletSTDP
