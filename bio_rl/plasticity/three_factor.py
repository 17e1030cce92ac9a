"""The neo-Hebbian three-factor rule: presynaptic activity times a factor of the neuron, remembered
until a modulator comes.

    x ← x e^(-dt/τ_pre) + (1 - e^(-dt/τ_pre)) pre            τ_pre = 0: x is pre.spike as it is
    e ← e^(-dt/τ_e) e + signal_j x_i                         Δw = η M e

signal_j is ∂ log π(a) / ∂u_j of an actor, 1[a=j] - π_j for a softmax (Williams 1992), and 1 for a
linear critic V = Σ w x; with M = δ, the TD error, they are the actor-critic with eligibility
traces. Without a signal it is s_post - p, which is the same for the neuron's own spike as an
action. At a tick that decides nothing give a signal of zero. Where e should fade by γλ from
decision to decision, T ms apart: τ_e = -T / ln(γλ), 173 ms for γ = 0.99, λ = 0.9 and T = 20 ms.
Gerstner et al. 2018.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, at_zero, decay, gate, low_pass, outer


class ThreeFactorState(NamedTuple):
    x: Tensor
    """[..., pre] low-passed presynaptic activity, this tick's included."""
    e: Tensor
    """[..., post, pre] eligibility."""


class ThreeFactor(NamedTuple):
    """Constants; τ in ms."""

    tau_pre: float = 0.0
    """Time constant of the presynaptic trace; 0 for none."""
    tau_e: float = 1000.0
    """About a second, as measured in striatum: Gerstner 2018."""
    lr: float = 0.01

    needs = Needs(modulator=True, every_tick=False, post=(), without_signal=("activity", "p"))
    init = staticmethod(at_zero(ThreeFactorState, "pre", "synapse"))

    def trace(
        self,
        state: ThreeFactorState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> ThreeFactorState:
        """Raises ValueError with neither a signal nor post.p."""
        if signal is None:
            if isinstance(post.p, tuple):
                raise ValueError(
                    "three_factor: neither signal nor post.p, the probability of each spike, "
                    "is given; give one"
                )
            # the neuron's own spike is the action, and its probability the policy
            signal = post.spike - post.p
        keep = decay(self.tau_pre, dt)
        x = low_pass(state.x, pre.spike, keep)
        hebbian = outer(signal, x)
        e = decay(self.tau_e, dt) * state.e + hebbian
        return ThreeFactorState(x, e)

    def delta(self, state: ThreeFactorState, w: Tensor, modulator: Tensor) -> Tensor:
        gated = gate(modulator, state.e)
        return self.lr * gated


RULE = ThreeFactor
