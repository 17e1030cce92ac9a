"""Intrinsic excitability: a neuron that fires less than its target becomes easier to excite, and
one that fires more, harder.

    r̄ ← r̄ e^(-dt/τ_r̄) + (1 - e^(-dt/τ_r̄)) s_post / dt            Δb_j = η M (r* - r̄_j) x_i

The bias b_j, minus a threshold, is the weight from a presynaptic neuron that is always on: there is
one, and its pre.spike, x_i of the last tick, is 1. r in Hz; `delta` is due every tick, with M = 1
where nothing gates. The state keeps r̄ - r*, so that a fresh neuron counts as being at its target.
Unlike `scaling` it adds to the bias and leaves the weights alone, so it can wake a neuron without
input. `codes.homeostat` is the same step for a bias shared by all rows, from rates averaged
elsewhere. Desai, Rutherford & Turrigiano 1999; reviewed in Turrigiano 2008.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, at_zero, decay, gate, low_pass, outer, remembered


class IntrinsicState(NamedTuple):
    x: Tensor
    """[..., pre] activity at the last tick."""
    excess: Tensor
    """[..., post] r̄ - r*, Hz."""


class Intrinsic(NamedTuple):
    """Constants; τ in ms."""

    target: float = 10.0
    """r*, Hz."""
    tau_rate: float = 10_000.0
    """Time constant of r̄; much longer than any interval between spikes."""
    lr: float = 1e-6
    """Per Hz and tick. Above dt / (4 τ_rate g) a rate that grows by g Hz per unit of the bias
    swings around its target.
    """

    needs = Needs(modulator=False, every_tick=True, post=("spike",), bias=True)
    init = staticmethod(at_zero(IntrinsicState, "pre", "post"))

    def trace(
        self,
        state: IntrinsicState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> IntrinsicState:
        keep = decay(self.tau_rate, dt)
        # dt is in ms, and rates are in Hz
        rate = 1000.0 / dt * post.spike
        excess = low_pass(state.excess, rate - self.target, keep)
        x = remembered(pre.spike)
        return IntrinsicState(x, excess)

    def delta(self, state: IntrinsicState, w: Tensor, modulator: Tensor) -> Tensor:
        # an excess of spikes makes the neuron harder to excite
        change = outer(-state.excess, state.x)
        gated = gate(modulator, change)
        return self.lr * gated


RULE = Intrinsic
