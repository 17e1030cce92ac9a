"""The K ticks of a decision of recurrent ALIF neurons under a current that is held.

    drive = current + jump · W z        z, v, a: neurons.alif        x ← κ x + z

A product at every tick, of a matrix with few spikes: the Numba loop adds the weights of those
neurons that spiked.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.kernels import suited
from bio_rl.modes import transformed
from bio_rl.neurons import some
from bio_rl.neurons.alif import ALIF, ALIFState


class Ticks(NamedTuple):
    neurons: ALIFState
    x: Tensor
    """[B, N] the leaky count of spikes after the last tick."""
    spikes: Tensor
    """[K, B, N]"""
    over: Tensor
    """[K, B, N] by how much membranes exceeded thresholds; -∞ where a neuron could not spike."""
    membranes: Tensor
    """[K, B, N] after each tick."""


def decision(
    p: ALIF, s: ALIFState, z: Tensor, x: Tensor, current: Tensor, inside: Tensor | None,
    *, jump: float, keep: float, ticks: int, dt: float, backend: str | None = None,
) -> Ticks:  # fmt: skip
    """z [B, N], spikes of the tick before; x [B, N]; current [B, N]; inside [post, pre], None where
    neurons do not meet.

    The torch reference runs where gradients are wanted, where Numba does not run
    (`kernels.suited`), and for neurons that are not the network's own; backend: to insist. Raises
    ValueError for shapes that do not fit, and for what a backend does not run.
    """
    given = _check(p, s, z, x, current, inside, ticks)
    if backend is None:
        wanted = torch.is_grad_enabled() and any([t.requires_grad for t in given])
        fused = not wanted and not obstacle(p, given)
        backend = "numba" if fused and suited(current) == "numba" else "torch"
    elif backend not in ("torch", "numba"):
        raise ValueError(
            f"no kernel backend called {backend!r} for these ticks; known: torch, numba"
        )
    if backend == "numba":
        if why := obstacle(p, given):
            raise ValueError(f"backend 'numba' does not run these ticks: {why}")
        module = importlib.import_module("bio_rl.kernels.numba.eprop")
        return Ticks(*module.decision(p, s, z, x, current, inside, jump, keep, ticks, dt))
    spikes, over, membranes = [], [], []
    columns = None if inside is None else jump * inside.T
    for _ in range(ticks):
        drive = current if columns is None else torch.addmm(current, z, columns)
        z, s, distance = p.observed(s, drive, dt)
        x = keep * x + z
        spikes.append(z)
        over.append(distance)
        membranes.append(s.v)
    return Ticks(s, x, torch.stack(spikes), torch.stack(over), torch.stack(membranes))


def obstacle(p: ALIF, given: list[Tensor]) -> str:
    """Why the compiled loop does not run these neurons and tensors, nothing where it does."""
    if transformed():
        return "a function transform, torch.func, is active"
    if isinstance(p.tau_refractory, Tensor) or not p.tau_refractory > 0 or p.v_reset is not None:
        return "it is for neurons with a refractory period whose reset subtracts the threshold"
    if any([isinstance(x, Tensor) for name, x in zip(p._fields, p, strict=True) if name != "beta"]):
        return "no constant but beta may differ between neurons or learn"
    if any([t.dtype is not torch.float32 or not t.is_cpu for t in given]):
        return f"it is for torch.float32 on cpu, got {sorted({f'{t.dtype} on {t.device}' for t in given})}"
    return ""


def _check(
    p: ALIF, s: ALIFState, z: Tensor, x: Tensor, current: Tensor, inside: Tensor | None, ticks: int
) -> list[Tensor]:
    """All tensors of a call. Raises ValueError for shapes that do not fit."""
    shape = current.shape
    if ticks < 1 or len(shape) != 2:
        raise ValueError(
            f"current has shape {tuple(shape)} for {ticks} ticks, expected [B, N] and at least 1"
        )
    given = [current, z, x, s.v, s.a]
    if isinstance(s.refractory, Tensor):
        given.append(s.refractory)
    elif some(p.tau_refractory):
        raise ValueError(
            "the state has no refractory, but the neurons have a refractory period; begin with p.init(B, N)"
        )
    if any([t.shape != shape for t in given]):
        _refuse(zip(("current", "z", "x", "v", "a", "refractory"), given, strict=False), shape)
    if inside is not None:
        given.append(inside)
        _refuse([("inside", inside)], shape[1:] * 2)
    if isinstance(p.beta, Tensor):
        given.append(p.beta)
        _refuse([("beta", p.beta)], shape[1:] if p.beta.dim() else ())
    return given


def _refuse(tensors: Iterable[tuple[str, Tensor]], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless all are of this shape."""
    for name, tensor in tensors:
        if tensor.shape != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(shape)}")
