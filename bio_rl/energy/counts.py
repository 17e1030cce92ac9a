"""The cost of a decision, counted: operations, updates of neurons, memory, and learning.

Every product of a weight with an input is one operation: effective where neither is zero, dense in
any case. An operation is an accumulation (AC) where all inputs of its connection are spikes, in
{-1, 0, 1}, else a multiplication and accumulation (MAC). An input that is held for a decision meets
its weights once, and is counted once. So far as NeuroBench counts "synaptic operations" (Yik et al.
2025, Nature Communications); all below it leaves out, and chips do not:

- every neuron is updated at every tick, silent or not, and its state read and written;
- codes in front of the first layer, and the averages behind the last, compute;
- each effective operation fetches a weight;
- synapses that learn decay their traces, gather eligibility and are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.contracts import Network, Probe
from bio_rl.parts import Cost, Part, Plasticity
from bio_rl.state import leaves

BYTES = 4
"""Bytes of a weight, and of a number of a state, of 32 bits."""


class Operations(NamedTuple):
    """The products of a decision; scalar tensors."""

    acs: Tensor
    """Effective accumulations."""
    macs: Tensor
    """Effective multiplications with accumulation."""
    dense_acs: Tensor
    dense_macs: Tensor
    """Both with no zero spared."""
    spikes: Tensor
    """Spikes of all neurons."""
    events: Tensor
    """Inputs of connections that are not zero: what is sent from neurons to synapses."""


class Fixed(NamedTuple):
    """The cost of every decision of a network, whatever it sees."""

    updates: float
    """Updates of neurons: one for each neuron and tick, silent ones too."""
    update: Cost
    """Their arithmetic."""
    code: Cost
    """The arithmetic of codes, of averages, and of the running normaliser in front of them."""
    learning: Cost
    """The arithmetic of learning synapses: traces, eligibility, changes of weights."""
    state_numbers: float
    """Numbers of neurons' states that are read, and as many that are written."""
    trace_numbers: float
    """Numbers of synapses' traces that are read, and as many that are written."""
    weight_writes: float
    """Weights that are written."""
    parameters: int
    """Numbers that the network keeps: weights, biases, constants of codes."""
    memory: int
    """Numbers of state and traces that one life keeps."""

    @property
    def operations(self) -> float:
        """Operations of neurons, codes and learning."""
        kinds = (self.update, self.code, self.learning)
        return sum(cost.adds + cost.macs for cost in kinds)


UNKNOWN = Fixed(0.0, Cost(), Cost(), Cost(), 0.0, 0.0, 0.0, 0, 0)
"""For a network that does not describe its parts."""


class Counts(NamedTuple):
    """A decision's cost: means, per decision of one life."""

    acs: float
    macs: float
    dense_acs: float
    dense_macs: float
    spikes: float
    events: float
    updates: float
    update_adds: float
    update_macs: float
    code_adds: float
    code_macs: float
    functions: float
    """Values of exponentials, hyperbolic tangents and the like, of codes and of neurons."""
    learning_macs: float
    weight_bytes: float
    """Bytes of weights that are fetched for effective operations."""
    state_bytes: float
    """Bytes of states of neurons that are read and written."""
    learning_bytes: float
    """Bytes of traces that are read and written, and of weights that are written, by learning."""
    written_bytes: float
    """Bytes of weights that learning writes, which `learning_bytes` has in it."""
    footprint_bytes: float
    """Bytes of parameters, and of the state and the traces of one life."""

    def in_bits(self, bits: int) -> Counts:
        """The same with numbers of so many bits in place of 32."""
        share = bits / (8 * BYTES)
        scaled = {name: share * x for name, x in self._asdict().items() if name.endswith("_bytes")}
        return self._replace(**scaled)

    @property
    def synaptic(self) -> float:
        """Effective operations of synapses, what NeuroBench counts."""
        return self.acs + self.macs

    @property
    def total(self) -> float:
        """Effective operations of any kind: of synapses, neurons, codes and learning."""
        arithmetic = self.update_adds + self.update_macs + self.code_adds + self.code_macs
        return self.synaptic + arithmetic + self.learning_macs

    @property
    def adds(self) -> float:
        """Additions and comparisons of all kinds."""
        return self.acs + self.update_adds + self.code_adds

    @property
    def multiplications(self) -> float:
        """Multiplications with addition of all kinds."""
        return self.macs + self.update_macs + self.code_macs + self.learning_macs


# The products


def operations(probe: Probe, batch: int) -> Operations:
    """The operations of one decision of one row, the mean over the `batch` rows and the decisions
    that `probe` saw.
    """
    zero = torch.zeros((), dtype=torch.float64)
    counts = Operations(zero, zero, zero, zero, spikes(probe), zero)
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
        events=events.sum(),
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


# What does not depend on what is seen


