"""The time loop of a neuron: many ticks in one call, resets inside, forward and backward.

A call covers T decisions of K ticks each. The drive either changes every tick (`hold=1`, [T·K, B,
N]) or is a static input held for the K ticks of a decision (`hold=K`, [T, B, N]), so that its
matrix product is computed once and not K times.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bio_rl.contracts import State
from bio_rl.kernels.backends import form, pick
from bio_rl.modes import transformed
from bio_rl.neurons import Core, Neuron, reset_rows

PER_NEURON = ("v", "i", "a", "refractory")
"""Fields of a state that the fused loops read, [B, N] each, in the order in which they do."""


class Schedule(NamedTuple):
    """The order of the ticks of a call."""

    ticks: int
    """K, ticks of a decision."""
    hold: int
    """Ticks for which a row of the drive is held."""
    span: int
    """Ticks whose spikes make one row of the output: 1, or K with a readout."""
    keep: float
    """κ, the share of a row's sum that the next tick keeps."""
    dt: float
    """ms of a tick."""


def unroll(
    p: Neuron,
    state: State,
    drive: Tensor,
    reset: Tensor,
    *,
    ticks: int,
    hold: int = 1,
    readout: float | None = None,
    dt: float = 1.0,
    backend: str | None = None,
) -> tuple[Tensor, Any]:
    """Spikes [T·ticks, B, N], or with a `readout` the leaky average of each decision's [T, B, N];
    and the state after them.

    p: any neuron; state: its own, [B, N] a field; drive [T·ticks / hold, B, N], each row held for
    `hold` ticks; reset [T, B] bool: that row starts decision t at rest. backend: torch (the
    reference), numba or triton; None takes the device's default, and the reference for what that
    one does not run: see `backends.pick` and `obstacle`. Raises ValueError for shapes that do not
    fit, an unknown backend, or one that has no fused loop for this neuron.
    """
    _check(state, drive, reset, ticks, hold)
    backend, core = _fused(p, state, drive, dt, backend)
    if core is None:
        out, _, state = trace(p, state, drive, reset, ticks=ticks, hold=hold, dt=dt)
        if readout is not None:
            out = leaky_average(out, ticks, readout)
        return out, state
    span = 1 if readout is None else ticks
    schedule = _schedule(ticks, hold, span, readout or 0.0, dt)
    out, state = form("unroll", backend).run(core, state, drive, reset, schedule)
    if readout is not None:
        # The loops leave the weighted sum as it is.
        out = out * (1.0 / _weight(ticks, readout))
    return out, state


@functools.lru_cache(maxsize=64)
def _schedule(ticks: int, hold: int, span: int, keep: float, dt: float) -> Schedule:
    """The schedule of these numbers; one like one before takes a third of the time of a new one."""
    return Schedule(ticks, hold, span, keep, dt)


def _fused(
    p: Neuron, state: State, drive: Tensor, dt: float, backend: str | None
) -> tuple[str, Core | None]:
    """(backend, the core that its loops run), None for the reference. Raises ValueError where the
    backend that is asked for does not run this neuron.
    """
    chosen = pick("unroll", drive, backend)
    if chosen == "torch" or not drive.numel():
        return "torch", None
    core, why = _core(p, state, drive, dt, chosen)
    if backend is not None and transformed():
        why = "a function transform, torch.func, is active"
    if core is not None and not why:
        return chosen, core
    if backend is None:
        return "torch", None
    why = f" ({why})" if why else ""
    raise ValueError(
        f"{type(p).__name__} has no fused time loop for backend {backend!r}; "
        f"known for it: torch{why}"
    )


def _core(
    p: Neuron, state: State, drive: Tensor, dt: float, backend: str
) -> tuple[Core | None, str]:
    """(what the fused loops run, None where there is none; in words why they cannot, else
    nothing).
    """
    try:
        core = p.core(dt)
    except ValueError as error:
        return None, str(error)
    if core is None:
        return None, ""
    if any([isinstance(x, Tensor) for x in core]):
        return core, obstacle(core, state, drive)
    # Triton's kernels make a state single themselves.
    if backend != "numba":
        return core, ""
    for x in state:
        if isinstance(x, Tensor) and x.dtype is not torch.float32:
            return core, f"the state has a field of {x.dtype}, not of torch.float32"
    return core, ""


