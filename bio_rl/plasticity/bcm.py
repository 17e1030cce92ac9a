"""The Bienenstock-Cooper-Munro rule: a threshold that slides with the neuron's activity decides
between growth and decline.

    θ ← θ e^(-dt/τ_θ) + (1 - e^(-dt/τ_θ)) y²            Δw_ji = η M y_j (y_j - θ_j) x_i

x and y are pre.spike and post.spike of the last tick, usually activities; `delta` is due every
tick, with M = 1 where nothing gates. Responses become selective: of K equally likely, linearly
independent inputs one ends with the response K, the others with 0. The threshold must follow faster
than the weights (η small), or both oscillate. Bienenstock, Cooper & Munro 1982; θ as the mean of y²
is Intrator & Cooper 1992.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, decay, gate, outer, remembered, zeros


class BCMState(NamedTuple):
    x: Tensor
    """[..., pre] activity at the last tick."""
    y: Tensor
    """[..., post] activity at the last tick."""
    theta: Tensor
    """[..., post] running mean of y²."""


class BCM(NamedTuple):
    """Constants; τ in ms."""

    tau_theta: float = 100.0
    """Longer than the inputs take to change, shorter than learning."""
    lr: float = 0.001

    needs = Needs(modulator=False, every_tick=True)

    def init(self, *shape: int, device: torch.device | None = None) -> BCMState:
        x, y, _ = zeros(*shape, device=device)
        return BCMState(x, y, torch.zeros_like(y))

    def trace(
        self,
        state: BCMState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> BCMState:
        keep = decay(self.tau_theta, dt)
        theta = keep * state.theta + (1.0 - keep) * post.spike.square()
        return BCMState(remembered(pre.spike), remembered(post.spike), theta)

    def delta(self, state: BCMState, w: Tensor, modulator: Tensor) -> Tensor:
        # below the threshold the neuron's synapses are depressed, above it potentiated
        phi = state.y * (state.y - state.theta)
        change = outer(phi, state.x)
        return self.lr * gate(modulator, change)


RULE = BCM
