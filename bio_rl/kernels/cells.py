"""What the cells of a population code answer in one decision: their code, their spikes and how many
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

from bio_rl.kernels import BACKENDS, fused, suited
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
    if backend not in (None, *BACKENDS):
        raise ValueError(f"no kernel backend called {backend!r}; known: {', '.join(BACKENDS)}")
    chosen = backend or suited(features)
    if chosen != "numba" or (features.requires_grad and torch.is_grad_enabled()):
        return reference(code, neuron, features, gain, ticks, backend)
    core: Any = neuron.core(1.0)
    if not _membrane(core):
        if backend is None:
            return reference(code, neuron, features, gain, ticks, None)
        raise ValueError(
            f"{type(neuron).__name__} is more than a membrane, which is all that backend 'numba' runs here"
        )
    return fused(chosen, "cells").run(code, core, features, gain, ticks)


def _membrane(core: Core | None) -> bool:
    """Whether the neuron is nothing but a leaky membrane with constants that are numbers."""
    if core is None or any([isinstance(x, Tensor) for x in core]):
        return False
    return not (core.decay_synapse or core.decay_adaptation or core.adaptation or core.refractory)


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
    drive, shape = drive.reshape(1, drive.shape[:-1].numel(), drive.shape[-1]), drive.shape
    rest, reset = (
        neuron.init(*drive.shape[1:], device=drive.device),
        drive.new_ones(drive.shape[:2], dtype=torch.bool),
    )
    rates, _ = unroll(
        neuron, rest, drive, reset, ticks=ticks, hold=ticks, readout=1.0, backend=backend
    )
    return rates.view(shape), power(rates.view(shape))


def power(rates: Tensor) -> Tensor:
    """Σ_k r_k² [..., 1] of rates [..., N]."""
    return rates.square().sum(-1, keepdim=True)
