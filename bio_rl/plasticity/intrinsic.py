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

import torch
from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, decay, gate, outer, remembered, zeros


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

    def init(self, *shape: int, device: torch.device | None = None) -> IntrinsicState:
        x, excess, _ = zeros(*shape, device=device)
        return IntrinsicState(x, excess)

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
        excess = keep * state.excess + (1.0 - keep) * (rate - self.target)
        return IntrinsicState(remembered(pre.spike), excess)

    def delta(self, state: IntrinsicState, w: Tensor, modulator: Tensor) -> Tensor:
        change = outer(-state.excess, state.x)
        return self.lr * gate(modulator, change)


RULE = Intrinsic
