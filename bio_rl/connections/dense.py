"""All-to-all weights:  drive_j = Σ_i w_ji s_i + b_j.

A product with spikes needs those spikes again for its weight gradient; `spike_linear` keeps them in
one byte an element instead of four.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bio_rl.connections._check import check_sizes, check_spikes
from bio_rl.connections._init import orthogonal
from bio_rl.modes import autocast, transformed

SMALL = 2**20
"""Elements below which packing costs time (up to a tenth of the product's) and saves little (3
MiB).
"""


def spike_linear(spikes: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """drive [..., post] = spikes weightᵀ + bias, with the values and gradients of F.linear, keeping
    the spikes as int8.

    spikes [..., pre]: 0 or 1 (any integer in -128..127 is exact; the weight gradient would cut off
    a fraction, so graded input belongs to F.linear). weight [post, pre], bias [post]. Fewer than
    SMALL elements, spikes before a weight that needs no gradient, and those under autocast or in a
    function transform are not packed. Gradients of gradients through packed spikes raise
    RuntimeError.
    """
    if spikes.numel() < SMALL or not weight.requires_grad or not torch.is_grad_enabled():
        return F.linear(spikes, weight, bias)
    if transformed() or autocast():
        return F.linear(spikes, weight, bias)
    return _SpikeLinear.apply(spikes, weight, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weightᵀ + bias [..., post]; with weights [G, post, pre] and biases [G, post] the rows of x
    are G blocks, one for each.

    x [..., pre], or [..., G·B, pre]. The group axis: members of a population, or seeds trained side
    by side.
    """
    if weight.dim() == 2:
        return F.linear(x, weight, bias)
    blocks = x.view(*x.shape[:-2], len(weight), -1, x.shape[-1])
    lead = blocks.shape[:-3]
    if lead:
        blocks = blocks.flatten(0, -4).transpose(0, 1).flatten(1, 2)  # [G, leading axes · B, pre]
    out = (
        torch.bmm(blocks, weight.mT)
        if bias is None
        else torch.baddbmm(bias.unsqueeze(1), blocks, weight.mT)
    )
    if not lead:
        return out.flatten(0, 1)
    return out.unflatten(1, (lead.numel(), -1)).transpose(0, 1).reshape(*lead, -1, out.shape[-1])


class Linear(nn.Linear):
    """`nn.Linear` whose weights may have a group axis: see `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class _SpikeLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        packed = spikes.to(
            torch.int8
        )  # vectorised on the CPU, which the conversion to uint8 is not (8x slower, torch 2.13)
        ctx.save_for_backward(packed, weight if ctx.needs_input_grad[0] else None)
        return F.linear(spikes, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        if torch.is_grad_enabled():  # cheaper than the decorator once_differentiable
            raise RuntimeError(
                "spike_linear keeps no graph of its spikes: for create_graph=True use graded=True"
            )
        packed, weight = ctx.saved_tensors
        spikes = packed.to(grad.dtype)
        grad_spikes = grad.matmul(weight) if weight is not None else None
        if grad.dim() != 2:
            grad, spikes = grad.reshape(-1, grad.shape[-1]), spikes.reshape(-1, spikes.shape[-1])
        return grad_spikes, grad.t().mm(spikes), grad.sum(0) if ctx.needs_input_grad[2] else None


class Connection(nn.Module):
    """Spikes [..., pre] to drive [..., post]; no state.

    gain: of the orthogonal initial weights; the bias starts at zero. graded: the input may be any
    number; False promises spikes (0 or 1), which are then kept in one byte each for the backward
    pass.
    """

    def __init__(self, n_pre: int, n_post: int, *, gain: float = 1.0, graded: bool = True) -> None:
        super().__init__()
        check_sizes("dense", n_pre=n_pre, n_post=n_post)
        self.graded = graded
        self.weight = orthogonal(n_post, n_pre, gain=gain)
        self.bias = nn.Parameter(torch.zeros(n_post))

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def forward(
        self, spikes: Tensor, state: tuple[()], dt: float = 1.0
    ) -> tuple[Tensor, tuple[()]]:
        """(drive, ()). Raises ValueError for spikes of another layer's size."""
        check_spikes("dense", spikes, self.weight.shape[-1])
        product = linear if self.graded or self.weight.dim() == 3 else spike_linear
        return product(spikes, self.weight, self.bias), state
