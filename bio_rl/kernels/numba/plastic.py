"""The step of plastic synapses fused for the CPU with Numba: w and e are read once and written
once.

A neuron's row of w and of e, its pre synapses, is one loop over vectors that also sums its next
product. All rows that see the same input are one call: the test that no arrays overlap takes as
long as a row of 64. Shared weights change by a sum over batch rows: one pass over e, in parts that
depend on the sizes and not on the number of threads, then the sum of the parts and the products,
neuron by neuron. Tensors are handed over by address, as `numba.unroll` does: at a few neurons a call
costs its Python.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bio_rl.kernels.numba.compile import compiled
from bio_rl.kernels.numba.unroll import _SHARE, _address, _part, _share

_PARTS = 16
"""At most, of a sum over rows: they are memory that is added up again."""

_jit = compiled(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
"""Sums in any order and a fused multiply-add, without which a product is no vector loop; NaN and ∞
stay what they are.
"""


@_jit
def _number(address, index, otherwise):
    """Number `index` of the array at an address; `otherwise` for the address 0."""
    return np.float32(otherwise) if address == 0 else _part(address, index, 1)[0]


@_jit
def _clamped(w, w_min, w_max):
    """w within its bounds; NaN stays NaN."""
    w = w_min if w < w_min else w
    return w_max if w > w_max else w


@_jit
def _gates(gate, j, b, post, each, lr, lrs, modulator):
    """η m of the neurons from j on, of batch row b, into gate [n]."""
    at = b * post + j if each else b
    for k in range(len(gate)):
        gate[k] = _number(lrs, j + k, lr) * _number(modulator, at + each * k, 0.0)


@_jit
def _step(w, e, x, x_next, gate, signal, decay, w_min, w_max, y):
    """Change w and e [n·pre] of n neurons that see the same x and x_next [pre]; gate, signal [n]; y
    [n] is written.
    """
    pre = len(x)
    for j in range(len(y)):
        row, product = j * pre, np.float32(0.0)
        for i in range(pre):
            trace = decay * e[row + i] + signal[j] * x[i]
            new = _clamped(w[row + i] + gate[j] * trace, w_min, w_max)
            e[row + i] = trace
            w[row + i] = new
            product += new * x_next[i]
        y[j] = product


@_jit
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


@_jit
def _own(lo, hi, shape, arrays, each, lr, decay, w_min, w_max):
    """Neurons lo to hi, of B·post, with weights of their own.

    shape: (B, G, post, pre). Addresses, each 0 where there is a number instead: arrays (w, e, x,
    signal, modulator, x_next, y, lr, decay). each: 1 for a modulator of each neuron's own.
    """
    _, _, post, pre = shape
    w, e, x, signal, modulator, x_next, y, lrs, decays = arrays
    w_min, w_max, gate = np.float32(w_min), np.float32(w_max), np.empty(post, np.float32)
    for b in range(lo // post, (hi + post - 1) // post):
        first = max(lo, b * post)
        n = min(hi, (b + 1) * post) - first
        _gates(gate[:n], first - b * post, b, post, each, lr, lrs, modulator)
        _step(
            _part(w, first * pre, n * pre), _part(e, first * pre, n * pre), _part(x, b * pre, pre), _part(x_next, b * pre, pre),
            gate, _part(signal, first, n), _number(decays, b, decay), w_min, w_max, _part(y, first, n),
        )  # fmt: skip


@_jit
def _shared(lo, hi, shape, arrays, each, lr, decay, change, parts):
    """Parts lo to hi of G·parts, each the sum over some rows of a group's block into change [G,
    parts, post, pre]; arguments as `_own` takes them.
    """
    batch, groups, post, pre = shape
    rows = batch // groups
    _, e, x, signal, modulator, _, _, lrs, decays = arrays
    gate, size = np.empty(post, np.float32), post * pre
    for n in range(lo, hi):
        first, part = n // parts * rows, n % parts
        for b in range(first + rows * part // parts, first + rows * (part + 1) // parts):
            _gates(gate, 0, b, post, each, lr, lrs, modulator)
            _add(
                _part(change, n * size, size), _part(e, b * size, size), _part(x, b * pre, pre),
                gate, _part(signal, b * post, post), _number(decays, b, decay),
            )  # fmt: skip


@_jit
def _settle(lo, hi, shape, arrays, w_min, w_max, change, parts):
    """Neurons lo to hi, of G·post: their weights change by the sum over the parts, are clamped, and
    see x_next of all rows.
    """
    batch, groups, post, pre = shape
    x_next, y, w_min, w_max = arrays[5], arrays[6], np.float32(w_min), np.float32(w_max)
    rows = batch // groups
    for n in range(lo, hi):
        w, g, j = _part(arrays[0], n * pre, pre), n // post, n % post
        for part in range(parts):
            more = _part(change, ((g * parts + part) * post + j) * pre, pre)
            for i in range(pre):
                w[i] += more[i]
        for i in range(pre):
            w[i] = _clamped(w[i], w_min, w_max)
        for b in range(g * rows, (g + 1) * rows):
            x, product = _part(x_next, b * pre, pre), np.float32(0.0)
            for i in range(pre):
                product += w[i] * x[i]
            _part(y, b * post + j, 1)[0] = product


def run(
    w: Tensor, e: Tensor, x: Tensor, signal: Tensor, modulator: Tensor, x_next: Tensor, lr: float | Tensor,
    decay: float | Tensor, w_min: float | None, w_max: float | None, out: Tensor,
) -> Tensor:  # fmt: skip
    """See `kernels.plastic.plastic_step`. Raises ValueError for a device or dtype that the loops do
    not run on.
    """
    if e.dtype != torch.float32 or not e.is_cpu:
        raise ValueError(
            f"backend 'numba' got synapses of {e.dtype} on {e.device}; known: torch.float32 on cpu"
        )
    batch, post, pre = e.shape
    groups = w.shape[0] if w.dim() == 3 else 1
    lrs, lr = (lr.contiguous(), 0.0) if isinstance(lr, Tensor) else (None, float(lr))
    decays, decay = (decay.contiguous(), 0.0) if isinstance(decay, Tensor) else (None, float(decay))
    held = [
        tensor.contiguous() for tensor in (x, signal, modulator, x_next)
    ]  # until the loop is done with their addresses
    inputs = [tensor.data_ptr() for tensor in held]
    arrays = w.data_ptr(), e.data_ptr(), *inputs, out.data_ptr(), _address(lrs), _address(decays)
    shape, each = (batch, groups, post, pre), modulator.dim() - 1
    bounds = (
        -math.inf if w_min is None else float(w_min),
        math.inf if w_max is None else float(w_max),
    )
    if groups == batch:
        _share(_own, (shape, arrays, each, lr, decay, *bounds), batch * post, pre)
        return out
    rows = batch // groups
    # so many parts in all as the work is worth, and as few as that of each group
    parts = max(1, min(-(-min(e.numel() // _SHARE, _PARTS) // groups), rows))
    change = torch.zeros(groups, parts, post, pre)
    _share(
        _shared,
        (shape, arrays, each, lr, decay, change.data_ptr(), parts),
        groups * parts,
        e.numel() // (groups * parts),
    )
    _share(
        _settle,
        (shape, arrays, *bounds, change.data_ptr(), parts),
        groups * post,
        rows * pre,
    )
    return out
