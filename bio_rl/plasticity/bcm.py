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

from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, at_zero, decay, gate, low_pass, outer, remembered


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
    init = staticmethod(at_zero(BCMState, "pre", "post", "post"))

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
        # the square grows faster than the activity: a neuron that is active too much must stop
        squared = post.spike.square()
        return BCMState(
            x=remembered(pre.spike),
            y=remembered(post.spike),
            theta=low_pass(state.theta, squared, keep),
        )

    def delta(self, state: BCMState, w: Tensor, modulator: Tensor) -> Tensor:
        # below the threshold the neuron's synapses are depressed, above it potentiated
        y = state.y
        phi = y * (y - state.theta)
        change = outer(phi, state.x)
        gated = gate(modulator, change)
        return self.lr * gated


RULE = BCM
