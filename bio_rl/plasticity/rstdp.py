"""Reward-modulated spike-timing-dependent plasticity with an eligibility trace.

    x ← x e^(-dt/τ+) + s_pre      y ← y e^(-dt/τ-) + s_post
    c ← c e^(-dt/τ_c) + A+ s_post x - A- y s_pre            Δw = η M c

Each spike meets the other side's trace as it stood before this tick; spikes of one tick do not
pair. Florian 2007 (MSTDPET, eqs. 9-12, where his 1/τ_z is part of η); Izhikevich 2007, eqs. 1-3,
with dopamine as M: there dw/dt = c d, so η is dt.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, at_zero, decay, gate, outer


class RSTDPState(NamedTuple):
    x: Tensor
    """[..., pre] trace of presynaptic spikes."""
    y: Tensor
    """[..., post] trace of postsynaptic spikes."""
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

    needs = Needs(modulator=True, every_tick=False, pre=("spike",), post=("spike",))
    init = staticmethod(at_zero(RSTDPState, "pre", "post", "synapse"))

    def trace(
        self,
        state: RSTDPState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> RSTDPState:
        x = decay(self.tau_plus, dt) * state.x
        y = decay(self.tau_minus, dt) * state.y
        # this tick's spikes enter the traces below: spikes of one tick do not pair
        causal = outer(post.spike, x)
        reverse = outer(y, pre.spike)
        pairing = self.a_plus * causal - self.a_minus * reverse
        return RSTDPState(
            x=x + pre.spike,
            y=y + post.spike,
            c=decay(self.tau_c, dt) * state.c + pairing,
        )

    def delta(self, state: RSTDPState, w: Tensor, modulator: Tensor) -> Tensor:
        gated = gate(modulator, state.c)
        return self.lr * gated


RULE = RSTDP
