"""The time loop of a neuron: many ticks in one call, resets inside, forward and backward.

A call covers T decisions of K ticks each. The drive either changes every tick (`hold=1`, [T·K, B,
N]) or is a static input held for the K ticks of a decision (`hold=K`, [T, B, N]), so that its
matrix product is computed once and not K times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bio_rl.contracts import State
from bio_rl.kernels import BACKENDS, fused, suited
from bio_rl.modes import transformed
from bio_rl.neurons import Core, Neuron, reset_rows

PER_NEURON = ("v", "i", "a", "refractory")
"""Fields of a state that the fused loops read, [B, N] each."""


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
    one does not run: see `kernels.suited` and `obstacle`. Raises ValueError for shapes that do not
    fit, an unknown backend, or one that has no fused loop for this neuron.
    """
    _check(state, drive, reset, ticks, hold, backend)
    core = None
    if backend is None:
        backend = suited(drive)
        if backend != "torch":
            core, why = _core(p, state, drive, dt, backend)
            backend = "torch" if why else backend
    elif backend != "torch" and drive.numel():
        core, why = _core(p, state, drive, dt, backend)
        if transformed():
            why = "a function transform, torch.func, is active"
        if core is None or why:
            why = f" ({why})" if why else ""
            raise ValueError(
                f"{type(p).__name__} has no fused time loop for backend {backend!r}; known for it: torch{why}"
            )
    if core is None or backend == "torch":
        spikes, _, state = trace(p, state, drive, reset, ticks=ticks, hold=hold, dt=dt)
        return (spikes if readout is None else leaky_average(spikes, ticks, readout)), state
    span, keep = (1, 0.0) if readout is None else (ticks, readout)
    out, state = fused(backend, "unroll").run(
        core, state, drive, reset, ticks, hold, span, keep, dt
    )
    return (out if readout is None else out * (1.0 / _weight(ticks, keep))), state


def _core(p: Any, state: State, drive: Tensor, dt: float, backend: str) -> tuple[Core | None, str]:
    """(What the fused loops run, None for a neuron that has no such loop; in words, why they
    cannot, else nothing).
    """
    try:
        core = p.core(dt)
    except ValueError as error:
        return None, str(error)
    if core is None:
        return None, ""
    if any([isinstance(x, Tensor) for x in core]):
        return core, obstacle(core, state, drive)
    if backend == "numba" and any(
        [x.dtype is not torch.float32 for x in state if isinstance(x, Tensor)]
    ):
        return (
            core,
            f"the state is of {[x.dtype for x in state if isinstance(x, Tensor)]}, not all torch.float32",
        )
    return core, ""


def obstacle(core: Core, state: State, drive: Tensor) -> str:
    """Why the fused loops do not run constants of which some are tensors, nothing where they do."""
    learned = [name for name, x in zip(core._fields, core, strict=True) if isinstance(x, Tensor)]
    if learned != ["decay"]:
        return f"{', '.join(learned)} differ between neurons or learn"
    tensors = [x for x in state if isinstance(x, Tensor)]
    if len(tensors) > 1:
        return f"a decay is learned of a membrane alone, not beside other state {state._fields}"
    decay: Any = core.decay
    for x in (decay, *tensors):
        if x.dtype is not torch.float32 or x.device != drive.device:
            return f"a learned decay or its state is of {x.dtype} on {x.device}, not of torch.float32 on {drive.device}"
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
    spikes, membranes = [], []
    for s in range(drive.shape[0] * hold):
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
    for z in spikes.unflatten(0, (len(spikes) // ticks, ticks)).unbind(1):
        y = keep * y + z
    return y * (1.0 / _weight(ticks, keep))


def _weight(ticks: int, keep: float) -> float:
    return sum(keep**k for k in range(ticks))


def _check(
    state: State, drive: Tensor, reset: Tensor, ticks: int, hold: int, backend: str | None
) -> None:
    shape = drive.shape
    if len(shape) != 3 or reset.dim() != 2:
        shapes = f"drive has shape {tuple(shape)} and reset {tuple(reset.shape)}"
        raise ValueError(f"{shapes}, expected [T·K / hold, B, N] and [T, B]")
    if ticks < 1 or hold < 1:
        raise ValueError(f"ticks is {ticks} and hold is {hold}, expected at least 1")
    if reset.dtype is not torch.bool or reset.device != drive.device:
        raise ValueError(
            f"reset is of {reset.dtype} on {reset.device}, expected torch.bool on the drive's {drive.device}"
        )
    decisions, batch = reset.shape
    if shape[0] * hold != decisions * ticks or shape[1] != batch:
        raise ValueError(
            f"drive has shape {tuple(shape)} held for {hold}, expected [T·K / hold, B, N] with T={decisions}, "
            f"K={ticks}, B={batch}"
        )
    row = shape[1:]
    if any([x.shape != row for x in state if isinstance(x, Tensor)]):
        for name, x in state._asdict().items():
            if name in PER_NEURON and isinstance(x, Tensor) and x.shape != row:
                raise ValueError(
                    f"state.{name} has shape {tuple(x.shape)}, expected [B, N] = {tuple(row)}"
                )
    if state.v.device != drive.device:
        raise ValueError(f"state.v is on {state.v.device}, but the drive on {drive.device}")
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"no kernel backend called {backend!r}; known: {', '.join(BACKENDS)}")
