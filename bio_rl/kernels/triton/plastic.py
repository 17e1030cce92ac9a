"""The step of plastic synapses fused for GPUs with Triton: w and e are read once and written once.

A program takes ROWS neurons of one batch row, with all their pre synapses in turn, COLUMNS at a
time, and so has their next product when it is done. Shared weights change by a sum over batch rows
first: a program takes one tile of a group's synapses through a share of the rows that use it, and
leaves its part of the sum; parts are added up in the same order every time.

It runs on CUDA tensors; on CPU tensors only in Triton's interpreter (TRITON_INTERPRET=1), which is
for tests.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from bio_rl.kernels.plastic import settle

_TILE = 2048
"""Synapses of a tile: 16 to a thread."""
_PROGRAMS = 1024
"""That fill a GPU."""


@triton.jit
def _eligibility(
    e_ptr, x_ptr, signal_ptr, decay_ptr, decay, b, j, i, here, post, pre, DECAYS: tl.constexpr
):
    """The new eligibility of synapses j [ROWS], i [COLUMNS] of batch row b, which is written."""
    at = (tl.cast(b, tl.int64) * post + j)[:, None] * pre + i[None, :]
    if DECAYS:
        decay = tl.load(decay_ptr + b)
    old = tl.load(e_ptr + at, mask=here, other=0.0)
    signal = tl.load(signal_ptr + b * post + j, mask=j < post, other=0.0)
    x = tl.load(x_ptr + b * pre + i, mask=i < pre, other=0.0)
    new = decay * old + signal[:, None] * x[None, :]
    tl.store(e_ptr + at, new, mask=here)
    return new


@triton.jit
def _gate(modulator_ptr, lr_ptr, lr, b, j, post, EACH: tl.constexpr, LRS: tl.constexpr):
    """η_j m_j of neurons j [ROWS] of batch row b."""
    at = b * post + j if EACH else b + 0 * j
    if LRS:
        lr = tl.load(lr_ptr + j, mask=j < post, other=0.0)
    return lr * tl.load(modulator_ptr + at, mask=j < post, other=0.0)


@triton.jit
def _own(
    w_ptr, e_ptr, x_ptr, signal_ptr, modulator_ptr, x_next_ptr, y_ptr, lr_ptr, decay_ptr, lr, decay, w_min, w_max, post, pre,
    EACH: tl.constexpr, LRS: tl.constexpr, DECAYS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """ROWS neurons with weights of their own. Shapes as `plastic_step` has them; w, e and y are
    written.
    """
    blocks = tl.cdiv(post, ROWS)
    b, j = tl.program_id(0) // blocks, tl.program_id(0) % blocks * ROWS + tl.arange(0, ROWS)
    gate = _gate(modulator_ptr, lr_ptr, lr, b, j, post, EACH, LRS)
    y = tl.zeros([ROWS], tl.float32)
    for left in range(0, pre, COLUMNS):
        i = left + tl.arange(0, COLUMNS)
        here = (j < post)[:, None] & (i < pre)[None, :]
        at = (tl.cast(b, tl.int64) * post + j)[:, None] * pre + i[None, :]
        w = tl.load(w_ptr + at, mask=here, other=0.0)
        w += gate[:, None] * _eligibility(
            e_ptr, x_ptr, signal_ptr, decay_ptr, decay, b, j, i, here, post, pre, DECAYS
        )
        w = tl.where(w < w_min, w_min, w)  # not maximum and minimum, which lose a NaN
        w = tl.where(w > w_max, w_max, w)
        tl.store(w_ptr + at, w, mask=here)
        y += tl.sum(w * tl.load(x_next_ptr + b * pre + i, mask=i < pre, other=0.0)[None, :], 1)
    tl.store(y_ptr + b * post + j, y, mask=j < post)


@triton.jit(do_not_specialize=["batch", "groups", "share"])
def _shared(
    part_ptr, e_ptr, x_ptr, signal_ptr, modulator_ptr, lr_ptr, decay_ptr, lr, decay, batch, groups, post, pre, share,
    EACH: tl.constexpr, LRS: tl.constexpr, DECAYS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A tile of group g through `share` of its batch rows; e is written, and the changes' sum to
    part [parts, G, post, pre].
    """
    across = tl.cdiv(pre, COLUMNS)
    tiles, part = tl.cdiv(post, ROWS) * across, tl.program_id(1)
    g, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    j = tile // across * ROWS + tl.arange(0, ROWS)
    i = tile % across * COLUMNS + tl.arange(0, COLUMNS)
    here = (j < post)[:, None] & (i < pre)[None, :]
    change = tl.zeros([ROWS, COLUMNS], tl.float32)
    rows = batch // groups
    for k in range(part * share, tl.minimum((part + 1) * share, rows)):
        b = g * rows + k
        e = _eligibility(
            e_ptr, x_ptr, signal_ptr, decay_ptr, decay, b, j, i, here, post, pre, DECAYS
        )
        change += _gate(modulator_ptr, lr_ptr, lr, b, j, post, EACH, LRS)[:, None] * e
    at = (tl.cast(part * groups + g, tl.int64) * post + j)[:, None] * pre + i[None, :]
    tl.store(part_ptr + at, change, mask=here)


