"""The step of plastic synapses fused for the CPU with Numba: w and e are read once and written
once.

A neuron's row of w and of e, its pre synapses, is one loop over vectors that also sums its next
product. All rows that see the same input are one call: the test that no arrays overlap takes as
long as a row of 64. Shared weights change by a sum over a block's rows: one pass over e, in parts
that depend on the sizes and not on the number of threads, then the sum of the parts and the
products, neuron by neuron. All tensors are addresses; see `numba.memory`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bio_rl.kernels.numba import memory, threads
from bio_rl.kernels.numba.compile import fast_loop
from bio_rl.kernels.numba.memory import number, part
from bio_rl.kernels.plastic import Synapses

WORTH = 1 << 20
"""Synapses that are worth a part of the sum over rows of its own."""
PARTS = 16
"""Most parts of such a sum: they are memory that is added up again."""


def run(s: Synapses) -> None:
    """See `kernels.plastic.plastic_step`. Raises ValueError for a device or dtype that the loops do
    not run on.
    """
    w, e, x, signal, modulator, x_next, y, lr, decay, w_min, w_max = s
    memory.check("synapses", (e,))
    batch, post, pre = e.shape
    groups = s.groups
    # A copy that is made here has to live until the loops are done with its address.
    lrs, lr = _number(lr)
    decays, decay = _number(decay)
    inputs = [tensor.contiguous() for tensor in (x, signal, modulator, x_next)]
    ins = [tensor.data_ptr() for tensor in inputs]
    rates = (memory.address(lrs), memory.address(decays))
    arrays = (w.data_ptr(), e.data_ptr(), *ins, y.data_ptr(), *rates)
    shape = (batch, groups, post, pre)
    # 0 for a modulator of each row, 1 for one of each neuron
    per_neuron = modulator.dim() - 1
    factors = (per_neuron, lr, decay)
    bounds = _bounds(w_min, w_max)
    if groups == batch:
        threads.run(_step_each, (shape, arrays, *factors, *bounds), batch * post, pre)
    else:
        _step_blocks(shape, arrays, factors, bounds)


def _number(x: float | Tensor) -> tuple[Tensor | None, float]:
    """(numbers, or none; the number that stands for all of them)."""
    if isinstance(x, Tensor):
        return x.contiguous(), 0.0
    return None, float(x)


def _bounds(w_min: float | None, w_max: float | None) -> tuple[float, float]:
    """(w_min, w_max), infinite for none."""
    least = -math.inf if w_min is None else float(w_min)
    most = math.inf if w_max is None else float(w_max)
    return least, most


def _step_blocks(
    shape: tuple[int, int, int, int],
    arrays: tuple[int, ...],
    factors: tuple[int, float, float],
    bounds: tuple[float, float],
) -> None:
    """The step of weights that the rows of a block share."""
    batch, groups, post, pre = shape
    rows = batch // groups
    size = batch * post * pre
    # As many parts in all as the work is worth, and of each group as few as that takes.
    parts_of_all = min(size // WORTH, PARTS)
    parts = max(1, min(-(-parts_of_all // groups), rows))
    change = torch.zeros(groups, parts, post, pre)
    sums = (shape, arrays, *factors, change.data_ptr(), parts)
    threads.run(_sum_parts, sums, groups * parts, size // (groups * parts))
    settling = (shape, arrays, *bounds, change.data_ptr(), parts)
    threads.run(_settle, settling, groups * post, rows * pre)


# ---------------------------------- the loops


@fast_loop
def _clamped(w, w_min, w_max):
    """w within its bounds; NaN stays NaN."""
    # not max and min, which lose a NaN
    w = w_min if w < w_min else w
    return w_max if w > w_max else w


@fast_loop
def _gates(gate, j, b, post, per_neuron, lr, lrs, modulator):
    """η m of the neurons from j on, of batch row b, into gate [n]."""
    # modulator [B, post] or, where `per_neuron` is 0, [B]: then a row has one number
    first = b * post + j if per_neuron else b
    for k in range(len(gate)):
        rate = number(lrs, j + k, lr)
        factor = number(modulator, first + per_neuron * k, 0.0)
        gate[k] = rate * factor


@fast_loop
def _step(w, e, x, x_next, gate, signal, decay, w_min, w_max, y):
    """Change w and e [n·pre] of n neurons that see the same x and x_next [pre]; gate, signal [n]; y
    [n] is written.
    """
    pre = len(x)
    for j in range(len(y)):
        # neuron j's synapses are row to row + pre
        row = j * pre
        product = np.float32(0.0)
        for i in range(pre):
            trace = decay * e[row + i] + signal[j] * x[i]
            new = _clamped(w[row + i] + gate[j] * trace, w_min, w_max)
            e[row + i] = trace
            w[row + i] = new
            product += new * x_next[i]
        y[j] = product


@fast_loop
def _add(change, e, x, gate, signal, decay):
    """As `_step` for weights that others share: one batch row's part is added to their change
    [n·pre].
    """
    pre = len(x)
    for j in range(len(gate)):
        # neuron j's synapses are row to row + pre
        row = j * pre
        for i in range(pre):
            trace = decay * e[row + i] + signal[j] * x[i]
            change[row + i] += gate[j] * trace
            e[row + i] = trace


@fast_loop
def _step_each(lo, hi, shape, arrays, per_neuron, lr, decay, w_min, w_max):
    """Neurons lo to hi, of B·post, where every row has weights of its own.

    shape: (B, G, post, pre). Addresses, each 0 where there is a number instead: arrays (w, e, x,
    signal, modulator, x_next, y, lr, decay). per_neuron: 1 for a modulator of each neuron's own.
    """
    _, _, post, pre = shape
    w, e, x, signal, modulator, x_next, y, lrs, decays = arrays
    w_min = np.float32(w_min)
    w_max = np.float32(w_max)
    gate = np.empty(post, np.float32)
    for b in range(lo // post, (hi + post - 1) // post):
        # lo and hi may lie within a row: its neurons first to first + n are ours
        first = max(lo, b * post)
        n = min(hi, (b + 1) * post) - first
        _gates(gate[:n], first - b * post, b, post, per_neuron, lr, lrs, modulator)
        _step(
            part(w, first * pre, n * pre),
            part(e, first * pre, n * pre),
            part(x, b * pre, pre),
            part(x_next, b * pre, pre),
            gate,
            part(signal, first, n),
            number(decays, b, decay),
            w_min,
            w_max,
            part(y, first, n),
        )


@fast_loop
def _sum_parts(lo, hi, shape, arrays, per_neuron, lr, decay, change, parts):
    """Parts lo to hi of G·parts, each the sum over some rows of a group's block into change [G,
    parts, post, pre]; arguments as `_step_each` takes them.
    """
    batch, groups, post, pre = shape
    _, e, x, signal, modulator, _, _, lrs, decays = arrays
    rows = batch // groups
    gate = np.empty(post, np.float32)
    size = post * pre
    for k in range(lo, hi):
        # job k is part p of the block whose first row is `top`
        top = k // parts * rows
        p = k % parts
        for b in range(top + rows * p // parts, top + rows * (p + 1) // parts):
            _gates(gate, 0, b, post, per_neuron, lr, lrs, modulator)
            _add(
                part(change, k * size, size),
                part(e, b * size, size),
                part(x, b * pre, pre),
                gate,
                part(signal, b * post, post),
                number(decays, b, decay),
            )


@fast_loop
def _product(w, x):
    """Σ_i w_i x_i."""
    product = np.float32(0.0)
    for i in range(len(x)):
        product += w[i] * x[i]
    return product


@fast_loop
def _settle(lo, hi, shape, arrays, w_min, w_max, change, parts):
    """Neurons lo to hi, of G·post: their weights change by the sum over the parts, are clamped, and
    see x_next of the block's rows.
    """
    batch, groups, post, pre = shape
    x_next = arrays[5]
    y = arrays[6]
    rows = batch // groups
    w_min = np.float32(w_min)
    w_max = np.float32(w_max)
    for n in range(lo, hi):
        # neuron n of all is neuron j of group g
        g = n // post
        j = n % post
        w = part(arrays[0], n * pre, pre)
        for p in range(parts):
            summand = part(change, ((g * parts + p) * post + j) * pre, pre)
            for i in range(pre):
                w[i] += summand[i]
        for i in range(pre):
            w[i] = _clamped(w[i], w_min, w_max)
        for b in range(g * rows, (g + 1) * rows):
            x = part(x_next, b * pre, pre)
            part(y, b * post + j, 1)[0] = _product(w, x)
