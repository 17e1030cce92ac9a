"""The parts of a network as it describes them, and what they and their learning cost."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn


class Cost(NamedTuple):
    """Arithmetic, as `bio_rl.energy` counts it."""

    adds: float = 0.0
    """Additions and comparisons."""
    macs: float = 0.0
    """Multiplications, with an addition or without."""
    functions: float = 0.0
    """Values of a function such as exp or tanh, and random numbers."""


class Plasticity(NamedTuple):
    """Synapses that learn while an agent acts, as `bio_rl.energy` counts them."""

    name: str
    """The name of the connection."""
    weights: int
    """Synapses that learn."""
    traces: int
    """Numbers that one life keeps for them: eligibility, and traces of neurons."""
    passes: int
    """Times in a decision that every trace decays and gathers: K ticks, or once."""
    writes: float = 1.0
    """Times in a decision that every weight is written."""


class Part(NamedTuple):
    """A connection, a layer of neurons or a code of a network: a node of its graph."""

    name: str
    """Unlike any other of the network; a connection has the name under which a probe notes it."""
    role: str
    """"code", "connection" or "neurons" (units that do not spike among them)."""
    kind: str
    """File of the connection, neuron or code, such as dense or lif, or a unit's name, such as
    tanh.
    """
    n: int
    """Units that it gives to those that read it: channels and pixels of a picture are one row."""
    sources: tuple[str, ...]
    """Names of the parts that it reads; `INPUT` is the observation. Neurons add their sources."""
    module: nn.Module | None = None
    """The module that computes it; a connection's has `weight`, [post, pre] or kernels."""
    constants: Any = None
    """Constants of spiking neurons (`bio_rl.neurons`), None for others."""
    cost: Cost = Cost()
    """Arithmetic of a code in a decision, or of a unit that does not spike in an update; the
    constants of spiking neurons know theirs.
    """


INPUT = "input"
"""Source of the parts that read a network's observation."""
