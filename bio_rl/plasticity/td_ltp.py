"""TD-LTP: spikes after input become eligible, and the temporal-difference error turns them into
potentiation or depression.

    e = (Y · (X^t̂ * ε)) * κ            Δw = η δ e
    ε(t) = (e^(-t/τ_mem) - e^(-t/τ_syn)) / (τ_mem - τ_syn)
    κ(t) = (e^(-t/τ_κ) - e^(-t/ν_κ)) / (τ_κ - ν_κ)

Y are the postsynaptic spikes and X^t̂ the presynaptic ones since the neuron's own last spike t̂:
X^t̂ * ε is the potential that they evoke. The modulator is the TD error δ = dV/dt - V/τ_r + r;
dt/τ_r and the size of the potential are part of η. Both kernels are zero at the tick of the spike
itself. Critic and actor share the rule. Frémaux, Sprekeler & Gerstner 2013, eq. 17 (there κ is also
the kernel that reads V from the critic's spikes).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bio_rl.plasticity import Needs, Post, Pre, at_zero, decay, gate


class TDLTPState(NamedTuple):
    """All [..., post, pre]: a neuron's own spike wipes out what its synapses saw before."""

    membrane: Tensor
    """Presynaptic spikes since the last postsynaptic one, decaying with τ_m."""
    synapse: Tensor
    """The same with τ_s."""
    slow: Tensor
    """Coincidences, decaying with τ_κ."""
    fast: Tensor
    """The same with ν_κ."""


class TDLTP(NamedTuple):
    """Constants; τ in ms."""

    tau_mem: float = 20.0
    tau_syn: float = 5.0
    tau_kappa: float = 200.0
    nu_kappa: float = 50.0
    """Rise time of κ, other than τ_κ."""
    lr: float = 1.0

    needs = Needs(modulator=True, every_tick=False, pre=("spike",), post=("spike",))
    init = staticmethod(at_zero(TDLTPState, "synapse", "synapse", "synapse", "synapse"))

    def trace(
        self,
        state: TDLTPState,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> TDLTPState:
        # unsqueezed, the spikes line up with the synapses [..., post, pre]
        x = pre.spike.unsqueeze(-2)
        y = post.spike.unsqueeze(-1)
        membrane = decay(self.tau_mem, dt) * state.membrane + x
        synapse = decay(self.tau_syn, dt) * state.synapse + x
        evoked = y * (membrane - synapse)
        coincidence = evoked / (self.tau_mem - self.tau_syn)
        # a spike of the neuron resets the potential that its synapses evoked before it
        silent = 1.0 - y
        return TDLTPState(
            membrane=membrane * silent,
            synapse=synapse * silent,
            slow=decay(self.tau_kappa, dt) * state.slow + coincidence,
            fast=decay(self.nu_kappa, dt) * state.fast + coincidence,
        )

    def delta(self, state: TDLTPState, w: Tensor, modulator: Tensor) -> Tensor:
        # the difference of two decays rises with ν_κ and falls with τ_κ
        difference = state.slow - state.fast
        e = difference / (self.tau_kappa - self.nu_kappa)
        gated = gate(modulator, e)
        return self.lr * gated


RULE = TDLTP
