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


class Decision(NamedTuple):
    """All that the course of a decision depends on."""

    p: ALIF
    s: ALIFState
    z: Tensor
    """[B, N] spikes of the tick before."""
    x: Tensor
    """[B, N] their leaky count."""
    current: Tensor
    """[B, N]"""
    inside: Tensor | None
    """[post, pre] W; None where neurons do not meet."""
    jump: float
    keep: float
    """κ."""
    ticks: int
    """K."""
    dt: float
    """ms of a tick."""


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
    """The course of one decision; see `Decision` for the arguments.

    The torch reference runs where gradients are wanted, where Numba does not run
    (`backends.pick`), and for neurons that are not the network's own; backend: to insist. Raises
    ValueError for shapes that do not fit, and for what a backend does not run.
    """
    d = Decision(p, s, z, x, current, inside, jump, keep, ticks, dt)
    chosen = _chosen(p, _check(d), current, backend)
    run = reference if chosen == "torch" else form("lsnn", chosen).run
    return run(d)


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


def reference(d: Decision) -> Ticks:
    """The equations, an operation at a time."""
    s = d.s
    z = d.z
    x = d.x
    spikes = []
    over = []
    membranes = []
    columns = None if d.inside is None else d.jump * d.inside.T
    for _ in range(d.ticks):
        drive = d.current
        if columns is not None:
            # the spikes of the tick before, through the weights [pre, post]
            drive = torch.addmm(d.current, z, columns)
        z, s, distance = d.p.observed(s, drive, d.dt)
        x = d.keep * x + z
        spikes.append(z)
        over.append(distance)
        membranes.append(s.v)
    return Ticks(s, x, torch.stack(spikes), torch.stack(over), torch.stack(membranes))


def obstacle(p: ALIF, tensors: list[Tensor]) -> str:
    """Why the compiled loop does not run these neurons and tensors, nothing where it does."""
    if transformed():
        return "a function transform, torch.func, is active"
    # The loop's membranes go on while they cannot spike, and its reset is soft.
    if isinstance(p.tau_refractory, Tensor) or not p.tau_refractory > 0 or p.v_reset is not None:
        return "it is for neurons with a refractory period whose reset subtracts the threshold"
    for name, constant in zip(p._fields, p, strict=True):
        if isinstance(constant, Tensor) and name != "beta":
            return "no constant but beta may differ between neurons or learn"
    if any([t.dtype is not torch.float32 or not t.is_cpu for t in tensors]):
        kinds = sorted({f"{t.dtype} on {t.device}" for t in tensors})
        return f"it is for torch.float32 on cpu, got {kinds}"
    return ""


def _check(d: Decision) -> list[Tensor]:
    """All tensors of a call. Raises ValueError for shapes that do not fit."""
    shape = d.current.shape
    if d.ticks < 1 or len(shape) != 2:
        met = f"current has shape {tuple(shape)} for {d.ticks} ticks"
        raise ValueError(f"{met}, expected [B, N] and at least 1")
    tensors = [d.current, d.z, d.x, d.s.v, d.s.a, *_refractory(d.p, d.s)]
    # Most calls fit, and are not slowed down by names.
    if any([t.shape != shape for t in tensors]):
        names = ("current", "z", "x", "v", "a", "refractory")
        _refuse(zip(names, tensors, strict=False), shape)
    if d.inside is not None:
        tensors.append(d.inside)
        _refuse([("inside", d.inside)], shape[1:] * 2)
    beta = d.p.beta
    if isinstance(beta, Tensor):
        tensors.append(beta)
        _refuse([("beta", beta)], shape[1:] if beta.dim() else ())
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
