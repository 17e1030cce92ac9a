"""What the cells of a population code answer in one decision: their code, their spikes and how many there were, in one pass.

    I_k = gain · a_k(o)       r_k = n_k / K,  n_k: spikes of neuron k, from rest, in K ticks of I_k

a is a code over features o, such as `codes.conjunctive`. The sum of all r² goes with the rates: dividing by its root is
normalisation by the population's own activity (Carandini & Heeger 2012).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bio_rl.kernels import BACKENDS, default_backend, fused
from bio_rl.kernels.unroll import unroll
from bio_rl.neurons import Neuron


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

    code: features [..., F] to activities [..., N]; a `Grid` is part of the fused pass. neuron: one that is nothing but a
    membrane. backend: torch (the reference), numba, or triton, whose time loop alone is fused; None takes the device's
    default. Where a gradient is wanted, one operation follows the other. Raises ValueError for an unknown backend, or a device
    or dtype that it does not run on.
    """
    if backend is None:
        backend = default_backend(features.device.type)
    if backend not in BACKENDS:
        raise ValueError(f"no kernel backend called {backend!r}; known: {', '.join(BACKENDS)}")
    if backend != "numba" or (features.requires_grad and torch.is_grad_enabled()):
        return reference(code, neuron, features, gain, ticks, backend)
    return fused(backend, "cells").run(code, neuron.core(1.0), features, gain, ticks)


def reference(
    code: Callable[[Tensor], Tensor], neuron: Neuron, features: Tensor, gain: float, ticks: int, backend: str
) -> tuple[Tensor, Tensor]:
    """The equations, an operation at a time; arguments as `respond` takes them."""
    drive = gain * code(features)
    drive, shape = drive.reshape(1, -1, drive.shape[-1]), drive.shape
    rest, reset = neuron.init(*drive.shape[1:], device=drive.device), drive.new_ones(drive.shape[:2], dtype=torch.bool)
    rates, _ = unroll(neuron, rest, drive, reset, ticks=ticks, hold=ticks, readout=1.0, backend=backend)
    return rates.view(shape), power(rates.view(shape))


def power(rates: Tensor) -> Tensor:
    """Σ_k r_k² [..., 1] of rates [..., N]."""
    return rates.square().sum(-1, keepdim=True)
