"""e-prop: the part of the gradient of a recurrent spiking network that each synapse can compute
forwards in time.

    α = e^(-dt/τ_mem)   ρ = e^(-dt/τ_adapt)   κ = e^(-dt/τ_out)   γ = e^(-dt/τ_γ)
    ε^v ← α ε^v + (1 - α) s_pre            e = ψ (ε^v - β ε^a)
    ε^a ← ρ ε^a + e                        (that is ψ ε^v + (ρ - ψ β) ε^a)
    ē ← κ ē + (1 - κ) e                    f ← γ f + L_j ē                Δw = -η M f

The neuron is lif (β = 0, no ε^a) or alif, with a soft reset, and the readout leaky_integrator: they
scale their input by 1 - α and 1 - κ; where it enters as it is, as published, both factors are part
of η. s_pre is what drives the neuron at this tick, so from recurrent neurons it is their spikes of
the tick before. ψ, post.psi, is zero where the neuron is refractory. `signal` is the learning
signal, L_j = Σ_k B_jk (y_k - y*_k): the gradient of the loss by the neuron's output, hence the
minus.

Supervised: M = 1; τ_γ = 0 keeps this tick's L_j ē, and `delta` is due every tick; τ_γ = inf sums
them over a trial. From reward: L_j = -c_V B^V_j + Σ_k B^π_jk (π_k - 1[a=k]) at the tick of an
action, else 0; M is the TD error δ, and γ that of the returns: τ_γ = -T / ln γ for decisions T ms
apart. Bellec et al. 2020, methods (the traces eq. 25, the update eq. 28).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, decay, gate, low_pass, outer, zeros


class EPropState(NamedTuple):
    eps_v: Tensor
    """[..., pre] eligibility vector of the membrane, the same for all targets."""
    e_bar: Tensor
    """[..., post, pre] low-passed eligibility trace."""
    f: Tensor
    """[..., post, pre] discounted sum of what the learning signal made of it."""
    eps_a: Tensor | tuple[()] = ()
    """[..., post, pre] eligibility vector of the adaptation; empty without one."""


class EProp(NamedTuple):
    """Constants; τ in ms."""

    tau_mem: float = 20.0
    tau_out: float = 20.0
    """Time constant of the readout; 0 where it forgets at once."""
    beta: float | Tensor = 0.0
    """Rise of the threshold by one spike (alif); 0 for lif; [post] where neurons differ."""
    tau_adapt: float = 200.0
    tau_gamma: float = 0.0
    """Time constant of the discount γ; 0 keeps the present tick, inf sums."""
    lr: float = 0.001

    needs = Needs(modulator=True, every_tick=False, post=("psi",), signal=True)

    def init(self, *shape: int, device: torch.device | None = None) -> EPropState:
        eps_v, _, synapses = zeros(*shape, device=device)
        return EPropState(
            eps_v=eps_v,
            e_bar=synapses,
            f=synapses.clone(),
            eps_a=synapses.clone() if self.adapts else (),
        )

    def trace(
        self,
        state: EPropState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> EPropState:
        """Raises ValueError without post.psi or a signal."""
        if signal is None:
            raise ValueError("eprop: signal, the learning signal, is missing; each tick needs it")
        if isinstance(post.psi, tuple):
            raise ValueError(
                "eprop: post.psi, the pseudo-derivative of each spike, is missing; "
                "each tick needs it"
            )
        alpha = decay(self.tau_mem, dt)
        kappa = decay(self.tau_out, dt)
        eps_v = low_pass(state.eps_v, pre.spike, alpha)
        e = outer(post.psi, eps_v)
        # a neuron without adaptation has no ε^a
        eps_a = state.eps_a
        if not isinstance(eps_a, tuple):
            # a spike raises the threshold, by which its synapses brake the next
            brake = self.beta * post.psi
            e = e - brake.unsqueeze(-1) * eps_a
            eps_a = decay(self.tau_adapt, dt) * eps_a + e
        e_bar = low_pass(state.e_bar, e, kappa)
        learned = signal.unsqueeze(-1) * e_bar
        f = decay(self.tau_gamma, dt) * state.f + learned
        return EPropState(eps_v, e_bar, f, eps_a)

    @property
    def adapts(self) -> bool:
        """Whether any neuron adapts."""
        if isinstance(self.beta, Tensor):
            return True
        return self.beta != 0.0

    def delta(self, state: EPropState, w: Tensor, modulator: Tensor) -> Tensor:
        gated = gate(modulator, state.f)
        return -self.lr * gated


RULE = EProp
