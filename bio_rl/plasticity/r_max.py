"""R-max: reward-modulated plasticity that is a policy gradient for stochastic spiking neurons.

    x ← x e^(-dt/τ_mem) + s_pre
    e ← e e^(-dt/τ_e) + (s_post - p) x            Δw = η M e

p is the probability with which the neuron spiked at this tick, so a spike is compared with what was
to be expected and the average of e is zero: no bias remains when M has a mean. Where p = σ(u) with
u = Σ w x, (s_post - p) x is exactly ∂ log P(s_post) / ∂w, and M = R ascends E[R]; where the rate
grows as exp(u/Δ) (escape_noise) it is Δ times that, to first order in p. A membrane's gain (1 -
e^(-dt/τ_mem)) is part of η too. Vasilaki et al. 2009; called R-max in Frémaux, Sprekeler & Gerstner
2010.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, at_zero, decay, gate, outer


class RMaxState(NamedTuple):
    x: Tensor
    """[..., pre] trace of presynaptic spikes, this tick's included."""
    e: Tensor
    """[..., post, pre] eligibility."""


class RMax(NamedTuple):
    """Constants; τ in ms."""

    tau_mem: float = 20.0
    """Membrane time constant of the neuron."""
    tau_e: float = 500.0
    """Time constant of the eligibility; inf sums over a trial."""
    lr: float = 1.0

    needs = Needs(modulator=True, every_tick=False, post=("activity", "p"))
    init = staticmethod(at_zero(RMaxState, "pre", "synapse"))

    def trace(
        self,
        state: RMaxState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> RMaxState:
        """Raises ValueError without post.p."""
        if isinstance(post.p, tuple):
            raise ValueError(
                "r_max: post.p, the probability of each spike, is missing; "
                "only a stochastic neuron has it"
            )
        # this tick's spikes are in the trace, as they are in the membrane that gave p
        x = decay(self.tau_mem, dt) * state.x + pre.spike
        # what the neuron did beyond what was to be expected; zero on average
        surprise = post.spike - post.p
        hebbian = outer(surprise, x)
        e = decay(self.tau_e, dt) * state.e + hebbian
        return RMaxState(x, e)

    def delta(self, state: RMaxState, w: Tensor, modulator: Tensor) -> Tensor:
        gated = gate(modulator, state.e)
        return self.lr * gated


RULE = RMax
