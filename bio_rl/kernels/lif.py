"""The LIF time loop: many ticks in one call, resets inside, forward and backward.

A call covers T decisions of K ticks each. The drive either changes every tick (`hold=1`, [T·K, B, N]) or is a static
input held for the K ticks of a decision (`hold=K`, [T, B, N]), so that its matrix product is computed once and not K times.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bio_rl.kernels import BACKENDS, default_backend
from bio_rl.neurons.lif import LIF, LIFState, step


def lif_unroll(
    p: LIF,
    state: LIFState,
    drive: Tensor,
    reset: Tensor,
    *,
    ticks: int,
    hold: int = 1,
    readout: float | None = None,
    dt: float = 1.0,
    backend: str | None = None,
) -> tuple[Tensor, LIFState]:
    """Spikes [T·ticks, B, N], or with a `readout` the leaky average of each decision's [T, B, N]; and the state after them.

    state.v [B, N]; drive [T·ticks / hold, B, N], each row held for `hold` ticks; reset [T, B] bool: the membrane of that
    row starts decision t at rest. backend: torch (the reference) or numba; None takes the device's default.
    """
    decisions, batch = reset.shape
    if drive.shape[0] * hold != decisions * ticks or drive.shape[1] != batch:
        raise ValueError(
            f"drive has shape {tuple(drive.shape)} held for {hold}, expected [T·K / hold, B, N] with T={decisions}, "
            f"K={ticks}, B={batch}"
        )
    if state.v.shape != drive.shape[1:]:
        raise ValueError(f"state.v has shape {tuple(state.v.shape)}, expected [B, N] = {tuple(drive.shape[1:])}")
    backend = backend or default_backend(drive.device.type)
    if backend == "torch":
        spikes, state = _reference(p, state, drive, reset, ticks, hold, dt)
        return (spikes if readout is None else leaky_average(spikes, ticks, readout)), state
    if backend == "numba":
        from bio_rl.kernels import _lif_numba

        span, keep = (1, 0.0) if readout is None else (ticks, readout)
        out, v = _lif_numba.LIFUnroll.apply(drive, state.v, reset, p, ticks, hold, span, keep, dt)  # type: ignore[misc]
        return (out if readout is None else out / _weight(ticks, keep)), LIFState(v)
    raise ValueError(f"no kernel backend called {backend!r}; known: {', '.join(BACKENDS)}")


def leaky_average(spikes: Tensor, ticks: int, keep: float) -> Tensor:
    """Leaky integrals of the spikes [T·K, B, N] of each decision, y ← κ y + z, in units of their largest value: [T, B, N].

    κ = `keep`: 1 gives the firing rate; below it, late spikes weigh more, so that K ticks can say up to 2^K values, not K+1.
    """
    y = torch.zeros_like(spikes[::ticks])
    for z in spikes.unflatten(0, (-1, ticks)).unbind(1):
        y = keep * y + z
    return y / _weight(ticks, keep)


def _weight(ticks: int, keep: float) -> float:
    return sum(keep**k for k in range(ticks))


def _reference(
    p: LIF, state: LIFState, drive: Tensor, reset: Tensor, ticks: int, hold: int, dt: float
) -> tuple[Tensor, LIFState]:
    """The readable loop over `neurons.lif.step`."""
    spikes = []
    for s in range(drive.shape[0] * hold):
        if s % ticks == 0:
            state = LIFState(torch.where(reset[s // ticks, :, None], p.v_leak, state.v))
        z, state = step(p, state, drive[s // hold], dt)
        spikes.append(z)
    return torch.stack(spikes), state
