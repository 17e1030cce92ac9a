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

import triton
import triton.language as tl
from torch import Tensor

from bio_rl.kernels.backends import FORMS
from bio_rl.kernels.plastic import Synapses, settle
from bio_rl.kernels.triton import toolbox

TILE = 2048
"""Synapses of a tile: 16 to a thread."""
PROGRAMS = 1024
"""Programs that fill a GPU."""


def run(s: Synapses) -> None:
    """See `kernels.plastic.plastic_step`. Raises ValueError for a device or dtype that the kernels
    do not run on.
    """
    toolbox.check("synapses", s.e, FORMS["plastic"]["triton"])
    # what both kernels read, in the order of their arguments
    inputs = (s.x, s.signal, s.modulator)
    inputs = tuple([x.contiguous() for x in inputs])
    if s.groups == len(s.e):
        _step_each(s, inputs)
        return
    change = _sum_blocks(s, inputs)
    settle(s, change)


def _number(x: float | Tensor) -> tuple[Tensor | None, float]:
    """(numbers, or none; the number that stands for all of them)."""
    if isinstance(x, Tensor):
        return x.contiguous(), 0.0
    return None, float(x)


def _flags(s: Synapses) -> dict[str, Any]:
    """The constants that a kernel is compiled for."""
    _, post, pre = s.e.shape
    columns = min(triton.next_power_of_2(pre), 256)
    return {
        "PER_NEURON": s.modulator.dim() == 2,
        "LRS": isinstance(s.lr, Tensor),
        "DECAYS": isinstance(s.decay, Tensor),
        "ROWS": min(triton.next_power_of_2(post), TILE // columns),
        "COLUMNS": columns,
    }


def _step_each(s: Synapses, inputs: tuple[Tensor, ...]) -> None:
    """The step where every row has weights of its own."""
    batch, post, pre = s.e.shape
    flags = _flags(s)
    lrs, lr = _number(s.lr)
    decays, decay = _number(s.decay)
    w_min = -math.inf if s.w_min is None else float(s.w_min)
    w_max = math.inf if s.w_max is None else float(s.w_max)
    tensors = (s.w, s.e, *inputs, s.x_next.contiguous(), s.y, lrs, decays)
    numbers = (lr, decay, w_min, w_max, post, pre)
    # a program for each row of the batch and each tile of its neurons
    grid = (batch * triton.cdiv(post, flags["ROWS"]),)
    toolbox.launch(step_each, grid, *tensors, *numbers, **flags)


def _sum_blocks(s: Synapses, inputs: tuple[Tensor, ...]) -> Tensor:
    """The change [G, post, pre] of weights that the rows of a block share; eligibilities are
    written.
    """
    batch, post, pre = s.e.shape
    groups = s.groups
    rows = batch // groups
    flags = _flags(s)
    lrs, lr = _number(s.lr)
    decays, decay = _number(s.decay)
    tiles = triton.cdiv(post, flags["ROWS"]) * triton.cdiv(pre, flags["COLUMNS"])
    # rows of a block are shared out where there are too few tiles to fill a GPU
    share = triton.cdiv(rows, max(1, PROGRAMS // (tiles * groups)))
    part = s.e.new_empty(triton.cdiv(rows, share), groups, post, pre)
    tensors = (part, s.e, *inputs, lrs, decays)
    numbers = (lr, decay, rows, groups, post, pre, share)
    grid = (tiles * groups, len(part))
    toolbox.launch(sum_blocks, grid, *tensors, *numbers, **flags)
    return part.sum(0)


# ---------------------------------- the kernels


@triton.jit
def _eligibility(
    e_ptr, x_ptr, signal_ptr, decay_ptr, decay, b, j, i, inside, post, pre, DECAYS: tl.constexpr
):
    """The new eligibility of synapses j [ROWS], i [COLUMNS] of batch row b, which is written."""
    # [ROWS, COLUMNS] places in [B, post, pre], which may be more than 32 bits can count
    neuron = tl.cast(b, tl.int64) * post + j
    at = neuron[:, None] * pre + i[None, :]
    if DECAYS:
        decay = tl.load(decay_ptr + b)
    old = tl.load(e_ptr + at, mask=inside, other=0.0)
    signal = tl.load(signal_ptr + b * post + j, mask=j < post, other=0.0)
    x = tl.load(x_ptr + b * pre + i, mask=i < pre, other=0.0)
    new = decay * old + signal[:, None] * x[None, :]
    tl.store(e_ptr + at, new, mask=inside)
    return new


@triton.jit
def _gate(modulator_ptr, lr_ptr, lr, b, j, post, PER_NEURON: tl.constexpr, LRS: tl.constexpr):
    """η_j m_j of neurons j [ROWS] of batch row b."""
    inside = j < post
    # modulator [B, post] or [B]: then all neurons of a row read one number
    at = b * post + j if PER_NEURON else b + 0 * j
    if LRS:
        lr = tl.load(lr_ptr + j, mask=inside, other=0.0)
    modulator = tl.load(modulator_ptr + at, mask=inside, other=0.0)
    return lr * modulator


@triton.jit
def step_each(
    w_ptr,
    e_ptr,
    x_ptr,
    signal_ptr,
    modulator_ptr,
    x_next_ptr,
    y_ptr,
    lr_ptr,
    decay_ptr,
    lr,
    decay,
    w_min,
    w_max,
    post,
    pre,
    PER_NEURON: tl.constexpr,
    LRS: tl.constexpr,
    DECAYS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """ROWS neurons with weights of their own. Shapes as `plastic_step` has them; w, e and y are
    written.
    """
    # programs lie as [B, post / ROWS]
    blocks = tl.cdiv(post, ROWS)
    b = tl.program_id(0) // blocks
    j = tl.program_id(0) % blocks * ROWS + tl.arange(0, ROWS)
    gate = _gate(modulator_ptr, lr_ptr, lr, b, j, post, PER_NEURON, LRS)
    y = tl.zeros([ROWS], tl.float32)
    for left in range(0, pre, COLUMNS):
        i = left + tl.arange(0, COLUMNS)
        inside = (j < post)[:, None] & (i < pre)[None, :]
        at = (tl.cast(b, tl.int64) * post + j)[:, None] * pre + i[None, :]
        w = tl.load(w_ptr + at, mask=inside, other=0.0)
        e = _eligibility(
            e_ptr, x_ptr, signal_ptr, decay_ptr, decay, b, j, i, inside, post, pre, DECAYS
        )
        w += gate[:, None] * e
        # not maximum and minimum, which lose a NaN
        w = tl.where(w < w_min, w_min, w)
        w = tl.where(w > w_max, w_max, w)
        tl.store(w_ptr + at, w, mask=inside)
        x_next = tl.load(x_next_ptr + b * pre + i, mask=i < pre, other=0.0)
        y += tl.sum(w * x_next[None, :], 1)
    tl.store(y_ptr + b * post + j, y, mask=j < post)


@triton.jit(do_not_specialize=["rows", "groups", "share"])
def sum_blocks(
    part_ptr,
    e_ptr,
    x_ptr,
    signal_ptr,
    modulator_ptr,
    lr_ptr,
    decay_ptr,
    lr,
    decay,
    rows,
    groups,
    post,
    pre,
    share,
    PER_NEURON: tl.constexpr,
    LRS: tl.constexpr,
    DECAYS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A tile of group g through `share` of the rows of its block; e is written, and the changes'
    sum to part [parts, G, post, pre].
    """
    # programs lie as [G, post / ROWS, pre / COLUMNS] x [parts]
    across = tl.cdiv(pre, COLUMNS)
    tiles = tl.cdiv(post, ROWS) * across
    g = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    part = tl.program_id(1)
    j = tile // across * ROWS + tl.arange(0, ROWS)
    i = tile % across * COLUMNS + tl.arange(0, COLUMNS)
    inside = (j < post)[:, None] & (i < pre)[None, :]
    change = tl.zeros([ROWS, COLUMNS], tl.float32)
    for k in range(part * share, tl.minimum((part + 1) * share, rows)):
        b = g * rows + k
        e = _eligibility(
            e_ptr, x_ptr, signal_ptr, decay_ptr, decay, b, j, i, inside, post, pre, DECAYS
        )
        gate = _gate(modulator_ptr, lr_ptr, lr, b, j, post, PER_NEURON, LRS)
        change += gate[:, None] * e
    at = (tl.cast(part * groups + g, tl.int64) * post + j)[:, None] * pre + i[None, :]
    tl.store(part_ptr + at, change, mask=inside)
