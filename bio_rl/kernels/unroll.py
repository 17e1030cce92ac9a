"""The time loop of a neuron: many ticks in one call, resets inside, forward and backward.

A call covers T decisions of K ticks each. The drive either changes every tick (`hold=1`, [T·K, B, N]) or is a static
input held for the K ticks of a decision (`hold=K`, [T, B, N]), so that its matrix product is computed once and not K times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bio_rl.kernels import BACKENDS, default_backend, fused
from bio_rl.neurons import Neuron, reset_rows
from bio_rl.types import State


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
    """Spikes [T·ticks, B, N], or with a `readout` the leaky average of each decision's [T, B, N]; and the state after them.

    p: any neuron; state: its own, [B, N] a field; drive [T·ticks / hold, B, N], each row held for `hold` ticks; reset [T, B]
    bool: that row starts decision t at rest. backend: torch (the reference), numba or triton; None takes the device's default.
    Raises ValueError for shapes that do not fit, an unknown backend, or one that has no fused loop for this neuron.
    """
    _check(state, drive, reset, ticks, hold, backend)
    if backend is None:
        backend = default_backend(drive.device.type) if hasattr(p, "core") else "torch"
    if backend == "torch":
        spikes, _, state = trace(p, state, drive, reset, ticks=ticks, hold=hold, dt=dt)
        return (spikes if readout is None else leaky_average(spikes, ticks, readout)), state
    if not hasattr(p, "core"):
        raise ValueError(f"{type(p).__name__} has no fused time loop for backend {backend!r}; known for it: torch")
    core = p.core(dt)
    if isinstance(core.decay, Tensor) and len([x for x in state if isinstance(x, Tensor)]) > 1:
        known = "a decay is learned of a membrane alone in the fused loops, beside other state in torch"
        raise ValueError(f"{type(p).__name__} with the state {state._fields} and backend {backend!r}: {known}")
    span, keep = (1, 0.0) if readout is None else (ticks, readout)
    out, state = fused(backend).run(core, state, drive, reset, ticks, hold, span, keep, dt)
    return (out if readout is None else out * (1.0 / _weight(ticks, keep))), state


def trace(
    p: Neuron, state: State, drive: Tensor, reset: Tensor, *, ticks: int, hold: int = 1, dt: float = 1.0
) -> tuple[Tensor, Tensor, Any]:
    """The reference, the readable loop over `p.step`: (spikes, membranes after each tick [T·ticks, B, N], final state)."""
    spikes, membranes = [], []
    for s in range(drive.shape[0] * hold):
        if s % ticks == 0:
            state = reset_rows(p, reset[s // ticks], state)
        z, state = p.step(state, drive[s // hold], dt)
        spikes.append(z)
        membranes.append(state.v)
    return torch.stack(spikes), torch.stack(membranes), state


def leaky_average(spikes: Tensor, ticks: int, keep: float) -> Tensor:
    """Leaky integrals of the spikes [T·K, B, N] of each decision, y ← κ y + z, in units of their largest value: [T, B, N].

    κ = `keep`: 1 gives the firing rate; below it, late spikes weigh more, so that K ticks can say up to 2^K values, not K+1.
    """
    y = torch.zeros_like(spikes[::ticks])
    for z in spikes.unflatten(0, (-1, ticks)).unbind(1):
        y = keep * y + z
    return y * (1.0 / _weight(ticks, keep))


def _weight(ticks: int, keep: float) -> float:
    return sum(keep**k for k in range(ticks))


def _check(state: State, drive: Tensor, reset: Tensor, ticks: int, hold: int, backend: str | None) -> None:
    decisions, batch = reset.shape
    if drive.shape[0] * hold != decisions * ticks or drive.shape[1] != batch:
        raise ValueError(
            f"drive has shape {tuple(drive.shape)} held for {hold}, expected [T·K / hold, B, N] with T={decisions}, "
            f"K={ticks}, B={batch}"
        )
    if state.v.shape != drive.shape[1:]:
        raise ValueError(f"state.v has shape {tuple(state.v.shape)}, expected [B, N] = {tuple(drive.shape[1:])}")
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"no kernel backend called {backend!r}; known: {', '.join(BACKENDS)}")
