"""The exploratory Hebbian rule: activity above a neuron's running mean is reinforced as far as the
reward is above its own.

    ȳ ← ȳ e^(-dt/τ_ȳ) + (1 - e^(-dt/τ_ȳ)) y            Δw_ji = η M x_i (y_j - ȳ_j),   M = R - R̄

x and y are pre.spike and post.spike of the last tick, activities of noisy neurons; `delta` is due
every tick. The running mean ȳ (this tick included) parts the noise from the signal, so the synapse
need not know the noise. On average Δw follows the gradient of R, times the variance of the noise,
where inputs change little within τ_ȳ. Legenstein, Chase, Schwartz & Maass 2010; Hoerzer, Legenstein
& Maass 2014.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, at_zero, decay, gate, low_pass, outer, remembered


class ExploratoryHebbState(NamedTuple):
    x: Tensor
    """[..., pre] activity at the last tick."""
    y: Tensor
    """[..., post] activity at the last tick."""
    mean: Tensor
    """[..., post] running mean of y."""


class ExploratoryHebb(NamedTuple):
    """Constants; τ in ms."""

    tau_mean: float = 4.5
    """Time constant of ȳ. e^(-1/4.5) = 0.8: Legenstein 2010, ȳ ← 0.8 ȳ + 0.2 y."""
    lr: float = 0.01

    needs = Needs(modulator=True, every_tick=True)
    init = staticmethod(at_zero(ExploratoryHebbState, "pre", "post", "post"))

    def trace(
        self,
        state: ExploratoryHebbState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> ExploratoryHebbState:
        keep = decay(self.tau_mean, dt)
        return ExploratoryHebbState(
            x=remembered(pre.spike),
            y=remembered(post.spike),
            mean=low_pass(state.mean, post.spike, keep),
        )

    def delta(self, state: ExploratoryHebbState, w: Tensor, modulator: Tensor) -> Tensor:
        # the running mean is the signal, so what is left of the activity is the noise
        noise = state.y - state.mean
        change = outer(noise, state.x)
        gated = gate(modulator, change)
        return self.lr * gated


RULE = ExploratoryHebb