def obstacle(core: Core, state: State, drive: Tensor) -> str:
    """Why the fused loops do not run constants of which some are tensors, nothing where they do."""
    learned = [name for name, x in zip(core._fields, core, strict=True) if isinstance(x, Tensor)]
    # The backward loops have the gradient of a decay, and of no other constant.
    if learned != ["decay"]:
        return f"{', '.join(learned)} differ between neurons or learn"
    tensors = [x for x in state if isinstance(x, Tensor)]
    # With a synaptic current or an adaptation the gradient would be another one.
    if len(tensors) > 1:
        return f"a decay is learned of a membrane alone, not beside other state {state._fields}"
    decay: Any = core.decay
    for x in (decay, *tensors):
        if x.dtype is not torch.float32 or x.device != drive.device:
            expected = f"torch.float32 on {drive.device}"
            return f"a learned decay or its state is of {x.dtype} on {x.device}, not of {expected}"
    if decay.shape not in ((), drive.shape[2:]):
        return f"a learned decay has shape {tuple(decay.shape)}, not [] or [N]"
    return ""


def trace(
    p: Neuron,
    state: State,
    drive: Tensor,
    reset: Tensor,
    *,
    ticks: int,
    hold: int = 1,
    dt: float = 1.0,
) -> tuple[Tensor, Tensor, Any]:
    """The reference, the readable loop over `p.step`: (spikes, membranes after each tick [T·ticks,
    B, N], final state).
    """
    if not len(drive):  # no time: what is empty stays as empty
        return drive, drive, state
    spikes = []
    membranes = []
    for s in range(drive.shape[0] * hold):
        # An episode begins before the first tick of a decision.
        if s % ticks == 0:
            state = reset_rows(p, reset[s // ticks], state)
        z, state = p.step(state, drive[s // hold], dt)
        spikes.append(z)
        membranes.append(state.v)
    return torch.stack(spikes), torch.stack(membranes), state


def leaky_average(spikes: Tensor, ticks: int, keep: float) -> Tensor:
    """Leaky integrals of the spikes [T·K, B, N] of each decision, y ← κ y + z, in units of their
    largest value: [T, B, N].

    κ = `keep`: 1 gives the firing rate; below it, late spikes weigh more, so that K ticks can say
    up to 2^K values, not K+1.
    """
    y = torch.zeros_like(spikes[::ticks])
    decisions = len(spikes) // ticks
    # [T·K, B, N] as [T, K, B, N], one tick of all decisions at a time
    by_tick = spikes.unflatten(0, (decisions, ticks))
    for z in by_tick.unbind(1):
        y = keep * y + z
    return y * (1.0 / _weight(ticks, keep))


def _weight(ticks: int, keep: float) -> float:
    """The largest value that a leaky integral of so many ticks has."""
    # a spike at every tick, of which the last counts one
    powers = [keep**k for k in range(ticks)]
    return sum(powers)


def _check(state: State, drive: Tensor, reset: Tensor, ticks: int, hold: int) -> None:
    """Raise ValueError for a drive, resets or a state that do not fit one another."""
    shape = drive.shape
    if len(shape) != 3 or reset.dim() != 2:
        shapes = f"drive has shape {tuple(shape)} and reset {tuple(reset.shape)}"
        raise ValueError(f"{shapes}, expected [T·K / hold, B, N] and [T, B]")
    if ticks < 1 or hold < 1:
        raise ValueError(f"ticks is {ticks} and hold is {hold}, expected at least 1")
    if reset.dtype is not torch.bool or reset.device != drive.device:
        raise ValueError(
            f"reset is of {reset.dtype} on {reset.device}, "
            f"expected torch.bool on the drive's {drive.device}"
        )
    decisions, batch = reset.shape
    if shape[0] * hold != decisions * ticks or shape[1] != batch:
        raise ValueError(
            f"drive has shape {tuple(shape)} held for {hold}, "
            f"expected [T·K / hold, B, N] with T={decisions}, K={ticks}, B={batch}"
        )
    row = shape[1:]
    # Most states fit, and are not slowed down by names.
    if any([x.shape != row for x in state if isinstance(x, Tensor)]):
        _check_fields(state, row)
    if state.v.device != drive.device:
        raise ValueError(f"state.v is on {state.v.device}, but the drive on {drive.device}")


def _check_fields(state: State, row: torch.Size) -> None:
    """Raise ValueError for the first field of PER_NEURON that is not [B, N]."""
    for name, x in state._asdict().items():
        # Others are a neuron's own, such as the key of its noise.
        if name not in PER_NEURON or not isinstance(x, Tensor):
            continue
        if x.shape != row:
            met = tuple(x.shape)
            expected = tuple(row)
            raise ValueError(f"state.{name} has shape {met}, expected [B, N] = {expected}")