def fixed(
    network: Network, ticks: int, normalised: int = 0, plasticity: Iterable[Plasticity] = ()
) -> Fixed:
    """The part of a decision's cost that is the same for every input, from the parts that the
    network declares.

    ticks: K, in which its spiking neurons are updated. normalised: numbers of the observation that
    a running mean and deviation scale. plasticity: the synapses that learn while it acts. Raises
    ValueError for a network that does not describe its parts.
    """
    parts = network.parts()
    if not parts:
        raise ValueError(
            f"{type(network).__name__} does not describe its parts, so none is counted"
        )
    neurons = [part for part in parts if part.role == "neurons"]
    updates = [_updates(part, ticks) for part in neurons]
    codes = [part.cost for part in parts if part.role == "code"]
    # (x - mean) / deviation is one multiplication and addition
    codes.append(Cost(macs=float(normalised)))
    plastic = tuple(plasticity)
    states = [_state(part) for part in neurons]
    traces = sum(one.traces for one in plastic)
    return Fixed(
        updates=sum(updates),
        update=_sum(_times(_cost(p), n) for p, n in zip(neurons, updates, strict=True)),
        code=_sum(codes),
        learning=Cost(macs=sum(_learning_macs(one) for one in plastic)),
        state_numbers=sum(s * n for s, n in zip(states, updates, strict=True)),
        trace_numbers=float(sum(one.traces * one.passes for one in plastic)),
        weight_writes=float(sum(one.weights * one.writes for one in plastic)),
        parameters=sum(p.numel() for p in network.parameters()),
        memory=int(sum(s * p.n for s, p in zip(states, neurons, strict=True))) + traces,
    )


def _updates(part: Part, ticks: int) -> float:
    """Updates of the neurons of a part in a decision; units that do not spike have one."""
    return float(part.n * (ticks if part.constants is not None else 1))


def _cost(part: Part) -> Cost:
    """The arithmetic of one update of one neuron."""
    return part.cost if part.constants is None else part.constants.cost()


def _state(part: Part) -> int:
    """Numbers that a neuron of this part keeps from tick to tick."""
    if part.constants is None:
        return 0
    return sum(1 for x in leaves(part.constants.init(1, 1)) if x.is_floating_point())


def _learning_macs(one: Plasticity) -> float:
    """Multiplications of learning synapses: a trace decays and gathers in one, a change is one."""
    return one.traces * one.passes + one.weights * one.writes


def _times(cost: Cost, n: float) -> Cost:
    return Cost(*(x * n for x in cost))


def _sum(costs: Iterable[Cost]) -> Cost:
    return Cost(*(sum(kind) for kind in zip(Cost(), *costs, strict=True)))


# Both together


def together(products: Operations, steady: Fixed) -> Counts:
    """A decision's cost from its products and from what every decision costs."""
    acs, macs, dense_acs, dense_macs, fired, events = (float(x) for x in products)
    return Counts(
        acs=acs,
        macs=macs,
        dense_acs=dense_acs,
        dense_macs=dense_macs,
        spikes=fired,
        events=events,
        updates=steady.updates,
        update_adds=steady.update.adds,
        update_macs=steady.update.macs,
        code_adds=steady.code.adds,
        code_macs=steady.code.macs,
        functions=steady.update.functions + steady.code.functions,
        learning_macs=steady.learning.macs,
        weight_bytes=BYTES * (acs + macs),
        state_bytes=2 * BYTES * steady.state_numbers,
        learning_bytes=2 * BYTES * steady.trace_numbers + BYTES * steady.weight_writes,
        written_bytes=BYTES * steady.weight_writes,
        footprint_bytes=float(BYTES * (steady.parameters + steady.memory)),
    )


class Meter:
    """The mean products of many decisions, of which each may have other rows.

    meter.add(probe, batch) after each; meter.operations() at the end.
    """

    def __init__(self) -> None:
        self.sums = [0.0] * len(Operations._fields)
        self.rows = 0

    def add(self, probe: Probe, batch: int) -> None:
        """Add one decision of `batch` rows."""
        # a mean over its rows, whose number changes as episodes end
        counts = operations(probe, batch)
        self.sums = [a + batch * float(b) for a, b in zip(self.sums, counts, strict=True)]
        self.rows += batch

    def operations(self) -> Operations:
        """The means over all rows. Raises ValueError where there was none."""
        if not self.rows:
            raise ValueError("no decision was metered")
        return Operations(*(torch.tensor(x / self.rows, dtype=torch.float64) for x in self.sums))


def summary(counts: Counts) -> str:
    """The operations of a decision in words: effective ones of synapses, in brackets the dense
    ones, and those of all kinds.
    """
    kinds = (
        ("ACs", counts.acs, counts.dense_acs),
        ("MACs", counts.macs, counts.dense_macs),
    )
    parts = [
        f"{effective:,.0f} {name} ({dense:,.0f} dense)" for name, effective, dense in kinds if dense
    ]
    text = " and ".join(parts)
    if counts.spikes:
        text += f", {counts.spikes:,.1f} spikes"
    return f"{text}; {counts.total:,.0f} operations with neurons and codes"
