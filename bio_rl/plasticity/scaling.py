"""Synaptic scaling: all weights of a neuron grow in proportion while it fires less than its target,
and shrink while more.

    r̄ ← r̄ e^(-dt/τ_r̄) + (1 - e^(-dt/τ_r̄)) s_post / dt            Δw = η M w (r* - r̄)

r in Hz, and η is β dt of the published ẇ = β w (r* - r̄); `delta` is due every tick, with M = 1
where nothing gates. Since each weight changes by the same factor, what the neuron has learned
stays. It is meant for excitation: an inhibitory w < 0 would grow where the neuron is too quiet. The
state keeps r̄ - r*, so a fresh neuron counts as being at its target. van Rossum, Bi & Turrigiano
2000, without its integral term; Turrigiano 2008.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, at_zero, decay, gate, low_pass


class ScalingState(NamedTuple):
    excess: Tensor
    """[..., post] r̄ - r*, Hz."""


class Scaling(NamedTuple):
    """Constants; τ in ms."""

    target: float = 10.0
    """r*, Hz."""
    tau_rate: float = 10_000.0
    """Time constant of r̄; much longer than any interval between spikes."""
    lr: float = 1e-6
    """Per Hz and tick. Above dt / (4 τ_rate r*) a rate that is proportional to w swings around its
    target.
    """

    needs = Needs(modulator=False, every_tick=True, pre=(), post=("spike",))
    init = staticmethod(at_zero(ScalingState, "post"))

    def trace(
        self,
        state: ScalingState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> ScalingState:
        keep = decay(self.tau_rate, dt)
        # dt is in ms, and rates are in Hz
        rate = 1000.0 / dt * post.spike
        excess = low_pass(state.excess, rate - self.target, keep)
        return ScalingState(excess)

    def delta(self, state: ScalingState, w: Tensor, modulator: Tensor) -> Tensor:
        # the same factor for every synapse of a neuron, whose weights keep their proportions
        change = -state.excess.unsqueeze(-1) * w
        gated = gate(modulator, change)
        return self.lr * gated


RULE = Scaling
