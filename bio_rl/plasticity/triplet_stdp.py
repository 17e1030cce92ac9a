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

from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, at_zero, decay, gate, outer, remembered


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
    init = staticmethod(at_zero(TripletSTDPState, "pre", "pre", "post", "post", "pre", "post"))

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
        r1 = state.r1 + state.pre
        r2 = state.r2 + state.pre
        o1 = state.o1 + state.post
        o2 = state.o2 + state.post
        return TripletSTDPState(
            r1=decay(self.tau_plus, dt) * r1,
            r2=decay(self.tau_x, dt) * r2,
            o1=decay(self.tau_minus, dt) * o1,
            o2=decay(self.tau_y, dt) * o2,
            pre=remembered(pre.spike),
            post=remembered(post.spike),
        )

    def delta(self, state: TripletSTDPState, w: Tensor, modulator: Tensor) -> Tensor:
        # pairs count the more, the more the same side fired before: triplets
        a_plus = self.a2_plus + self.a3_plus * state.o2
        a_minus = self.a2_minus + self.a3_minus * state.r2

        up = outer(state.post * a_plus, state.r1)
        down = outer(state.o1, state.pre * a_minus)
        gated = gate(modulator, up - down)
        return self.lr * gated


RULE = TripletSTDP
