"""One step of plastic synapses in one pass over memory: the eligibility, the gated change, and the
next product.

    e ← κ e + signal_j x_i
        the decision is remembered: three_factor's trace, x as it is given
    w ← clamp(w + η_j m_j e, w_min, w_max)        the modulator says what it was worth
    y_j = Σ_i w_ji x'_i                           and the new weights look at the next input

The order is that of an agent that learns online and calls this once a decision: x and the signal
are of the decision just made, x' is the input that it led to. The modulator is there already: δ = r
+ γ V(x') - V(x) takes the critic's row of the old weights and nothing else of this. κ is 0 for a
row whose episode began with the decision: nothing before it is eligible. Actor and critic are
neurons of one layer, each with a learning rate η_j and a modulator m_j of its own. A trace of x or
another input goes in as x.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch
from torch import Tensor

from bio_rl.kernels import BACKENDS, suited
from bio_rl.plasticity import gate, outer


def plastic_step(
    w: Tensor,
    e: Tensor,
    x: Tensor,
    signal: Tensor,
    modulator: Tensor,
    x_next: Tensor,
    *,
    lr: float | Tensor,
    decay: float | Tensor,
    w_min: float | None = None,
    w_max: float | None = None,
    out: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """y [B, post], written to `out` if it is given; w and e are changed in place. float32; no
    gradient flows.

    e [B, post, pre]; w [B, post, pre], or [G, post, pre] for G blocks of rows, where row b has
    the weights b // (B / G), or shared ones [post, pre]: these change by the sum over their rows,
    and are clamped after it. x, x_next [B, pre]; signal [B, post]; modulator m [B], or [B, post] for each neuron its own; lr η,
    or [post]; decay κ, or [B]; w_min, w_max: None for no bound. Only w, e and `out` are written,
    and none of them may share memory with another argument. backend: torch (the reference), numba
    or triton; None takes the device's default. Raises ValueError for shapes that do not fit, w, e
    or `out` that are not contiguous, an unknown backend, or a device or dtype that it does not run
    on.
    """
    _check(w, e, x, signal, modulator, x_next, lr, decay, out)
    if backend is None:
        backend = suited(e)
    y = e.new_empty(e.shape[:2]) if out is None else out
    return _step(backend)(w, e, x, signal, modulator, x_next, lr, decay, w_min, w_max, y)


@torch.no_grad()
def reference(
    w: Tensor, e: Tensor, x: Tensor, signal: Tensor, modulator: Tensor, x_next: Tensor, lr: float | Tensor,
    decay: float | Tensor, w_min: float | None, w_max: float | None, out: Tensor,
) -> Tensor:  # fmt: skip
    """The equations, an operation at a time; arguments as `plastic_step` takes them."""
    w = w.view(-1, *e.shape[1:])
    each = (lr * (modulator.unsqueeze(-1) if modulator.dim() == 1 else modulator)).expand_as(signal)
    e *= decay.view(-1, 1, 1) if isinstance(decay, Tensor) else decay
    e += outer(signal, x)
    return settle(w, gate(each, e).view(len(w), -1, *w.shape[1:]).sum(1), w_min, w_max, x_next, out)


@torch.no_grad()
def settle(
    w: Tensor, change: Tensor, w_min: float | None, w_max: float | None, x: Tensor, out: Tensor
) -> Tensor:
    """Weights w [G, post, pre] changed and clamped in place, and their product with x [B, pre] in
    `out` [B, post].
    """
    w += change
    if w_min is not None or w_max is not None:
        w.clamp_(w_min, w_max)
    groups, post, pre = w.shape
    y = torch.bmm(w, x.reshape(groups, -1, pre).mT)  # [G, post, B/G]; an einsum takes 15 µs longer
    out.view(groups, -1, post).copy_(y.mT)
    return out


@functools.cache
def _step(backend: str) -> Any:
    """The function of a backend, imported when it is first used."""
    if backend not in BACKENDS:
        raise ValueError(f"no kernel backend called {backend!r}; known: {', '.join(BACKENDS)}")
    return (
        reference
        if backend == "torch"
        else importlib.import_module(f"bio_rl.kernels.{backend}.plastic").run
    )


def _check(
    w: Tensor,
    e: Tensor,
    x: Tensor,
    signal: Tensor,
    modulator: Tensor,
    x_next: Tensor,
    lr: Any,
    decay: Any,
    out: Tensor | None,
) -> None:
    if e.dim() != 3:
        raise ValueError(f"e has shape {tuple(e.shape)}, expected [B, post, pre]")
    batch, post, pre = sizes = e.shape
    if (
        w.shape[-2:] != sizes[1:]
        or w.dim() > 3
        or (w.dim() == 3 and (w.shape[0] < 1 or batch % w.shape[0]))
    ):
        expected = f"[post, pre] or [G, post, pre] with post, pre = {post, pre} and G a divisor of B = {batch}"
        raise ValueError(f"w has shape {tuple(w.shape)}, expected {expected}")
    rows, neurons = (batch, pre), (batch, post)
    given = [
        ("w", w, w.shape),
        ("x", x, rows),
        ("x_next", x_next, rows),
        ("signal", signal, neurons),
    ]
    given.append(("modulator", modulator, neurons if modulator.dim() == 2 else neurons[:1]))
    if isinstance(lr, Tensor):
        given.append(("lr", lr, (post,)))
    if isinstance(decay, Tensor):
        given.append(("decay", decay, (batch,)))
    if out is not None:
        given.append(("out", out, neurons))
    dtype, device = e.dtype, e.device
    for name, tensor, shape in given:
        if tensor.shape != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, expected {tuple(shape)}: e is {tuple(sizes)}"
            )
        if tensor.dtype != dtype or tensor.device != device:
            raise ValueError(
                f"{name} is of {tensor.dtype} on {tensor.device}, but e of {dtype} on {device}"
            )
    for name, tensor in (("w", w), ("e", e), ("out", out)):
        if tensor is not None and not tensor.is_contiguous():
            raise ValueError(
                f"{name} is not contiguous, and written in place; give a tensor of its own"
            )
    if e.numel() and (
        w.data_ptr() == e.data_ptr()
        or (out is not None and out.data_ptr() in (w.data_ptr(), e.data_ptr()))
    ):
        raise ValueError(
            "w, e and out share memory, and are written in place; give each a tensor of its own"
        )
