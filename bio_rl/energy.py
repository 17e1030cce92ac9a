"""Synaptic operations per decision, as NeuroBench counts them (Yik et al. 2025, Nature
Communications, "synaptic operations").

Every product of a weight with an input is one operation: effective where neither is zero, dense in
any case. An operation is an accumulation (AC) where all inputs of its connection are spikes, in
{-1, 0, 1}, else a multiplication and accumulation (MAC). An input that is held for a decision meets
its weights once, and is counted once. Biases, the membranes' own updates and the traffic of memory
are not counted: by these numbers alone no chip's energy follows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.contracts import Probe


class Operations(NamedTuple):
    """Per decision; scalar tensors."""

    acs: Tensor
    """Effective accumulations."""
    macs: Tensor
    """Effective multiplications with accumulation."""
    dense_acs: Tensor
    dense_macs: Tensor
    """Both with no zero spared."""
    spikes: Tensor
    """Spikes of all neurons."""


def operations(probe: Probe, batch: int) -> Operations:
    """The operations of one decision of one row, the mean over the `batch` rows and the decisions
    that `probe` saw.
    """
    zero = torch.zeros((), dtype=torch.float64)
    acs, macs, dense_acs, dense_macs = zero, zero, zero, zero
    for _, weight, pre in probe.products:
        spiking = ((pre == 0) | (pre.abs() == 1)).all().double()
        effective = (pre != 0).flatten(0, -2).sum(0).double() @ (weight != 0).sum(0).double()
        dense = float(pre.numel() * weight.shape[0])
        acs, macs = acs + spiking * effective, macs + (1.0 - spiking) * effective
        dense_acs, dense_macs = dense_acs + spiking * dense, dense_macs + (1.0 - spiking) * dense
    trains = [
        train
        for name, records in probe.records.items()
        if name.startswith("spikes/")
        for train in records
    ]
    spikes = sum((train.double().sum() for train in trains), zero)
    names = [name for name, _, _ in probe.products]
    rows = batch * max(1, names.count(names[0]) if names else 1)
    return Operations(acs / rows, macs / rows, dense_acs / rows, dense_macs / rows, spikes / rows)


def summary(counts: Operations) -> str:
    """The effective and, in brackets, the dense operations of a decision in words."""
    parts = [
        f"{float(effective):,.0f} {name} ({float(dense):,.0f} dense)"
        for name, effective, dense in (
            ("ACs", counts.acs, counts.dense_acs),
            ("MACs", counts.macs, counts.dense_macs),
        )
        if float(dense)
    ]
    return " and ".join(parts) + (
        f", {float(counts.spikes):,.1f} spikes" if float(counts.spikes) else ""
    )
