"""The time loop of `neurons.Core` fused for the CPU with Numba; the loops are in `numba.loops`.

Row d of the drive is held for `hold` ticks; row o of the output sums the spikes of `span` ticks, a
tick keeping `keep` of the sum so far (span 1: the spikes themselves). Kept for the way back is x,
the membrane's distance from the threshold before the reset, and -∞ where a neuron was held: the
rest follows from it. S ticks, B rows, N neurons.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bio_rl.contracts import State
from bio_rl.kernels.numba import loops, memory, surrogates, threads
from bio_rl.kernels.numba.tick import Numbers
from bio_rl.kernels.unroll import PER_NEURON, Schedule
from bio_rl.neurons import Core


class Plan(NamedTuple):
    """A call without its tensors."""

    surrogate: int
    """Its place in `surrogates.TABLE`."""
    times: tuple[int, int, int, int]
    """ticks, hold, span, and 1 for a soft reset."""
    present: tuple[bool, ...]
    """For each of PER_NEURON whether the neuron has it. Autograd is shown these alone: every
    argument of its costs a small layer dearly.
    """
    numbers: np.ndarray
    """float32, in the order of `Numbers`."""


@functools.lru_cache(maxsize=64)
def plan(core: Core, present: tuple[bool, ...], schedule: Schedule) -> Plan:
    """The plan of calls with these numbers."""
    numbers = Numbers(
        decay=core.decay,
        gain=core.gain,
        v_threshold=core.v_threshold,
        v_leak=core.v_leak,
        v_reset=core.v_reset or 0.0,
        decay_synapse=core.decay_synapse,
        decay_adaptation=core.decay_adaptation,
        adaptation=core.adaptation,
        refractory=core.refractory,
        dt=schedule.dt,
        half_dt=0.5 * schedule.dt,
        keep=schedule.keep,
        slope=core.slope,
    )
    soft = int(core.v_reset is None)
    return Plan(
        surrogates.place(core.surrogate),
        (schedule.ticks, schedule.hold, schedule.span, soft),
        present,
        np.array(numbers, np.float32),
    )


def run(
    core: Core, state: State, drive: Tensor, reset: Tensor, schedule: Schedule
) -> tuple[Tensor, Any]:
    """See `kernels.unroll.unroll`; the output is not yet divided by the sum of the readout's
    weights.

    Raises ValueError for a device or dtype that the loops do not run on.
    """
    # Not as a decorator: that imports Dynamo, which takes over a second (measured), and costs every
    # call 1 µs.
    run_loops: Any = _run
    if torch.compiler.is_compiling():
        run_loops = torch.compiler.disable(_run)
    return run_loops(core, state, drive, reset, schedule)


def _run(
    core: Core, state: State, drive: Tensor, reset: Tensor, schedule: Schedule
) -> tuple[Tensor, Any]:
    # in the order of the loops, those that the neuron has
    values = [() if k is None else state[k] for k in _places(type(state))]
    present = tuple([isinstance(x, Tensor) for x in values])
    before = [x for x in values if isinstance(x, Tensor)]
    memory.check("a drive or a state", (drive, *before))
    decay = core.decay if isinstance(core.decay, Tensor) else None
    # A plan is found by its numbers, and a decay that is learned is a new tensor at every call.
    numbers = core if decay is None else core._replace(decay=0.0)
    planned = plan(numbers, present, schedule)
    reset = reset.contiguous()
    wants_grad = drive.requires_grad or any([x.requires_grad for x in before])
    wants_grad = wants_grad or (decay is not None and decay.requires_grad)
    if wants_grad and torch.is_grad_enabled():
        results: Any = _Unroll.apply(planned, reset, decay, drive, *before)
        out, *after = results
    else:
        out, after, _, _ = _advance(planned, reset, decay, drive, before, save=False)
    names = itertools.compress(PER_NEURON, present)
    return out, state._replace(**dict(zip(names, after, strict=True)))


@functools.cache
def _places(kind: type) -> tuple[int | None, ...]:
    """For each of PER_NEURON its place in a kind of state; None where that has no such field."""
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]  # a state is a NamedTuple
    return tuple([fields.index(name) if name in fields else None for name in PER_NEURON])


def _advance(
    planned: Plan,
    reset: Tensor,
    decay: Tensor | None,
    drive: Tensor,
    before: Sequence[Tensor],
    *,
    save: bool,
) -> tuple[Tensor, list[Tensor], Tensor | None, np.ndarray | None]:
    """(out [O, B, N], state after, xs [S, B, N] where it is to be saved, β of a block where it is
    learned).
    """
    rows, batch, n = drive.shape
    steps = rows * planned.times[1]  # each is held
    drive = drive.contiguous()
    before = [x.contiguous() for x in before]
    after = [torch.empty(batch, n) for _ in before]
    shape = (steps, batch, n)
    out = torch.empty(steps // planned.times[2], batch, n)
    xs = torch.empty(shape) if save else None
    learned = _tiled(decay, batch, n)
    states = (_addresses(planned, before), _addresses(planned, after))
    others = (drive.data_ptr(), reset.data_ptr(), out.data_ptr(), memory.address(xs))
    arguments = (shape, planned.times, planned.numbers, learned, *states, *others)
    threads.run(loops.forward, arguments, batch, steps * n)
    return out, after, xs, learned


class _Unroll(torch.autograd.Function):
    """decay [] or [N], or None where it is the core's number; drive [D, B, N]; and of v, i, a, r
    [B, N] those present.
    """

    @staticmethod
    def forward(ctx, planned: Plan, reset, decay, drive, *before):  # type: ignore[override]
        out, after, xs, learned = _advance(planned, reset, decay, drive, before, save=True)
        # Only the gradient of a decay needs what went in.
        went_in = () if decay is None else (drive, before[0], decay)
        ctx.save_for_backward(xs, reset, *went_in)
        ctx.plan = planned, learned
        ctx.set_materialize_grads(False)
        if planned.present[3]:
            ctx.mark_non_differentiable(after[-1])
        return out, *after

    @staticmethod
    def backward(ctx, grad_out, *grads):  # type: ignore[override]
        planned, learned = ctx.plan
        xs, reset, *went_in = ctx.saved_tensors
        shape = steps, batch, n = xs.shape
        _, hold, span, _ = planned.times
        grad_drive = torch.empty(steps // hold, batch, n)
        if grad_out is None:
            grad_out = torch.zeros(steps // span, batch, n)
        grad_out = grad_out.contiguous()
        ends = [None if g is None else g.contiguous() for g in grads]
        # Four arguments stand before the state's: plan, reset, decay, drive.
        starts = [torch.empty(batch, n) if needed else None for needed in ctx.needs_input_grad[4:]]
        if planned.present[3]:
            starts[-1] = None  # refractoriness has no gradient
        fixed = (tuple(shape), planned.times, planned.numbers, learned, planned.surrogate)
        at_start = tuple([address or 0 for address in _addresses(planned, starts)[:3]])
        states = (_addresses(planned, ends), at_start)
        # What went in is there for a learned decay alone.
        drive, v0, decay = [x.contiguous() for x in went_in] or (None, None, None)
        tensors = [grad_out, grad_drive, reset, xs, drive, v0]
        addresses = [memory.address(x) for x in tensors]
        arguments = (*fixed, *states, *addresses)
        parts = threads.run(loops.backward, arguments, batch, steps * n)
        grad_decay = _summed(parts, n, decay)
        return None, None, grad_decay, grad_drive, *starts


def _addresses(planned: Plan, state: Sequence[Tensor | None]) -> tuple[int | None, ...]:
    """The addresses of PER_NEURON, from the tensors that are present: None for what the neuron
    lacks, 0 where there is no tensor.
    """
    tensors = iter(state)  # of the fields that are present alone
    return tuple([memory.address(next(tensors)) if has else None for has in planned.present])


def _tiled(decay: Tensor | None, batch: int, n: int) -> np.ndarray | None:
    """A learned β, one for each neuron of a block of rows; None where it is not learned."""
    if decay is None:
        return None
    rows = min(max(1, loops.BLOCK // n), batch)
    # [] and [N] alike as [N], then one after the other for each row
    of_row = np.broadcast_to(decay.detach().numpy(), n)
    return np.tile(of_row, rows)


def _summed(parts: list[np.ndarray], n: int, decay: Tensor | None) -> Tensor | None:
    """The gradient of a learned decay, from the sums over blocks of rows; None where it is not
    learned.
    """
    if decay is None:
        return None
    total = np.zeros(n)
    for part in parts:
        # [rows of a block · N] as [rows, N]
        rows = part.reshape(-1, n)
        total += rows.sum(0, dtype=np.float64)
    if decay.dim() == 0:
        total = total.sum()
    return torch.as_tensor(total, dtype=decay.dtype)
