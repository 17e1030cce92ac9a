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

Activation = Callable[[Tensor], Tensor]
Slope = Callable[[Tensor, Tensor], Tensor]


def _relu_slope(grad: Tensor, y: Tensor) -> Tensor:
    """The gradient before a relu, in the memory of that after it."""
    backward = torch.ops.aten.threshold_backward
    return backward.grad_input(grad, y, 0, grad_input=grad)


def _tanh_slope(grad: Tensor, y: Tensor) -> Tensor:
    """The gradient before a tanh, in the memory of that after it."""
    backward = torch.ops.aten.tanh_backward
    return backward.grad_input(grad, y, grad_input=grad)


FUSED: dict[str, tuple[Activation, Slope]] = {
    "relu": (torch.relu_, _relu_slope),
    "tanh": (torch.tanh_, _tanh_slope),
}
"""Activations in place, and in place their gradients by the output y."""


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
    # A function transform sees through single operations alone; autocast chooses their precision.
    by_operation = transformed() or autocast()
    if torch.is_grad_enabled() and not by_operation:
        out: Any = _Perceptron.apply(rows, activation, *weights, *biases)
    else:
        out = _layers(rows, activation, weights, biases)[-1]
    return out.view(*x.shape[:-1], out.shape[-1])


def _blocks(x: Tensor, groups: int) -> Tensor:
    """x [G·B, n_in], or with leading axes of one, as [G, B, n_in]. Raises ValueError for rows that
    are not a block for each.
    """
    count = x.shape[-2] if x.dim() > 1 else 0
    # With leading axes, rows of one member would not lie side by side.
    if x.dim() < 2 or count % groups or x.shape[:-2].numel() != 1:
        met = tuple(x.shape)
        raise ValueError(f"x has shape {met}, expected [G·B, n_in] with G = {groups} groups")
    return x.reshape(groups, count // groups, x.shape[-1])


def _layers(
    x: Tensor, activation: str, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> list[Tensor]:
    """The output of every layer, all but the last after the activation."""
    activate, _ = FUSED[activation]
    outs: list[Tensor] = []
    for weight, bias in zip(weights, biases, strict=True):
        if outs:
            activate(x)
        # The bias is what a product is added to: one operation.
        if weight.dim() == 3:
            x = torch.baddbmm(bias.unsqueeze(1), x, weight.mT)
        else:
            x = torch.addmm(bias, x, weight.t())
        outs.append(x)
    return outs


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str, *parameters: Tensor) -> Tensor:
        n = len(parameters) // 2
        weights = parameters[:n]
        biases = parameters[n:]
        *hidden, out = _layers(x, activation, weights, biases)
        ctx.activation = activation
        # the input of every layer, and its weight
        ctx.save_for_backward(x, *hidden, *weights)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "perceptron keeps no graph of its gradients: "
                "take those of gradients from torch.nn.Sequential"
            )
        saved = ctx.saved_tensors
        n = len(saved) // 2
        inputs = saved[:n]
        weights = saved[n:]
        need_x, _, *need = ctx.needs_input_grad
        weight_grads: list[Tensor | None] = [None] * n
        bias_grads: list[Tensor | None] = [None] * n
        _, slope = FUSED[ctx.activation]
        for i in reversed(range(n)):
            if need[i]:
                weight_grads[i] = grad.mT @ inputs[i]
            if need[n + i]:
                bias_grads[i] = grad.sum(-2)
            if i or need_x:
                grad = grad @ weights[i]
            # The input of the first layer has gone through no activation.
            if i:
                slope(grad, inputs[i])
        return grad if need_x else None, None, *weight_grads, *bias_grads
