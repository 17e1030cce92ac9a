"""Triton's time loops against the torch reference: spikes, states and gradients."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bio_rl.bench._report import rounded
from bio_rl.contracts import State
from bio_rl.kernels.unroll import unroll
from bio_rl.neurons.alif import ALIF
from bio_rl.neurons.cuba_lif import CubaLIF
from bio_rl.neurons.lif import LIF
from bio_rl.neurons.plif import PLIF
from bio_rl.state import leaves, tree_map
from bio_rl.surrogates import SURROGATES

DIFFERENTIABLE = ("v", "i", "a")
"""The fields of neurons' states that gradients flow through, where a neuron has them."""


class Inputs(NamedTuple):
    """The inputs of a time loop, and the gradients that come back to it."""

    state: State
    drive: Tensor
    """[T·K / hold, B, N]."""
    reset: Tensor
    grad_out: Tensor
    grad_state: tuple[Tensor, ...]
    """One for each of the differentiable fields of the neuron's state."""


def neurons(n: int) -> dict[str, Any]:
    """Every neuron with a fused time loop, in layers of n.

    Their constants hide no term of the equations.
    """
    w = torch.linspace(-1.0, 2.0, n)
    return {
        "lif": LIF(tau_mem=3.0, v_leak=0.1, slope=1.7),
        "lif_refractory": LIF(tau_mem=3.0, v_leak=0.1, slope=1.7, tau_refractory=2.0),
        "cuba_lif": CubaLIF(v_leak=0.1, slope=1.3),
        "alif": ALIF(tau_mem=3.0, tau_adapt=5.0, beta=0.4, v_leak=0.1, slope=0.8),
        "plif": PLIF(w=torch.tensor(0.7), v_leak=0.1, slope=1.7),
        "plif_each": PLIF(w=w, v_leak=0.1, slope=1.7),
    }


def parity(name: str, device: torch.device) -> dict[str, Any]:
    """The largest errors of a neuron over surrogates, resets, held drives and readouts.

    In bf16 it is tried with less of each, and without the rectangle: where the rounded x has
    crossed its border, its derivative is another one.
    """
    largest: dict[str, list[float]] = {}
    cases = itertools.product(SURROGATES, (0.0, None), (1, 4), (None, 0.6))
    for surrogate, v_reset, hold, readout in cases:
        p = neurons(33)[name]._replace(surrogate=surrogate, v_reset=v_reset)
        endings = {"": torch.float32}
        if hold == 1 and readout is None and surrogate != "rectangle":
            endings["_bf16"] = torch.bfloat16
        for ending, dtype in endings.items():
            measured = errors(p, hold, readout, device=device, dtype=dtype, batch=16)
            for key, error in measured.items():
                largest.setdefault(key + ending, []).append(error)
    # numpy's maximum, unlike Python's, lets a NaN stay one
    return {key: rounded(np.max(values)) for key, values in largest.items()}


def errors(
    p: Any,
    hold: int,
    readout: float | None,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    decisions: int = 3,
    ticks: int = 4,
    batch: int = 5,
    n: int = 33,
) -> dict[str, float]:
    """{"out", "state", "grad", "grad_w"}: each |ours - reference| / max |reference|.

    The drive has this dtype, and the reference takes the very same numbers in float32. The gradient
    of a single learned w, a sum over all neurons and ticks that nearly cancels, is compared with
    that of a float64 reference.
    """
    # drawn on the CPU, so that they are the same on every device
    inputs = draw(p, hold, readout, decisions, ticks, batch, n)
    inputs = inputs._replace(drive=inputs.drive.to(dtype))
    inputs = tree_map(lambda x: x.to(device), inputs)
    single = inputs._replace(drive=inputs.drive.float())
    ours = outcome(p, inputs, ticks, hold, readout, "triton")
    reference = outcome(p, single, ticks, hold, readout, "torch")
    # a single w has a number of no dimension
    if "grad_w" in reference and reference["grad_w"][0].dim() == 0:
        double = tree_map(lambda x: x if x.dtype == torch.bool else x.double(), single)
        exact = outcome(p._replace(w=p.w.double()), double, ticks, hold, readout, "torch")
        reference["grad_w"] = exact["grad_w"]
    return {key: _largest_error(ours[key], reference[key]) for key in reference}


def _largest_error(ours: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """The largest relative error; NaN where both are zero: a case that tests nothing."""
    values = []
    for x, expected in zip(ours, reference, strict=True):
        difference = (x.double() - expected).abs().max()
        values.append((difference / expected.abs().max()).item())
    return float(np.max(values))


def draw(
    p: Any, hold: int, readout: float | None, decisions: int, ticks: int, batch: int, n: int
) -> Inputs:
    """Random numbers, the same on every device.

    About a third of the neurons fire, and a third of the rows are reset.
    """
    source = torch.Generator().manual_seed(0)
    normal = functools.partial(torch.randn, generator=source)
    uniform = functools.partial(torch.rand, generator=source)
    state = p.init(batch, n)
    # the order of the draws is part of the published figures
    fields = {"v": normal(batch, n)}
    if "i" in state._fields:
        fields["i"] = normal(batch, n)
    if "a" in state._fields:
        fields["a"] = uniform(batch, n)
    if isinstance(p, LIF | ALIF) and p.tau_refractory > 0:
        fields["refractory"] = (3.0 * uniform(batch, n)).floor()
    state = state._replace(**fields)
    steps = decisions * ticks
    return Inputs(
        state=state,
        drive=2.0 * normal(steps // hold, batch, n),
        reset=uniform(decisions, batch) < 0.3,
        grad_out=normal(steps if readout is None else decisions, batch, n),
        grad_state=tuple(normal(batch, n) for _ in differentiable(state)),
    )


def differentiable(state: Any) -> dict[str, Tensor]:
    """The fields of a neuron's state that gradients flow through."""
    fields = state._asdict()
    return {name: fields[name] for name in DIFFERENTIABLE if name in fields}


def outcome(
    p: Any, inputs: Inputs, ticks: int, hold: int, readout: float | None, backend: str
) -> dict[str, tuple[Tensor, ...]]:
    """{"out", "state", "grad", "grad_w"} of one run forward and backward.

    "grad" is that of the drive and of the state; "grad_w" is there where the neuron learns one.
    """
    drive = inputs.drive.clone().requires_grad_()
    # leaves of their own, to which the gradients come
    state = {name: x.clone().requires_grad_() for name, x in differentiable(inputs.state).items()}
    sources = [drive, *state.values()]
    learns_w = isinstance(p, PLIF)
    if learns_w:
        p = p._replace(w=torch.as_tensor(p.w).detach().to(drive.device).requires_grad_())
        sources.append(p.w)
    out, after = unroll(
        p,
        inputs.state._replace(**state),
        drive,
        inputs.reset,
        ticks=ticks,
        hold=hold,
        readout=readout,
        backend=backend,
    )
    ends = (out, *differentiable(after).values())
    cotangents = (inputs.grad_out.to(out.dtype), *inputs.grad_state)
    grads = torch.autograd.grad(ends, sources, cotangents)
    parts = {
        "out": (out.detach(),),
        "state": tuple(x.detach() for x in leaves(after)),
        "grad": grads[: 1 + len(state)],
    }
    if learns_w:
        parts["grad_w"] = grads[-1:]
    return parts
