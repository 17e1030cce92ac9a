"""The time loop of `neurons.Core` fused for the CPU with Numba: one pass over memory forward, one
backward.

Rows are taken in blocks small enough that a block's state stays in the first-level cache through
all ticks. Row d of the drive is held for `hold` ticks; row o of the output sums the spikes of
`span` ticks, a tick keeping `keep` of the sum so far (span 1: the spikes themselves). Kept for the
way back is x, the membrane's distance from the threshold before the reset, and -∞ where a neuron
was held: the rest follows from it. S ticks, B rows, N neurons; arrays without a B axis are flat, M
= B·N. A state that a neuron does not have is None: Numba compiles that neuron's loop without it.
Tensors are handed over by address, which takes a tenth of the time of a NumPy view: a small layer
costs its Python, not its neurons.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numba import types
from numba.extending import intrinsic, overload
from torch import Tensor

from bio_rl.contracts import State
from bio_rl.kernels.numba.compile import compiled
from bio_rl.kernels.unroll import PER_NEURON
from bio_rl.neurons import Core

_SURROGATES = {
    "atan": 0,
    "fast_sigmoid": 1,
    "triangle": 2,
    "rectangle": 3,
    "sigmoid": 4,
    "damped_triangle": 5,
}
_BLOCK = 4096
"""Neurons per block: 16 KiB of membranes."""
_SHARE = 1 << 20
"""Neuron-ticks that are worth a second thread."""
_FIELDS = PER_NEURON
"""Of a state, in the order in which the loops take them."""

_jit = compiled(nogil=True, error_model="numpy")


class _Numbers(NamedTuple):
    """The numbers of a Core and of a call as the loops take them: one array, which costs a tenth of
    so many arguments.
    """

    decay: Any
    gain: Any
    v_threshold: Any
    v_leak: Any
    v_reset: Any
    decay_synapse: Any
    decay_adaptation: Any
    adaptation: Any
    refractory: Any
    dt: Any
    half_dt: Any
    keep: Any
    slope: Any


@_jit
def _named(x):
    return _Numbers(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11], x[12])


def _decay(learned, m, c):
    """β of neuron m: learned[m], or the core's number where none is learned; known when the loop is
    compiled.
    """
    raise AssertionError("only inside a compiled loop")


@overload(_decay)
def _decay_compiled(learned, m, c):
    if isinstance(learned, types.NoneType):
        return lambda learned, m, c: c.decay
    return lambda learned, m, c: learned[m]


def _gain(learned, m, c):
    """g of neuron m."""
    raise AssertionError("only inside a compiled loop")


@overload(_gain)
def _gain_compiled(learned, m, c):
    if isinstance(learned, types.NoneType):
        return lambda learned, m, c: c.gain
    return lambda learned, m, c: np.float32(1.0) - learned[m]


def _pointer_to(kind):
    """An address as a pointer to numbers of a kind."""

    @intrinsic
    def pointer(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), codegen

    return pointer


_floats_at, _bytes_at = _pointer_to(types.float32), _pointer_to(types.uint8)


def _part(address, start, size):
    """float32 numbers start to start + size of the array at an address; None of None."""
    raise AssertionError("only inside a compiled loop")


@overload(_part)
def _part_compiled(address, start, size):
    if isinstance(address, types.NoneType):
        return lambda address, start, size: None
    return lambda address, start, size: numba.carray(
        _floats_at(np.int64(address + 4 * start)), (size,)
    )  # type: ignore[call-arg]


def _unless_none(address, x):
    """x; None where the address is None."""
    raise AssertionError("only inside a compiled loop")


@overload(_unless_none)
def _unless_none_compiled(address, x):
    return (
        (lambda address, x: None) if isinstance(address, types.NoneType) else (lambda address, x: x)
    )


@_jit
def _load(address, start, to):
    """Fill `to` [M], if there is one, with the numbers from `start` on of the array at an address;
    zeros for the address 0.
    """
    if to is not None:
        if address == 0:
            to[:] = np.float32(0.0)
        else:
            to[:] = _part(address, start, len(to))


@_jit
def _store(address, start, x):
    """Write x [M], if there is one, from `start` on to the array at an address; nowhere for the
    address 0.
    """
    if x is not None:  # noqa: SIM102  (a test of its own, so that Numba drops what follows where there is none)
        if address != 0:
            _part(address, start, len(x))[:] = x


@_jit
def _clear(x, n, starts, value):
    """Set the rows of x [B·N], if there is one, where starts [B] is set."""
    if x is not None:
        for b in range(len(starts)):
            if starts[b]:
                x[b * n : (b + 1) * n] = value


@_jit
def _tick(drive, v, i, a, r, adds, out, x, learned, c, soft):
    """One tick of M neurons; all arrays [M], so that the loop vectorises. The state is advanced in
    place.

    adds: None for the first tick of a sum, which writes out; else out is added to. (Given out
    twice, a loop would find that its arrays overlap, and not vectorise.)
    """
    zero, one = np.float32(0.0), np.float32(1.0)
    for m in range(len(v)):
        current = drive[m]
        if i is not None:
            current += c.decay_synapse * i[m]
            i[m] = current
        h = c.v_leak + _decay(learned, m, c) * (v[m] - c.v_leak) + _gain(learned, m, c) * current
        margin = h - c.v_threshold
        if a is not None:
            margin -= c.adaptation * a[m]
        if r is not None:
            held = r[m] > c.half_dt
            h = v[m] if held else h
            margin = np.float32(-np.inf) if held else margin
        fired = margin >= zero
        z = one if fired else zero
        after = h - c.v_threshold if soft else c.v_reset
        v[m] = after if fired else h
        if a is not None:
            a[m] = c.decay_adaptation * a[m] + z
        if r is not None:
            r[m] = c.refractory if fired else max(r[m] - c.dt, zero)
        x[m] = margin
        if adds is not None:
            z += c.keep * out[m]
        out[m] = z


@_jit
def _forward(lo, hi, shape, loop, numbers, learned, before, after, drive, reset, out, xs):
    """Rows lo to hi of shape (S, B, N).

    loop: of `_Plan`; learned: None, or β of one block. Addresses: before and after (v, i, a, r) [B,
    N] each, drive [D, M], reset [T, B]; out [O, M] and, unless it is 0, xs [S, M] are written.
    """
    steps, batch, n = shape
    ticks, hold, span, soft = loop[0], loop[1], loop[2], loop[3] != 0
    c = _named(numbers)
    size, rows = batch * n, max(1, _BLOCK // n)
    unsaved = np.empty(min(rows, hi - lo) * n, np.float32)
    for top in range(lo, hi, rows):
        left, m = top * n, (min(top + rows, hi) - top) * n
        v, i = _part(after[0], left, m), _part(after[1], left, m)
        a, r = _part(after[2], left, m), _part(after[3], left, m)
        _load(before[0], left, v)
        _load(before[1], left, i)
        _load(before[2], left, a)
        _load(before[3], left, r)
        for s in range(steps):
            if s % ticks == 0:
                starts = numba.carray(
                    _bytes_at(np.int64(reset + s // ticks * batch + top)), (m // n,)
                )  # type: ignore[call-arg]
                _clear(v, n, starts, c.v_leak)
                _clear(i, n, starts, np.float32(0.0))
                _clear(a, n, starts, np.float32(0.0))
                _clear(r, n, starts, np.float32(0.0))
            x = unsaved[:m] if xs == 0 else _part(xs, s * size + left, m)
            current, z = (
                _part(drive, s // hold * size + left, m),
                _part(out, s // span * size + left, m),
            )
            if s % span == 0:
                _tick(current, v, i, a, r, None, z, x, learned, c, soft)
            else:
                _tick(current, v, i, a, r, True, z, x, learned, c, soft)


@_jit
def _derivative(x, kind, slope, out):
    """The surrogate derivative at x [M] into out [M]."""
    one, half, zero = np.float32(1.0), np.float32(0.5), np.float32(0.0)
    if kind == 0:
        height, curve = half * slope, np.float32(0.5 * math.pi) * slope
        for m in range(len(out)):
            y = curve * x[m]
            out[m] = height / (one + y * y)
    elif kind == 1:
        for m in range(len(out)):
            y = one + slope * abs(x[m])
            out[m] = one / (y * y)
    elif kind == 2:
        for m in range(len(out)):
            out[m] = slope * max(one - slope * abs(x[m]), zero)
    elif kind == 3:
        width = half / slope
        for m in range(len(out)):
            out[m] = slope if abs(x[m]) < width else zero
    elif kind == 5:
        for m in range(len(out)):
            out[m] = np.float32(0.3) * slope * max(one - slope * abs(x[m]), zero)
    else:
        for m in range(len(out)):
            e = np.exp(-slope * abs(x[m]))
            out[m] = slope * e / ((one + e) * (one + e))


@_jit
def _tick_back(
    grad_out,
    weight,
    gv,
    gi,
    ga,
    r,
    x,
    derivative,
    learned,
    c,
    soft,
    adds,
    grad_drive,
    before,
    drive,
    gdecay,
):
    """One tick backwards, all arrays [M]: gv, gi, ga become the gradients of the state before this
    tick.

    r is not None where neurons are refractory after a spike. adds: None for the last tick of a held
    drive, as in `_tick`. With gdecay the gradient of the decay is added to it; before is the
    membrane before this tick.
    """
    zero = np.float32(0.0)
    for m in range(len(gv)):
        through = gv[m] if (soft or x[m] < zero) else zero
        dz = weight * grad_out[m]
        if ga is not None:
            dz += ga[m]
        dx = dz * derivative[m]
        dh = dx + through
        if ga is not None:
            ga[m] = c.decay_adaptation * ga[m] - c.adaptation * dx
        charge, passed = _gain(learned, m, c) * dh, _decay(learned, m, c) * dh
        if r is not None:
            held = x[m] == np.float32(-np.inf)
            charge = zero if held else charge
            passed = through if held else passed
        if gdecay is not None:
            gdecay[m] += dh * (before[m] - c.v_leak - drive[m])
        if gi is not None:
            charge += gi[m]
            gi[m] = c.decay_synapse * charge
        if adds is not None:
            charge += grad_drive[m]
        grad_drive[m] = charge
        gv[m] = passed


@_jit
def _after(x, v_threshold, v_reset, soft, out):
    """The membrane after a tick, from its distance x [M] to the threshold before the reset."""
    for m in range(len(out)):
        h = x[m] + v_threshold
        after = x[m] if soft else v_reset
        out[m] = after if x[m] >= np.float32(0.0) else h


@_jit
def _backward(
    lo, hi, shape, loop, numbers, learned, surrogate, ends, starts, grad_out, grad_drive, reset, xs, drive, v0
):  # fmt: skip
    """Rows lo to hi of shape (S, B, N).

    Addresses: the gradients `ends` of the final state (v, i, a; for r any) [B, N] each, 0 for zero;
    grad_out [O, M], reset [T, B], xs [S, M]. Written: grad_drive [D, M] and, unless it is 0, each
    of `starts`, the gradients of the initial state. Returns, where the decay is learned, its
    gradient summed over blocks of rows; then drive [D, M] and v0 [B, N] are what went in.
    """
    steps, batch, n = shape
    ticks, hold, span, soft = loop[0], loop[1], loop[2], loop[3] != 0
    c = _named(numbers)
    size, rows = batch * n, max(1, _BLOCK // n)
    most = min(rows, hi - lo) * n
    derivative, before, state = (
        np.empty(most, np.float32),
        np.empty(most, np.float32),
        np.empty((3, most), np.float32),
    )
    gdecay = _unless_none(learned, np.zeros(most, np.float32))
    for top in range(lo, hi, rows):
        left, m = top * n, (min(top + rows, hi) - top) * n
        gv = state[0, :m]
        gi, ga = _unless_none(ends[1], state[1, :m]), _unless_none(ends[2], state[2, :m])
        _load(ends[0], left, gv)
        _load(ends[1], left, gi)
        _load(ends[2], left, ga)
        weight = np.float32(1.0)
        for s in range(steps - 1, -1, -1):
            weight = np.float32(1.0) if s % span == span - 1 else weight * c.keep
            x = _part(xs, s * size + left, m)
            fresh = numba.carray(_bytes_at(np.int64(reset + s // ticks * batch + top)), (m // n,))  # type: ignore[call-arg]
            _derivative(x, surrogate, c.slope, derivative[:m])
            current = _part(drive, s // hold * size + left, m)
            if gdecay is not None:
                if s > 0:
                    _after(
                        _part(xs, (s - 1) * size + left, m),
                        c.v_threshold,
                        c.v_reset,
                        soft,
                        before[:m],
                    )
                else:
                    _load(v0, left, before[:m])
                if s % ticks == 0:
                    _clear(before[:m], n, fresh, c.v_leak)
            z, charge = (
                _part(grad_out, s // span * size + left, m),
                _part(grad_drive, s // hold * size + left, m),
            )
            if s % hold == hold - 1:
                _tick_back(
                    z,
                    weight,
                    gv,
                    gi,
                    ga,
                    ends[3],
                    x,
                    derivative,
                    learned,
                    c,
                    soft,
                    None,
                    charge,
                    before,
                    current,
                    gdecay,
                )
            else:
                _tick_back(
                    z,
                    weight,
                    gv,
                    gi,
                    ga,
                    ends[3],
                    x,
                    derivative,
                    learned,
                    c,
                    soft,
                    True,
                    charge,
                    before,
                    current,
                    gdecay,
                )
            if s % ticks == 0:
                _clear(gv, n, fresh, np.float32(0.0))
                _clear(gi, n, fresh, np.float32(0.0))
                _clear(ga, n, fresh, np.float32(0.0))
        _store(starts[0], left, gv)
        _store(starts[1], left, gi)
        _store(starts[2], left, ga)
    return gdecay


class _Plan(NamedTuple):
    """What a call is about, without its tensors."""

    surrogate: int
    loop: tuple[int, int, int, int]
    """ticks, hold, span, and 1 for a soft reset."""
    present: tuple[bool, ...]
    """Which of `_FIELDS` the neuron has. Autograd is shown these alone: every argument of its costs
    a small layer dearly.
    """
    numbers: np.ndarray
    """float32, of `_Numbers`."""


@functools.lru_cache(maxsize=64)
def _plan(
    core: Core, present: tuple[bool, ...], ticks: int, hold: int, span: int, keep: float, dt: float
) -> _Plan:
    numbers = _Numbers(
        core.decay, core.gain, core.v_threshold, core.v_leak, core.v_reset or 0.0, core.decay_synapse, core.decay_adaptation,
        core.adaptation, core.refractory, dt, 0.5 * dt, keep, core.slope,
    )  # fmt: skip
    loop = ticks, hold, span, int(core.v_reset is None)
    return _Plan(_SURROGATES[core.surrogate], loop, present, np.array(numbers, np.float32))


def run(
    core: Core,
    state: State,
    drive: Tensor,
    reset: Tensor,
    ticks: int,
    hold: int,
    span: int,
    keep: float,
    dt: float,
) -> tuple[Tensor, Any]:
    """See `kernels.unroll.unroll`; the output is not yet divided by the sum of the readout's
    weights.

    Raises ValueError for a device or dtype that the loops do not run on.
    """
    # not as a decorator: that imports Dynamo, which takes over a second (measured), and costs every
    # call 1 µs
    loops = torch.compiler.disable(_run) if torch.compiler.is_compiling() else _run
    return loops(core, state, drive, reset, ticks, hold, span, keep, dt)


def _run(
    core: Core,
    state: State,
    drive: Tensor,
    reset: Tensor,
    ticks: int,
    hold: int,
    span: int,
    keep: float,
    dt: float,
) -> tuple[Tensor, Any]:
    fields = {name: x for name in _FIELDS if isinstance(x := getattr(state, name, None), Tensor)}
    present = tuple([name in fields for name in _FIELDS])
    given = [*fields.values()]
    for x in (drive, *given):
        if x.dtype is not torch.float32 or not x.is_cpu:
            raise ValueError(
                f"backend 'numba' got a drive or a state of {x.dtype} on {x.device}; known: torch.float32 on cpu"
            )
    decay = core.decay if isinstance(core.decay, Tensor) else None
    plan = _plan(
        core if decay is None else core._replace(decay=0.0), present, ticks, hold, span, keep, dt
    )
    reset = reset.contiguous()
    if torch.is_grad_enabled() and (
        drive.requires_grad or any([x.requires_grad for x in (*given, decay) if x is not None])
    ):
        out, *after = _Unroll.apply(plan, reset, decay, drive, *given)  # type: ignore[misc]
    else:
        out, after, _, _ = _advance(plan, reset, decay, drive, given, save=False)
    return out, state._replace(**dict(zip(fields, after, strict=True)))


def _advance(
    plan: _Plan,
    reset: Tensor,
    decay: Tensor | None,
    drive: Tensor,
    given: Sequence[Tensor],
    *,
    save: bool,
) -> tuple[Tensor, list[Tensor], Tensor | None, np.ndarray | None]:
    """(out [O, B, N], state after, xs [S, B, N] where it is to be saved, β of a block where it is
    learned).
    """
    held, batch, n = drive.shape
    _, hold, span, _ = plan.loop
    steps = held * hold
    drive = drive.contiguous()
    before = [x.contiguous() for x in given]
    after = [torch.empty(batch, n) for _ in before]
    out = torch.empty(steps // span, batch, n)
    xs = torch.empty(steps, batch, n) if save else None
    learned = None if decay is None else _tiled(decay, batch, n)
    arguments = (
        (steps, batch, n), plan.loop, plan.numbers, learned, _addresses(plan, before), _addresses(plan, after),
        drive.data_ptr(), reset.data_ptr(), out.data_ptr(), _address(xs),
    )  # fmt: skip
    _share(_forward, arguments, batch, steps * n)
    return out, after, xs, learned


class _Unroll(torch.autograd.Function):
    """decay [] or [N], or None where it is the core's number; drive [D, B, N]; and of v, i, a, r
    [B, N] those present.
    """

    @staticmethod
    def forward(ctx, plan: _Plan, reset, decay, drive, *given):  # type: ignore[override]
        out, after, xs, learned = _advance(plan, reset, decay, drive, given, save=True)
        ctx.save_for_backward(xs, reset, *(() if decay is None else (drive, given[0], decay)))
        ctx.plan = plan, learned
        ctx.set_materialize_grads(False)
        if plan.present[3]:
            ctx.mark_non_differentiable(after[-1])
        return out, *after

    @staticmethod
    def backward(ctx, grad_out, *grads):  # type: ignore[override]
        plan, learned = ctx.plan
        xs, reset, *others = ctx.saved_tensors
        drive, v0, decay = (
            (others[0].contiguous(), others[1].contiguous(), others[2])
            if others
            else (None, None, None)
        )
        steps, batch, n = xs.shape
        _, hold, span, _ = plan.loop
        grad_drive = torch.empty(steps // hold, batch, n)
        grad_out = (
            torch.zeros(steps // span, batch, n) if grad_out is None else grad_out.contiguous()
        )
        ends = [None if g is None else g.contiguous() for g in grads]
        starts = [torch.empty(batch, n) if needed else None for needed in ctx.needs_input_grad[4:]]
        if plan.present[3]:
            starts[-1] = None  # refractoriness has no gradient
        at_start = tuple([address or 0 for address in _addresses(plan, starts)[:3]])
        arguments = (
            (steps, batch, n), plan.loop, plan.numbers, learned, plan.surrogate, _addresses(plan, ends), at_start,
            grad_out.data_ptr(), grad_drive.data_ptr(), reset.data_ptr(), xs.data_ptr(), _address(drive), _address(v0),
        )  # fmt: skip
        parts = _share(_backward, arguments, batch, steps * n)
        return None, None, None if decay is None else _summed(parts, n, decay), grad_drive, *starts


def _address(x: Tensor | None) -> int:
    """Of a contiguous tensor's numbers; 0 for none."""
    return 0 if x is None else x.data_ptr()


