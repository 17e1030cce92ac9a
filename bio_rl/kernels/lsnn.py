"""The K ticks of a decision of recurrent ALIF neurons under a current that is held.

    drive = current + jump · W z        z, v, a: neurons.alif        x ← κ x + z

A product at every tick, of a matrix with few spikes: the Numba loop adds the weights of those
neurons that spiked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.kernels.backends import checked, form, pick
from bio_rl.modes import transformed
from bio_rl.neurons import some
from bio_rl.neurons.alif import ALIF, ALIFState


class Ticks(NamedTuple):
    """The neurons after the K ticks of a decision, and their course."""

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
    p: ALIF,
    s: ALIFState,
    z: Tensor,
    x: Tensor,
    current: Tensor,
    inside: Tensor | None,
    *,
    jump: float,
    keep: float,
    ticks: int,
    dt: float,
    backend: str | None = None,
) -> Ticks:
    """The course of one decision. z [B, N], spikes of the tick before; x [B, N]; current [B, N];
    inside [post, pre], None where neurons do not meet.

    The torch reference runs where gradients are wanted, where Numba does not run
    (`backends.pick`), and for neurons that are not the network's own; backend: to insist. Raises
    ValueError for shapes that do not fit, and for what a backend does not run.
    """
    tensors = _check(p, s, z, x, current, inside, ticks)
    chosen = _chosen(p, tensors, current, backend)
    if chosen == "torch":
        return reference(p, s, z, x, current, inside, jump, keep, ticks, dt)
    return form("lsnn", chosen).run(p, s, z, x, current, inside, jump, keep, ticks, dt)


def _chosen(p: ALIF, tensors: list[Tensor], current: Tensor, backend: str | None) -> str:
    """The backend that runs. Raises ValueError for one that is asked for and does not run this."""
    if backend is None:
        wants_grad = torch.is_grad_enabled() and any([t.requires_grad for t in tensors])
        if wants_grad or obstacle(p, tensors):
            return "torch"
        return pick("lsnn", current)
    if checked("lsnn", backend) != "torch":
        why = obstacle(p, tensors)
        if why:
            raise ValueError(f"backend {backend!r} does not run these ticks: {why}")
    return backend


def reference(
    p: ALIF,
    s: ALIFState,
    z: Tensor,
    x: Tensor,
    current: Tensor,
    inside: Tensor | None,
    jump: float,
    keep: float,
    ticks: int,
    dt: float,
) -> Ticks:
    """The equations, an operation at a time; arguments as `decision` takes them."""
    spikes = []
    over = []
    membranes = []
    columns = None if inside is None else jump * inside.T
    for _ in range(ticks):
        drive = current if columns is None else torch.addmm(current, z, columns)
        z, s, distance = p.observed(s, drive, dt)
        x = keep * x + z
        spikes.append(z)
        over.append(distance)
        membranes.append(s.v)
    return Ticks(s, x, torch.stack(spikes), torch.stack(over), torch.stack(membranes))


def obstacle(p: ALIF, tensors: list[Tensor]) -> str:
    """Why the compiled loop does not run these neurons and tensors, nothing where it does."""
    if transformed():
        return "a function transform, torch.func, is active"
    if isinstance(p.tau_refractory, Tensor) or not p.tau_refractory > 0 or p.v_reset is not None:
        return "it is for neurons with a refractory period whose reset subtracts the threshold"
    for name, constant in zip(p._fields, p, strict=True):
        if isinstance(constant, Tensor) and name != "beta":
            return "no constant but beta may differ between neurons or learn"
    if any([t.dtype is not torch.float32 or not t.is_cpu for t in tensors]):
        kinds = sorted({f"{t.dtype} on {t.device}" for t in tensors})
        return f"it is for torch.float32 on cpu, got {kinds}"
    return ""


def _check(
    p: ALIF,
    s: ALIFState,
    z: Tensor,
    x: Tensor,
    current: Tensor,
    inside: Tensor | None,
    ticks: int,
) -> list[Tensor]:
    """All tensors of a call. Raises ValueError for shapes that do not fit."""
    shape = current.shape
    if ticks < 1 or len(shape) != 2:
        raise ValueError(
            f"current has shape {tuple(shape)} for {ticks} ticks, expected [B, N] and at least 1"
        )
    tensors = [current, z, x, s.v, s.a, *_refractory(p, s)]
    if any([t.shape != shape for t in tensors]):
        names = ("current", "z", "x", "v", "a", "refractory")
        _refuse(zip(names, tensors, strict=False), shape)
    if inside is not None:
        tensors.append(inside)
        _refuse([("inside", inside)], shape[1:] * 2)
    if isinstance(p.beta, Tensor):
        tensors.append(p.beta)
        _refuse([("beta", p.beta)], shape[1:] if p.beta.dim() else ())
    return tensors


def _refractory(p: ALIF, s: ALIFState) -> list[Tensor]:
    """The refractory times, where there are any. Raises ValueError where they are missing."""
    if isinstance(s.refractory, Tensor):
        return [s.refractory]
    if some(p.tau_refractory):
        raise ValueError(
            "the state has no refractory, but the neurons have a refractory period; "
            "begin with p.init(B, N)"
        )
    return []


def _refuse(tensors: Iterable[tuple[str, Tensor]], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless all are of this shape."""
    for name, tensor in tensors:
        if tensor.shape != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(shape)}")
