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
    lrs = lr.contiguous() if isinstance(lr, Tensor) else None
    lr = float(lr) if lrs is None else 0.0
    decays = decay.contiguous() if isinstance(decay, Tensor) else None
    decay = float(decay) if decays is None else 0.0
    # A copy that is made here has to live until the loops are done with its address.
    inputs = [tensor.contiguous() for tensor in (x, signal, modulator, x_next)]
    arrays = (
        w.data_ptr(),
        e.data_ptr(),
        *[tensor.data_ptr() for tensor in inputs],
        y.data_ptr(),
        memory.address(lrs),
        memory.address(decays),
    )
    shape = (batch, groups, post, pre)
    # 0 for a modulator of each row, 1 for one of each neuron
    each = modulator.dim() - 1
    w_min = -math.inf if w_min is None else float(w_min)
    w_max = math.inf if w_max is None else float(w_max)
    if groups == batch:
        arguments = (shape, arrays, each, lr, decay, w_min, w_max)
        threads.run(_step_each, arguments, batch * post, pre)
    else:
        _step_blocks(shape, arrays, (each, lr, decay), w_min, w_max)


def _step_blocks(
    shape: tuple[int, int, int, int],
    arrays: tuple[int, ...],
    rates: tuple[int, float, float],
    w_min: float,
    w_max: float,
) -> None:
    """The step of weights that the rows of a block share."""
    batch, groups, post, pre = shape
    rows = batch // groups
    size = batch * post * pre
    # As many parts in all as the work is worth, and of each group as few as that takes.
    parts_of_all = min(size // WORTH, PARTS)
    parts = max(1, min(-(-parts_of_all // groups), rows))
    change = torch.zeros(groups, parts, post, pre)
    sums = (shape, arrays, *rates, change.data_ptr(), parts)
    threads.run(_sum_parts, sums, groups * parts, size // (groups * parts))
    settling = (shape, arrays, w_min, w_max, change.data_ptr(), parts)
    threads.run(_settle, settling, groups * post, rows * pre)


# ---------------------------------- the loops


@fast_loop
def _clamped(w, w_min, w_max):
    """w within its bounds; NaN stays NaN."""
    w = w_min if w < w_min else w
    return w_max if w > w_max else w


@fast_loop
def _gates(gate, j, b, post, each, lr, lrs, modulator):
    """η m of the neurons from j on, of batch row b, into gate [n]."""
    # modulator [B, post] or, where `each` is 0, [B]: then all neurons of a row read one number
    at = b * post + j if each else b
    for k in range(len(gate)):
        rate = number(lrs, j + k, lr)
        gate[k] = rate * number(modulator, at + each * k, 0.0)


@fast_loop
def _step(w, e, x, x_next, gate, signal, decay, w_min, w_max, y):
    """Change w and e [n·pre] of n neurons that see the same x and x_next [pre]; gate, signal [n]; y
    [n] is written.
    """
    pre = len(x)
    for j in range(len(y)):
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
        row = j * pre
        for i in range(pre):
            trace = decay * e[row + i] + signal[j] * x[i]
            change[row + i] += gate[j] * trace
            e[row + i] = trace


@fast_loop
def _step_each(lo, hi, shape, arrays, each, lr, decay, w_min, w_max):
    """Neurons lo to hi, of B·post, where every row has weights of its own.

    shape: (B, G, post, pre). Addresses, each 0 where there is a number instead: arrays (w, e, x,
    signal, modulator, x_next, y, lr, decay). each: 1 for a modulator of each neuron's own.
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
        _gates(gate[:n], first - b * post, b, post, each, lr, lrs, modulator)
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
def _sum_parts(lo, hi, shape, arrays, each, lr, decay, change, parts):
    """Parts lo to hi of G·parts, each the sum over some rows of a group's block into change [G,
    parts, post, pre]; arguments as `_step_each` takes them.
    """
    batch, groups, post, pre = shape
    _, e, x, signal, modulator, _, _, lrs, decays = arrays
    rows = batch // groups
    gate = np.empty(post, np.float32)
    size = post * pre
    for k in range(lo, hi):
        top = k // parts * rows
        p = k % parts
        for b in range(top + rows * p // parts, top + rows * (p + 1) // parts):
            _gates(gate, 0, b, post, each, lr, lrs, modulator)
            _add(
                part(change, k * size, size),
                part(e, b * size, size),
                part(x, b * pre, pre),
                gate,
                part(signal, b * post, post),
                number(decays, b, decay),
            )


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
        g = n // post
        j = n % post
        w = part(arrays[0], n * pre, pre)
        for p in range(parts):
            more = part(change, ((g * parts + p) * post + j) * pre, pre)
            for i in range(pre):
                w[i] += more[i]
        for i in range(pre):
            w[i] = _clamped(w[i], w_min, w_max)
        for b in range(g * rows, (g + 1) * rows):
            x = part(x_next, b * pre, pre)
            product = np.float32(0.0)
            for i in range(pre):
                product += w[i] * x[i]
            part(y, b * post + j, 1)[0] = product
