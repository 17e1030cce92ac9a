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

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.kernels.backends import form, pick
from bio_rl.plasticity import gate, outer


class Synapses(NamedTuple):
    """All that a step reads and writes."""

    w: Tensor
    """[G, post, pre] weights of G blocks of rows, or of all [post, pre], changed in place."""
    e: Tensor
    """[B, post, pre] eligibilities, changed in place."""
    x: Tensor
    """[B, pre] input of the decision."""
    signal: Tensor
    """[B, post] factor of each neuron's own."""
    modulator: Tensor
    """[B], or [B, post] for each neuron its own."""
    x_next: Tensor
    """[B, pre] next input."""
    y: Tensor
    """[B, post] next product, written."""
    lr: float | Tensor
    """η, or [post]."""
    decay: float | Tensor
    """κ, or [B]."""
    w_min: float | None
    w_max: float | None

    @property
    def groups(self) -> int:
        """G, the number of blocks of rows."""
        # not len(w), which takes three times as long
        if self.w.dim() == 3:
            return self.w.shape[0]
        return 1


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

    e [B, post, pre]; w [B, post, pre], or [G, post, pre] for G blocks of rows, where row b has the
    weights b // (B / G), or shared ones [post, pre]: these change by the sum over their rows, and
    are clamped after it. x, x_next [B, pre]; signal [B, post]; modulator m [B], or [B, post] for
    each neuron its own; lr η, or [post]; decay κ, or [B]; w_min, w_max: None for no bound. Only w,
    e and `out` are written, and none of them may share memory with another argument. backend: torch
    (the reference), numba or triton; None takes the device's default. Raises ValueError for shapes
    that do not fit, w, e or `out` that are not contiguous, an unknown backend, or a device or dtype
    that it does not run on.
    """
    y = out
    if y is None:
        y = e.new_empty(e.shape[:2])
    s = Synapses(w, e, x, signal, modulator, x_next, y, lr, decay, w_min, w_max)
    _check(s)
    _check_memory(s)
    chosen = pick("plastic", e, backend)
    step = reference if chosen == "torch" else form("plastic", chosen).run
    step(s)
    return y


@torch.no_grad()
def reference(s: Synapses) -> None:
    """The equations, an operation at a time."""
    e = s.e
    decay = s.decay
    if isinstance(decay, Tensor):
        decay = decay.view(-1, 1, 1)  # [B] over the synapses of each row
    e *= decay
    e += outer(s.signal, s.x)
    modulator = s.modulator
    if modulator.dim() == 1:
        modulator = modulator.unsqueeze(-1)  # [B] over the neurons of each row
    gates = (s.lr * modulator).expand_as(s.signal)
    changes = gate(gates, e)
    # [B, post, pre] as [G, B / G, post, pre]: the sum over the rows of each block
    blocks = changes.view(s.groups, -1, *e.shape[1:])
    settle(s, blocks.sum(1))


@torch.no_grad()
def settle(s: Synapses, change: Tensor) -> None:
    """Weights changed by `change` [G, post, pre] and clamped in place, and their product with
    x_next in y.
    """
    w = s.w.view(change.shape)  # shared weights are those of one block
    w += change
    if s.w_min is not None or s.w_max is not None:
        w.clamp_(s.w_min, s.w_max)
    groups, post, pre = w.shape
    # [G, post, pre] x [G, pre, B / G]; an einsum takes 15 µs longer
    inputs = s.x_next.reshape(groups, -1, pre)
    inputs = inputs.mT
    y = torch.bmm(w, inputs)
    # [G, post, B / G] as rows [B, post]
    blocks = s.y.view(groups, -1, post)
    blocks.copy_(y.mT)


# ---------------------------------- checks


def _check(s: Synapses) -> None:
    """Raise ValueError for shapes, dtypes or devices that do not fit the eligibilities."""
    sizes = s.e.shape
    if len(sizes) != 3:
        raise ValueError(f"e has shape {tuple(sizes)}, expected [B, post, pre]")
    batch, post, pre = sizes
    shape_of_w = s.w.shape
    _check_weights(shape_of_w, sizes)
    per_neuron = s.modulator.dim() == 2
    neurons = (batch, post)
    expected = [
        ("w", s.w, shape_of_w),
        ("x", s.x, (batch, pre)),
        ("x_next", s.x_next, (batch, pre)),
        ("signal", s.signal, neurons),
        ("modulator", s.modulator, neurons if per_neuron else (batch,)),
        ("out", s.y, neurons),
    ]
    if isinstance(s.lr, Tensor):
        expected.append(("lr", s.lr, (post,)))
    if isinstance(s.decay, Tensor):
        expected.append(("decay", s.decay, (batch,)))
    _check_alike(s.e, expected)


def _check_alike(e: Tensor, expected: list[tuple[str, Tensor, tuple[int, ...]]]) -> None:
    """Raise ValueError for a tensor (name, tensor, shape) of another shape, dtype or device."""
    dtype = e.dtype
    device = e.device
    for name, tensor, shape in expected:
        if tensor.shape != shape:
            met = tuple(tensor.shape)
            sizes = tuple(e.shape)
            raise ValueError(f"{name} has shape {met}, expected {tuple(shape)}: e is {sizes}")
        if tensor.dtype is not dtype or tensor.device != device:
            kind = f"{tensor.dtype} on {tensor.device}"
            raise ValueError(f"{name} is of {kind}, but e of {dtype} on {device}")


def _check_weights(shape: torch.Size, sizes: torch.Size) -> None:
    """Raise ValueError for weights that are not of the synapses of e [B, post, pre]."""
    batch, post, pre = sizes
    # Slices of a shape are new shapes, which takes long.
    fits = len(shape) in (2, 3) and shape[-2] == post and shape[-1] == pre
    if fits and len(shape) == 3:
        groups = shape[0]
        fits = groups > 0 and batch % groups == 0
    if not fits:
        raise ValueError(
            f"w has shape {tuple(shape)}, expected [post, pre] or [G, post, pre] "
            f"with post, pre = {(post, pre)} and G a divisor of B = {batch}"
        )


def _check_memory(s: Synapses) -> None:
    """Raise ValueError for tensors that cannot be written in place."""
    for name, tensor in (("w", s.w), ("e", s.e), ("out", s.y)):
        if not tensor.is_contiguous():
            raise ValueError(
                f"{name} is not contiguous, and written in place; give a tensor of its own"
            )
    places = {s.w.data_ptr(), s.e.data_ptr(), s.y.data_ptr()}
    # Empty tensors have no memory to share.
    if len(places) < 3 and s.e.numel():
        raise ValueError(
            "w, e and out share memory, and are written in place; give each a tensor of its own"
        )
