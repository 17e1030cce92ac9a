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
    counts = Operations(zero, zero, zero, zero, spikes(probe))
    for _, weight, pre in probe.products:
        of_one = of_product(weight, pre)
        counts = Operations(*(a + b for a, b in zip(counts, of_one, strict=True)))
    rows = batch * decisions(probe)
    return Operations(*(count / rows for count in counts))


def of_product(weight: Tensor, pre: Tensor) -> Operations:
    """The operations of one product of weights [post, pre] with inputs [..., pre]."""
    is_spike = (pre == 0) | (pre.abs() == 1)
    spiking = is_spike.all().double()
    graded = 1.0 - spiking
    # an input that is not zero meets as many operations as its neuron has synapses
    events = (pre != 0).flatten(0, -2).sum(0).double()
    synapses = (weight != 0).sum(0).double()
    effective = events @ synapses
    dense = float(pre.numel() * weight.shape[0])
    return Operations(
        acs=spiking * effective,
        macs=graded * effective,
        dense_acs=spiking * dense,
        dense_macs=graded * dense,
        spikes=torch.zeros_like(spiking),
    )


def spikes(probe: Probe) -> Tensor:
    """The number of all spikes that `probe` recorded."""
    total = torch.zeros((), dtype=torch.float64)
    for name, records in probe.records.items():
        if name.startswith("spikes/"):
            for train in records:
                total = total + train.double().sum()
    return total


def decisions(probe: Probe) -> int:
    """The number of decisions that `probe` saw, at least one: each has every product once."""
    names = [name for name, _, _ in probe.products]
    return names.count(names[0]) if names else 1


def summary(counts: Operations) -> str:
    """The effective and, in brackets, the dense operations of a decision in words."""
    kinds = (
        ("ACs", counts.acs, counts.dense_acs),
        ("MACs", counts.macs, counts.dense_macs),
    )
    parts = [
        f"{float(effective):,.0f} {name} ({float(dense):,.0f} dense)"
        for name, effective, dense in kinds
        if float(dense)
    ]
    text = " and ".join(parts)
    fired = float(counts.spikes)
    return f"{text}, {fired:,.1f} spikes" if fired else text
