"""The answer of a population code's cells in one decision: their code, their spikes and how many
there were, in one pass.

    I_k = gain · a_k(o)       r_k = n_k / K,  n_k: spikes of neuron k, from rest, in K ticks of I_k

a is a code over features o, such as `codes.conjunctive`. The sum of all r² goes with the rates:
dividing by its root is normalisation by the population's own activity (Carandini & Heeger 2012).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bio_rl.kernels.backends import form, pick
from bio_rl.kernels.unroll import unroll
from bio_rl.neurons import Core, Neuron


def respond(
    code: Callable[[Tensor], Tensor],
    neuron: Neuron,
    features: Tensor,
    *,
    gain: float,
    ticks: int,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """(r [..., N], Σ_k r_k² [..., 1]).

    code: features [..., F] to activities [..., N]; a `Grid` is part of the fused pass. neuron: one
    that is nothing but a membrane. backend: torch (the reference), numba, or triton, whose time
    loop alone is fused; None takes the device's default. Where a gradient is wanted, one operation
    follows the other. Raises ValueError for an unknown backend, or a device or dtype that it does
    not run on.
    """
    chosen = pick("cells", features, backend)
    # The fused pass has no way back; triton fuses the time loop, which the reference calls.
    wants_grad = features.requires_grad and torch.is_grad_enabled()
    if chosen != "numba" or wants_grad:
        return reference(code, neuron, features, gain, ticks, backend)
    core = _membrane(neuron)
    if core is not None:
        return form("cells", chosen).run(code, core, features, gain, ticks)
    if backend is None:
        return reference(code, neuron, features, gain, ticks, None)
    kind = type(neuron).__name__
    raise ValueError(f"{kind} is more than a membrane, which is all that backend 'numba' runs here")


def _membrane(neuron: Neuron) -> Core | None:
    """The core of a neuron that is nothing but a leaky membrane with constants that are numbers;
    None for others.
    """
    try:
        core = neuron.core(1.0)
    except ValueError:  # constants that no fused loop knows
        return None
    if core is None or any([isinstance(x, Tensor) for x in core]):
        return None
    more = core.decay_synapse or core.decay_adaptation or core.adaptation or core.refractory
    return None if more else core


def reference(
    code: Callable[[Tensor], Tensor],
    neuron: Neuron,
    features: Tensor,
    gain: float,
    ticks: int,
    backend: str | None,
) -> tuple[Tensor, Tensor]:
    """The equations, an operation at a time; arguments as `respond` takes them."""
    drive = gain * code(features)
    shape = drive.shape
    # one decision [1, B, N] of all rows, each from rest
    drive = drive.reshape(1, shape[:-1].numel(), shape[-1])
    rest = neuron.init(*drive.shape[1:], device=drive.device)
    starts = drive.new_ones(drive.shape[:2], dtype=torch.bool)
    times: dict[str, Any] = {"ticks": ticks, "hold": ticks, "readout": 1.0}
    rates, _ = unroll(neuron, rest, drive, starts, **times, backend=backend)
    rates = rates.view(shape)
    return rates, power(rates)


def power(rates: Tensor) -> Tensor:
    """Σ_k r_k² [..., 1] of rates [..., N]."""
    squares = rates.square()
    return squares.sum(-1, keepdim=True)
