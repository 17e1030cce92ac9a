"""Short-term plasticity in front of dense weights.

    du/dt = (U - u)/τ_f      dx/dt = (1 - x)/τ_d      at a spike, in this order:
    u ← u + U (1 - u)        release = u x, with the new u and the old x        x ← x - u x
    drive_j = Σ_i w_ji release_i + b_j

dt, tau_f and tau_d are in ms. u is the fraction of its resources that a spike releases, x the
fraction available. Between ticks both decay exactly; a tick decays first, then spikes. τ_f = 0
holds u at U (depression only, Tsodyks & Markram 1997): the first spike of a rested synapse releases
U, and U(2 - U) where τ_f > 0, since facilitation acts before release. Markram, Wang & Tsodyks 1998;
u rests at U as in Mongillo, Barak & Tsodyks 2008.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.connections._base import BaseConnection
from bio_rl.connections._init import orthogonal_weight, zero_bias


class STP(NamedTuple):
    """Constants; a depressing synapse (as tsodyks_synapse in NEST). Facilitating: STP(0.15, 1500,
    200), near Mongillo 2008.
    """

    U: float = 0.5
    """Utilisation of a rested synapse, in (0, 1]."""
    tau_f: float = 0.0
    """ms, over which facilitation is forgotten; 0 for none."""
    tau_d: float = 800.0
    """ms, over which resources recover."""


class STPState(NamedTuple):
    u: Tensor
    """[B, pre] utilisation after the last tick."""
    x: Tensor
    """[B, pre] resources left after the last tick."""


def init(p: STP, batch: int, n: int, device: torch.device | None = None) -> STPState:
    """`batch` x `n` rested synapses."""
    # a rested synapse releases the part U of all its resources
    u = torch.full((batch, n), p.U, device=device)
    x = torch.ones(batch, n, device=device)
    return STPState(u, x)


def step(p: STP, s: STPState, spikes: Tensor, dt: float = 1.0) -> tuple[Tensor, STPState]:
    """(Their release [B, pre] in [0, 1], state) after one tick with spikes [B, pre] in {0, 1}."""
    left_of_depression = math.exp(-dt / p.tau_d)
    x = 1.0 + left_of_depression * (s.x - 1.0)
    u = s.u
    if p.tau_f > 0:
        left_of_facilitation = math.exp(-dt / p.tau_f)
        u = p.U + left_of_facilitation * (u - p.U)
        # facilitation acts before the release of the same spike
        u = u + p.U * (1.0 - u) * spikes
    release = u * x * spikes
    return release, STPState(u, x - release)


class Connection(BaseConnection):
    """Spikes [B, pre] to drive [B, post]; the state is one synapse per presynaptic neuron, shared
    by its targets.

    U, tau_f, tau_d: see STP. gain: scale of the orthogonal initial weights, which grow by 1 over
    the first release, so that the first spike of a rested synapse drives as much as a dense one's;
    the bias starts at zero. graded: spikes may be any numbers; their release is graded either way.
    """

    name = "stp"
    stateful = True
    releases = True

    def __init__(
        self,
        n_pre: int,
        n_post: int,
        *,
        U: float = 0.5,
        tau_f: float = 0.0,
        tau_d: float = 800.0,
        gain: float = 1.0,
        graded: bool = True,
    ) -> None:
        # the weights meet the release, which is no spike
        super().__init__(n_pre, n_post, graded=True)
        if not (0 < U <= 1 and tau_f >= 0 and tau_d > 0):
            raise ValueError(
                f"stp: U, tau_f, tau_d are {U}, {tau_f}, {tau_d}; "
                "expected 0 < U <= 1, tau_f >= 0 ms, tau_d > 0 ms"
            )
        self.synapse = STP(U, tau_f, tau_d)
        first_release = U * (2.0 - U) if tau_f > 0 else U
        gain /= first_release
        self.weight = orthogonal_weight(n_post, n_pre, gain=gain)
        self.bias = zero_bias(n_post)

    def initial_state(self, batch: int) -> STPState:
        weight = self.weight
        n_pre = weight.shape[1]
        return init(self.synapse, batch, n_pre, weight.device)

    def transmit(self, spikes: Tensor, state: STPState, dt: float) -> tuple[Tensor, STPState]:
        """(The release [B, pre] of this tick, state)."""
        return step(self.synapse, state, spikes, dt)
