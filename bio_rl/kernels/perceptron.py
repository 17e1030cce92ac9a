"""Layers of linear units with an activation between them as one step of automatic differentiation.

Each product is one call, on the memory that it needs: activations work in place, and the gradient
of a weight has its layout. The reference is `torch.nn.Sequential` of linear layers and activations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bio_rl.modes import autocast, transformed

aten = torch.ops.aten
FUSED: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "relu": (
        torch.relu_,
        lambda grad, y: aten.threshold_backward.grad_input(grad, y, 0, grad_input=grad),
    ),
    "tanh": (torch.tanh_, lambda grad, y: aten.tanh_backward.grad_input(grad, y, grad_input=grad)),
}
"""In place, and in place its gradient by the output y."""


def perceptron(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str
) -> Tensor:
    """x [..., n_in] through every layer, the last without activation: [..., n_out].

    weights [post, pre] and biases [post]; or, with a group axis, [G, post, pre] and [G, post] for x
    [G·B, n_in], whose rows are a block for each member. activation: of FUSED. Gradients of
    gradients raise RuntimeError, except in function transforms: there and under autocast torch
    differentiates every operation.
    """
    grouped = weights[0].dim() == 3
    rows = _blocks(x, len(weights[0])) if grouped else x.flatten(0, -2)
    if torch.is_grad_enabled() and not (transformed() or autocast()):
        out = _Perceptron.apply(rows, activation, *weights, *biases)
    else:
        out = _layers(rows, activation, weights, biases)[-1]
    return out.view(*x.shape[:-1], out.shape[-1])


def _blocks(x: Tensor, groups: int) -> Tensor:
    """x [G·B, n_in], or with leading axes of one, as [G, B, n_in]. Raises ValueError for rows that
    are not a block for each.
    """
    count = x.shape[-2] if x.dim() > 1 else 0
    if x.dim() < 2 or count % groups or x.shape[:-2].numel() != 1:
        raise ValueError(
            f"x has shape {tuple(x.shape)}, expected [G·B, n_in] with G = {groups} groups"
        )
    return x.reshape(groups, count // groups, x.shape[-1])


def _layers(
    x: Tensor, activation: str, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> list[Tensor]:
    """What every layer gives."""
    outs, last = [], len(weights) - 1
    for depth, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if weight.dim() == 3:
            x = torch.baddbmm(bias.unsqueeze(1), x, weight.mT)
        else:
            x = torch.addmm(bias, x, weight.t())
        if depth < last:
            FUSED[activation][0](x)
        outs.append(x)
    return outs


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str, *parameters: Tensor) -> Tensor:
        n = len(parameters) // 2
        weights, biases = parameters[:n], parameters[n:]
        *hidden, out = _layers(x, activation, weights, biases)
        ctx.activation = activation
        ctx.save_for_backward(x, *hidden, *weights)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "perceptron keeps no graph of its gradients: take those of gradients from "
                "torch.nn.Sequential"
            )
        n = len(ctx.saved_tensors) // 2
        inputs, weights = ctx.saved_tensors[:n], ctx.saved_tensors[n:]
        need_x, _, *need = ctx.needs_input_grad
        weight_grads: list[Tensor | None] = [None] * n
        bias_grads: list[Tensor | None] = [None] * n
        slope = FUSED[ctx.activation][1]
        for i in reversed(range(n)):
            if need[i]:
                weight_grads[i] = grad.mT @ inputs[i]
            if need[n + i]:
                bias_grads[i] = grad.sum(-2)
            if i or need_x:
                grad = grad @ weights[i]
            if i:
                slope(grad, inputs[i])
        return grad if need_x else None, None, *weight_grads, *bias_grads