def _addresses(plan: _Plan, state: Sequence[Tensor | None]) -> tuple[int | None, ...]:
    """Of `_FIELDS`, from the tensors that are present: None for what the neuron lacks, 0 where
    there is no tensor.
    """
    left = iter(state)
    return tuple([_address(next(left)) if there else None for there in plan.present])


def _tiled(decay: Tensor, batch: int, n: int) -> np.ndarray:
    """A learned β, one for each neuron of a block of rows."""
    return np.tile(np.broadcast_to(decay.detach().numpy(), n), min(max(1, _BLOCK // n), batch))


def _summed(parts: list[np.ndarray], n: int, decay: Tensor) -> Tensor:
    """The gradient of a learned decay, from the sums over blocks of rows."""
    each = sum(part.reshape(-1, n).sum(0, dtype=np.float64) for part in parts)
    return torch.as_tensor(each if decay.dim() else each.sum(), dtype=decay.dtype)


def _share(
    loop: Callable[..., Any], arguments: tuple[Any, ...], batch: int, work: int
) -> list[Any]:
    """loop(lo, hi, *arguments) over shares of the rows, as many at a time as torch has threads,
    where the work (per row) is worth it. The caller holds on to the tensors whose addresses it
    gives away.
    """
    if (
        batch * work < 2 * _SHARE
        or (count := min(torch.get_num_threads(), batch * work // _SHARE, batch)) < 2
    ):
        return [loop(0, batch, *arguments)]
    edges = [batch * k // count for k in range(count + 1)]
    pool = _pool(count)
    others = [pool.submit(loop, lo, hi, *arguments) for lo, hi in itertools.pairwise(edges[1:])]
    return [loop(0, edges[1], *arguments), *(other.result() for other in others)]


@functools.cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "neurons")
