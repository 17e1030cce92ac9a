"""The time loop of `neurons.Core` fused for GPUs with Triton; the kernels are in `triton.loops`.

Row d of the drive is held for `hold` ticks; with a readout (span = ticks) row t of the output sums
the spikes of decision t, a tick keeping `keep` of the sum so far, else it is the spikes themselves.
Kept for the way back is x, the membrane's distance from the threshold before the reset, and -∞
where a neuron was held: the rest follows from it. Drive, output and x have the dtype of the drive,
float32 or half precision; the state is float32.

It runs on CUDA tensors; on CPU tensors only in Triton's interpreter (TRITON_INTERPRET=1), which is
for tests.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from bio_rl.contracts import State
from bio_rl.kernels.backends import FORMS
from bio_rl.kernels.triton import loops, toolbox
from bio_rl.kernels.unroll import PER_NEURON, Schedule
from bio_rl.neurons import Core

MANY = 1 << 19
"""Neurons that fill a GPU even with eight to a thread, which then loads 16 bytes of half precision
at a time.
"""


class Launch(NamedTuple):
    """How a kernel is launched for a call, forwards and backwards."""

    grid: tuple[int]
    sizes: tuple[int, ...]
    """size, n, batch, decisions, ticks, hold: the lengths of the loops."""
    flags: dict[str, Any]
    """The constants that a kernel is compiled for."""


def run(
    core: Core, state: State, drive: Tensor, reset: Tensor, schedule: Schedule
) -> tuple[Tensor, Any]:
    """See `kernels.unroll.unroll`; the output is not yet divided by the sum of the readout's
    weights.

    Raises ValueError for a device or dtype that the kernels do not run on.
    """
    toolbox.check("a drive", drive, FORMS["unroll"]["triton"])
    by_name = dict(zip(state._fields, state, strict=True))
    # in the order of the kernels; None stands for a field that the neuron does not have
    tensors = [_single(by_name.get(name)) for name in PER_NEURON]
    decay = core.decay
    if isinstance(decay, Tensor):
        decay = decay.to(drive.device, torch.float32)
        decay = decay.expand(drive.shape[2])
        core = core._replace(decay=0.0)
    else:
        decay = None
    results: Any = _Unroll.apply(drive, *tensors, decay, reset, core, schedule)
    out, *after = results
    new = {name: x for name, x in zip(PER_NEURON, after, strict=True) if x is not None}
    return out, state._replace(**new)


def _single(x: Any) -> Tensor | None:
    """A field of a state in single precision; None for one that the neuron does not have."""
    if isinstance(x, Tensor):
        return x.float()
    return None


class _Unroll(torch.autograd.Function):
    """drive [D, B, N]; v, i, a, r [B, N] or None; decay [N], or None where it is the core's
    number.
    """

    @staticmethod
    def forward(ctx, drive, v, i, a, r, decay, reset, core: Core, schedule: Schedule):  # type: ignore[override]
        drive = drive.contiguous()
        reset = reset.to(torch.uint8).contiguous()
        state = [None if s is None else s.contiguous() for s in (v, i, a, r)]
        decay = None if decay is None else decay.contiguous()
        steps = drive.shape[0] * schedule.hold
        shape = drive.shape[1:]
        save = any(ctx.needs_input_grad)
        xs = drive.new_empty(steps, *shape) if save else None
        out = drive.new_empty(steps // schedule.span, *shape)
        after = [None if s is None else torch.empty_like(s) for s in state]
        plan = _plan(reset, shape, state, decay, core, schedule)
        numbers = _numbers(core, schedule)
        numbers |= {"refractory": float(core.refractory), "dt": float(schedule.dt)}
        flags = {"HALF": drive.dtype != torch.float32, "SAVE": save, **plan.flags}
        tensors = (drive, *state, decay, reset, out, xs, *after)
        toolbox.launch(loops.forward, plan.grid, *tensors, *plan.sizes, **numbers, **flags)
        # Only the gradient of a decay needs what went in.
        went_in = (None, None, None) if decay is None else (drive, state[0], decay)
        ctx.save_for_backward(xs, reset, *went_in)
        ctx.plan = (core, schedule, drive.shape, plan)
        ctx.set_materialize_grads(False)
        if r is not None:
            ctx.mark_non_differentiable(after[3])
        return out, *after

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out, grad_v, grad_i, grad_a, _):  # type: ignore[override]
        core, schedule, shape, plan = ctx.plan
        xs, reset, drive, v, decay = ctx.saved_tensors
        steps, batch, n = xs.shape
        if grad_out is None:
            grad_out = xs.new_zeros(steps // schedule.span, batch, n)
        ends = [
            _grad(grad_v, xs[0]),
            _grad(grad_i, xs[0]) if plan.flags["HAS_I"] else None,
            _grad(grad_a, xs[0]) if plan.flags["HAS_A"] else None,
        ]
        starts = [None if g is None else torch.empty_like(g) for g in ends]
        grad_drive = xs.new_empty(shape)
        grad_decay = None if decay is None else torch.empty_like(v)
        inputs = (grad_out.contiguous(), *ends, reset, xs, drive, v, decay)
        outputs = (grad_drive, *starts, grad_decay)
        numbers = _numbers(core, schedule)
        numbers["slope"] = float(core.slope)
        flags = {"SURROGATE": core.surrogate, **plan.flags}
        tensors = (*inputs, *outputs)
        toolbox.launch(loops.backward, plan.grid, *tensors, *plan.sizes, **numbers, **flags)
        by_decay = None if grad_decay is None else grad_decay.sum(0)
        # of drive, v, i, a, r, decay, reset, core, schedule
        return grad_drive, *starts, None, by_decay, None, None, None


def _plan(
    reset: Tensor,
    shape: torch.Size,
    state: list[Tensor | None],
    decay: Tensor | None,
    core: Core,
    schedule: Schedule,
) -> Launch:
    """The launch of a call over neurons of shape [B, N]."""
    batch, n = shape
    size = batch * n
    block = 1024 if size >= MANY else 256
    grid = (triton.cdiv(size, block),)
    sizes = (size, n, batch, reset.shape[0], schedule.ticks, schedule.hold)
    return Launch(grid, sizes, _flags(block, state, decay, core, schedule))


def _flags(
    block: int, state: list[Tensor | None], decay: Tensor | None, core: Core, schedule: Schedule
) -> dict[str, Any]:
    """The constants that both kernels are compiled for."""
    _, i, a, r = state
    return {
        "HAS_I": i is not None,
        "HAS_A": a is not None,
        "HAS_R": r is not None,
        "LEARN": decay is not None,
        "SOFT": core.v_reset is None,
        "HOLDS": schedule.hold > 1,
        "READOUT": schedule.span > 1,
        "BLOCK": block,
        "num_warps": 4,
        # a fused multiply-add rounds once, the reference twice: spikes would differ
        "enable_fp_fusion": False,
    }


def _numbers(core: Core, schedule: Schedule) -> dict[str, float]:
    """The numbers that both kernels take by name; floats even where an int was given, or a kernel
    would be compiled for it.
    """
    return {
        "decay": float(core.decay),
        "gain": float(core.gain),
        "v_threshold": float(core.v_threshold),
        "v_leak": float(core.v_leak),
        "v_reset": float(core.v_reset or 0.0),
        "decay_synapse": float(core.decay_synapse),
        "decay_adaptation": float(core.decay_adaptation),
        "adaptation": float(core.adaptation),
        "keep": float(schedule.keep),
    }


def _grad(grad: Tensor | None, like: Tensor) -> Tensor:
    """A state's gradient, float32 [B, N]; zeros for none."""
    if grad is None:
        return torch.zeros_like(like, dtype=torch.float32)
    return grad.contiguous()
