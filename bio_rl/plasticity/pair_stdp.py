"""Pair-based spike-timing-dependent plasticity with bounds from hard to soft.

    x ← (x + s_pre') e^(-dt/τ+)      y ← (y + s_post') e^(-dt/τ-)
        s' the spikes of the tick before
    Δw = η M [A+ (w_max - w)^μ s_post x - A- (w - w_min)^μ y s_pre]

Each spike meets the other side's trace as it stood before this tick; spikes of one tick do not
pair. `delta` is the term of the last tick only: it is due every tick, with M = 1 where nothing
gates. μ = 0 is additive (Song, Miller & Abbott 2000, with w in [0, 1]) and knows no bounds: the
caller clamps w to [w_min, w_max]. μ = 1 is multiplicative, with soft bounds; between them lies
Gütig et al. 2003.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, at_zero, decay, gate, outer, remembered


class PairSTDPState(NamedTuple):
    x: Tensor
    """[..., pre] trace of presynaptic spikes before the last tick."""
    y: Tensor
    """[..., post] of postsynaptic ones."""
    pre: Tensor
    """[..., pre] spikes of the last tick."""
    post: Tensor
    """[..., post] spikes of the last tick."""


class PairSTDP(NamedTuple):
    """Constants; τ in ms."""

    tau_plus: float = 20.0
    tau_minus: float = 20.0
    a_plus: float = 0.005
    a_minus: float = 0.00525
    mu: float = 0.0
    """Exponent of the distance to the bound: 0 additive, 1 multiplicative."""
    w_min: float = 0.0
    w_max: float = 1.0
    lr: float = 1.0

    needs = Needs(modulator=False, every_tick=True, pre=("spike",), post=("spike",))
    init = staticmethod(at_zero(PairSTDPState, "pre", "post", "pre", "post"))

    def trace(
        self,
        state: PairSTDPState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> PairSTDPState:
        # a spike enters its trace one tick late: spikes of one tick do not pair
        x = state.x + state.pre
        y = state.y + state.post
        return PairSTDPState(
            x=decay(self.tau_plus, dt) * x,
            y=decay(self.tau_minus, dt) * y,
            pre=remembered(pre.spike),
            post=remembered(post.spike),
        )

    def delta(self, state: PairSTDPState, w: Tensor, modulator: Tensor) -> Tensor:
        # beyond a bound there is no room
        room_above = (self.w_max - w).clamp(min=0.0)
        room_below = (w - self.w_min).clamp(min=0.0)

        # the spikes of the last tick meet the traces of those before
        causal = outer(state.post, state.x)
        reverse = outer(state.y, state.pre)

        up = self.a_plus * room_above**self.mu * causal
        down = self.a_minus * room_below**self.mu * reverse
        gated = gate(modulator, up - down)
        return self.lr * gated


RULE = PairSTDP
