"""Membrane decoder: the highest potential of output neurons that integrate and never fire is read
as a number.

    v_t0 = 0,   v_tk = κ v_t(k-1) + I_tk / (1 + κ + … + κ^(K-1))      κ = e^(-dt/τ_out)

No spike is rounded away, so few ticks suffice for a graded value such as an action or a Q value.
v is in units of what a drive of one leaves after a whole decision. For a drive that is linear in
spikes, the last potential is the same linear function of their leaky average, and the firing rate
where κ is one: that is what a network reads otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bio_rl.codes._ticks import by_decision


def membranes(drive: Tensor, ticks: int, keep: float) -> Tensor:
    """v [T·K, B, N] of neurons that start every decision at zero, for the drive I [T·K, B, N].

    keep: κ, the part of the potential that is left after a tick. Differentiable. Raises ValueError
    unless `drive` is whole decisions.
    """
    decisions = by_decision("membranes", drive, ticks)
    # of a drive of one at every tick
    largest = sum(keep**k for k in range(ticks))
    v = torch.zeros_like(decisions[:, 0])
    after = []
    for now in decisions.unbind(1):
        v = keep * v + now
        after.append(v)
    return torch.stack(after, 1).flatten(0, 1) / largest


def max_membrane(v: Tensor, ticks: int) -> Tensor:
    """max_k v_tk [T, B, N], the highest potential in each decision's K = `ticks` ticks, of v [T·K,
    B, N].

    Differentiable: the gradient goes to the tick of the maximum (in equal parts where several share
    it). Raises ValueError unless `v` are whole decisions. Chen et al. 2022 (DSQN), where it is the
    Q value of an action.
    """
    decisions = by_decision("max_membrane", v, ticks)
    return decisions.amax(1)
