"""When spikes cost less than numbers of few bits: the model of Yan, Bai & Wong (arXiv 2409.08290).

A network of T ticks can say as much as one of numbers with b = ⌈log₂(T + 1)⌉ bits, which computes
once. With their constants at 22 nm, weights of 8 bits for spikes and of b bits for numbers:

    E_spikes  = S (e_acc + 8 m) + U e_cmp + Z e_sub + 16 U m'     §III
    E_numbers = M (e_mac(b) + b m) + 2 N e_cmp + b A m'

S synaptic events, U updates of neurons, Z spikes; M products, N neurons, A activities. The events
grow with the spike rate s, S = s T M, so there is a rate at which both cost the same. The constants
are those of the paper; the sizes of its example, 256 inputs and 128 and 10 neurons, give crossings
of 7.5 % to 5.0 % for T = 5 to 10, 5.99 % on average.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

E_ACC = 0.05448
"""pJ of an accumulation, a comparison or a subtraction."""
WEIGHT = 20.0
"""pJ of a bit of a weight, off the chip."""
STATE = 0.25
"""pJ of a bit of a state or an activity, on the chip."""
BITS = 8
"""Bits of the weights and states of a spiking network."""
ADD_32 = 0.9
"""pJ of an addition of 32-bit floats (Horowitz 2014)."""
PRODUCT_32 = 3.7
"""pJ of their product."""


def spiking_energy(acs: float, updates: float, spikes: float, states: float) -> float:
    """pJ of a decision of a spiking network: its synaptic events, updates of neurons, spikes, and
    states that are read and written.
    """
    arithmetic = E_ACC * (acs + updates + spikes)
    weights = acs * BITS * WEIGHT
    return arithmetic + weights + 2 * states * BITS * STATE


def bits(ticks: int) -> int:
    """Bits of the numbers that say as much as the counts of spikes in so many ticks."""
    return math.ceil(math.log2(ticks + 1))


def product(b: int) -> float:
    """pJ of a product and its addition of b bits: a product grows with the square of its width, an
    addition with its width.
    """
    share = b / 32.0
    return PRODUCT_32 * share**2 + ADD_32 * share


def number_energy(products: float, units: float, activities: float, b: int) -> float:
    """pJ of a decision of a network of numbers with b bits: its products, the units that add them
    up, and the activities of inputs and units.
    """
    arithmetic = products * product(b) + 2 * units * E_ACC
    return arithmetic + products * b * WEIGHT + activities * b * STATE


def crossover(sizes: Sequence[int], ticks: int) -> float:
    """The spike rate, spikes a neuron and tick of inputs and hidden neurons alike, at which a
    spiking network of these sizes costs what numbers of as many bits do.

    sizes: inputs, then the neurons of each layer, of which the last does not spike.
    """
    hidden = sum(sizes[1:-1])
    # outputs do not spike, but keep a potential
    states = ticks * sum(sizes[1:])
    silent = spiking_energy(0.0, ticks * hidden, 0.0, states)
    events = ticks * _synapses(sizes)
    # the cost is a line in the rate: its ends are at 0 and 1
    always = spiking_energy(events, ticks * hidden, ticks * hidden, states)
    numbers = number_energy(_synapses(sizes), sum(sizes[1:]), sum(sizes), bits(ticks))
    return (numbers - silent) / (always - silent)


def _synapses(sizes: Sequence[int]) -> int:
    return sum(a * b for a, b in pairwise(sizes))