_INTERPRETED = not isinstance(_own, triton.JITFunction)


def run(
    w: Tensor, e: Tensor, x: Tensor, signal: Tensor, modulator: Tensor, x_next: Tensor, lr: float | Tensor,
    decay: float | Tensor, w_min: float | None, w_max: float | None, out: Tensor,
) -> Tensor:  # fmt: skip
    """See `kernels.plastic.plastic_step`. Raises ValueError for a device or dtype that the kernels
    do not run on.
    """
    if e.dtype != torch.float32 or (e.is_cpu and not _INTERPRETED):
        raise ValueError(
            f"backend 'triton' got synapses of {e.dtype} on {e.device}; known: torch.float32 on cuda, or on cpu with "
            "TRITON_INTERPRET=1 set before its first use for Triton's slow interpreter"
        )
    batch, post, pre = e.shape
    groups = w.shape[0] if w.dim() == 3 else 1
    flags: dict[str, Any] = {
        "EACH": modulator.dim() == 2,
        "LRS": isinstance(lr, Tensor),
        "DECAYS": isinstance(decay, Tensor),
    }
    flags["COLUMNS"] = min(triton.next_power_of_2(pre), 256)
    flags["ROWS"] = min(triton.next_power_of_2(post), _TILE // flags["COLUMNS"])
    lrs, lr = (lr.contiguous(), 0.0) if isinstance(lr, Tensor) else (None, float(lr))
    decays, decay = (decay.contiguous(), 0.0) if isinstance(decay, Tensor) else (None, float(decay))
    x, signal, modulator, x_next = (
        tensor.contiguous() for tensor in (x, signal, modulator, x_next)
    )
    down = triton.cdiv(post, flags["ROWS"])
    with torch.cuda.device_of(e):
        if groups == batch:
            launch: Any = _own[(batch * down,)]
            w_min, w_max = (
                (-math.inf if w_min is None else float(w_min)),
                (math.inf if w_max is None else float(w_max)),
            )
            launch(
                w,
                e,
                x,
                signal,
                modulator,
                x_next,
                out,
                lrs,
                decays,
                lr,
                decay,
                w_min,
                w_max,
                post,
                pre,
                **flags,
            )
            return out
        tiles = down * triton.cdiv(pre, flags["COLUMNS"])
        share = triton.cdiv(batch // groups, max(1, _PROGRAMS // (tiles * groups)))
        part = e.new_empty(triton.cdiv(batch // groups, share), groups, post, pre)
        launch = _shared[(tiles * groups, len(part))]
        launch(
            part,
            e,
            x,
            signal,
            modulator,
            lrs,
            decays,
            lr,
            decay,
            batch,
            groups,
            post,
            pre,
            share,
            **flags,
        )
    return settle(w.view(groups, post, pre), part.sum(0), w_min, w_max, x_next, out)
