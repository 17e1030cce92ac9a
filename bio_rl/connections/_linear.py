"""Products of weights with what arrives at them: packed for spikes, and in blocks for groups."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    # the usual reasons first
    if spikes.numel() < SMALL or not weight.requires_grad:
        return F.linear(spikes, weight, bias)
    if not torch.is_grad_enabled() or transformed() or autocast():
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
        # a batched product has one batch axis, the groups: [G, leading axes · B, pre]
        blocks = blocks.flatten(0, -4).transpose(0, 1).flatten(1, 2)
    if bias is None:
        out = torch.bmm(blocks, weight.mT)
    else:
        out = torch.baddbmm(bias.unsqueeze(1), blocks, weight.mT)
    if not lead:
        return out.flatten(0, 1)
    # and back from [G, leading axes · B, post] to [..., G·B, post]
    out = out.unflatten(1, (lead.numel(), -1)).transpose(0, 1)
    return out.reshape(*lead, -1, out.shape[-1])


class Linear(nn.Linear):
    """`nn.Linear` whose weights may have a group axis: see `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class _SpikeLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # the conversion to int8 is vectorised on the CPU; to uint8 it is 8x slower (torch 2.13)
        packed = spikes.to(torch.int8)
        needed = weight if ctx.needs_input_grad[0] else None
        ctx.save_for_backward(packed, needed)
        return F.linear(spikes, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        # cheaper than the decorator once_differentiable
        if torch.is_grad_enabled():
            raise RuntimeError(
                "spike_linear keeps no graph of its spikes: for create_graph=True use graded=True"
            )
        packed, weight = ctx.saved_tensors
        spikes = packed.to(grad.dtype)
        grad_spikes = grad.matmul(weight) if weight is not None else None
        if grad.dim() != 2:
            grad = grad.reshape(-1, grad.shape[-1])
            spikes = spikes.reshape(-1, spikes.shape[-1])
        grad_weight = grad.t().mm(spikes)
        grad_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        return grad_spikes, grad_weight, grad_bias
