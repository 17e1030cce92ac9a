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

from bio_rl.plasticity import Post, Pre, decay, gate, outer, zeros


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
    """Of r̄; much longer than any interval between spikes."""
    lr: float = 1e-6
    """Per Hz and tick. Above dt / (4 τ_rate g) a rate that grows by g Hz per unit of the bias
    swings around its target.
    """

    def init(self, *shape: int, device: torch.device | None = None) -> IntrinsicState:
        return IntrinsicState(*zeros(*shape, device=device)[:2])

    def trace(
        self,
        s: IntrinsicState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> IntrinsicState:
        keep = decay(self.tau_rate, dt)
        excess = keep * s.excess + (1.0 - keep) * (1000.0 / dt * post.spike - self.target)
        return IntrinsicState(pre.spike.detach(), excess)

    def delta(self, s: IntrinsicState, w: Tensor, modulator: Tensor) -> Tensor:
        return self.lr * gate(modulator, outer(-s.excess, s.x))


RULE = Intrinsic
