"""Joules of a decision under published tables of energies, each by its name.

They are models of other people's chips, of different years and nodes, and they disagree by orders
of magnitude: what holds under one of them holds under that one. None has a figure for a function
such as exp or tanh, so these are left out, for spiking networks and others alike. Learning is in
the operations and in the memory that it moves.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from typing import NamedTuple

from bio_rl.energy.counts import Counts
from bio_rl.energy.yan import number_energy, spiking_energy

PICO = 1e-12


class Table(NamedTuple):
    """A published table of energies."""

    name: str
    source: str
    joules: Callable[[Counts, int], float | None]
    """The joules of a decision with numbers of so many bits; None where it has no figure."""
    leaves_out: str
    """Costs for which it has no figure."""


def _horowitz_fp32(counts: Counts, bits: int) -> float | None:
    if bits < 32:
        return None
    return PICO * (0.9 * counts.adds + 4.6 * counts.multiplications)


def _horowitz_int8(counts: Counts, bits: int) -> float:
    # as if in 8 bits, or in fewer: a product grows with the square of its width
    share = min(bits, 8) / 8
    add = 0.03 * share
    return PICO * (add * counts.adds + (0.2 * share**2 + add) * counts.multiplications)


SRAM = ((8 * 1024, 10.0), (32 * 1024, 20.0), (1024 * 1024, 100.0))
"""(bytes of a memory, pJ of an access to 32 bits), between which is interpolated."""


def sram_access(size: float) -> float:
    """pJ of an access to 32 bits of a memory of `size` bytes: that of the smallest below it, and
    beyond the largest along the last line.
    """
    # between the two memories that are next to it in size
    sizes = [at for at, _ in SRAM]
    if size <= sizes[0]:
        return SRAM[0][1]
    i = min(bisect.bisect_left(sizes, size), len(SRAM) - 1)
    (low, cheap), (high, dear) = SRAM[i - 1], SRAM[i]
    return cheap + (dear - cheap) * (size - low) / (high - low)


def _lemaire(counts: Counts, bits: int) -> float:
    access = sram_access(counts.footprint_bytes)
    words = (counts.weight_bytes + counts.state_bytes + counts.learning_bytes) / 4
    # an accumulation adds once more, to find its place
    arithmetic = 0.1 * (counts.adds + counts.acs) + (3.1 + 0.1) * counts.multiplications
    return PICO * (arithmetic + access * words)


def _yan(counts: Counts, bits: int) -> float:
    if not counts.spikes:
        units = counts.updates
        return PICO * number_energy(counts.synaptic, units, counts.events, min(bits, 8))
    return PICO * spiking_energy(
        acs=counts.synaptic,
        updates=counts.updates,
        spikes=counts.spikes,
        states=counts.updates,
    )


def _loihi(counts: Counts, bits: int) -> float | None:
    if not counts.spikes:
        return None
    synapses = 35.5 * counts.synaptic
    neurons = (51.2 + 21.6) * counts.updates
    return PICO * (synapses + neurons + 69.3 * counts.spikes)


TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        Table(
            "horowitz-fp32",
            "Horowitz 2014 (ISSCC), 45 nm: 0.9 pJ an addition, 3.7 a product of 32-bit floats",
            _horowitz_fp32,
            "memory",
        ),
        Table(
            "horowitz-int8",
            "the same: 0.03 pJ an addition, 0.2 a product of 8-bit integers",
            _horowitz_int8,
            "memory",
        ),
        Table(
            "lemaire-sram",
            "Lemaire et al. 2022 (arXiv 2210.13107), 45 nm: 0.1 pJ an addition, 3.1 a product of "
            "32-bit integers; 10 to 100 pJ for 32 bits of a memory of 8 KiB to 1 MiB",
            _lemaire,
            "communication between cores",
        ),
        Table(
            "yan-dram",
            "Yan, Bai & Wong (arXiv 2409.08290), 22 nm: 0.054 pJ an accumulation, comparison or "
            "reset; weights of 8 bits at 20 pJ a bit, states at 0.25 pJ a bit",
            _yan,
            "codes, and the price of a product above an accumulation",
        ),
        Table(
            "loihi",
            "Davies et al. 2018 (IEEE Micro 38:82), as SANA-FE tabulates Loihi: 35.5 pJ a synaptic "
            "event, 72.8 a neuron and tick, 69.3 a spike",
            _loihi,
            "the network on the chip, and codes; networks without spikes; an input that is a "
            "number counts as one event",
        ),
    )
}
"""Every table by its name."""


def joules(counts: Counts, bits: int = 32) -> dict[str, float]:
    """The joules of a decision under each table that has a figure for it, by the table's name.

    bits: those of weights and activities, as in `counts`.
    """
    found = {name: table.joules(counts, bits) for name, table in TABLES.items()}
    return {name: value for name, value in found.items() if value is not None}
