"""Surrogate derivatives of the spike function  z = H(x),  x = v - v_threshold.

    name              dz/dx                          source
    atan              (α/2) / (1 + (π α x / 2)²)     Fang et al. 2021, ICCV, eq. 9 (α = 2)
    fast_sigmoid      1 / (1 + α |x|)²               Zenke & Ganguli 2018 (SuperSpike), eq. 11
    triangle          α max(0, 1 - α |x|)            Esser et al. 2016; Bellec et al. 2018, to scale
    damped_triangle   0.3 α max(0, 1 - α |x|)        Bellec et al. 2018, 2020 (γ = 0.3)
    rectangle         α where |x| < 1 / (2α)         Wu et al. 2018; PopSAN uses α = 1
    sigmoid           α σ(αx) (1 - σ(αx))            Neftci et al. 2019, the logistic's derivative

All but fast_sigmoid (height one, area 2/α) and damped_triangle (area 0.3) have area one for every
slope α. Damped gradients do not explode on their way back through many spikes in a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bio_rl.modes import transformed


def atan(x: Tensor, slope: float) -> Tensor:
    """(α/2) / (1 + (π α x / 2)²), elementwise."""
    scaled = 0.5 * math.pi * slope * x
    return 0.5 * slope / (1.0 + scaled.square())


def fast_sigmoid(x: Tensor, slope: float) -> Tensor:
    """1 / (1 + α |x|)², elementwise."""
    distance = 1.0 + slope * x.abs()
    return distance.square().reciprocal()


def triangle(x: Tensor, slope: float) -> Tensor:
    """α · max(0, 1 - α |x|), elementwise."""
    height = 1.0 - slope * x.abs()
    return slope * height.clamp(min=0.0)


def damped_triangle(x: Tensor, slope: float) -> Tensor:
    """0.3 α · max(0, 1 - α |x|), elementwise."""
    return 0.3 * triangle(x, slope)


def rectangle(x: Tensor, slope: float) -> Tensor:
    """α where |x| < 1 / (2α), else 0."""
    near = x.abs() < 0.5 / slope
    return slope * near.to(x.dtype)


def sigmoid(x: Tensor, slope: float) -> Tensor:
    """α σ(αx) (1 - σ(αx)), elementwise."""
    above = torch.sigmoid(slope * x)
    # not 1 - σ(αx), of which nothing is left where σ is near one
    below = torch.sigmoid(-slope * x)
    return slope * (above * below)


SURROGATES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "atan": atan,
    "fast_sigmoid": fast_sigmoid,
    "triangle": triangle,
    "rectangle": rectangle,
    "sigmoid": sigmoid,
    "damped_triangle": damped_triangle,
}


def _derivative(ctx: Any, *grads: Any) -> Any:
    """The gradient by x; name and slope of the surrogate have none."""
    (grad,) = grads
    (x,) = ctx.saved_tensors
    return grad * SURROGATES[ctx.surrogate](x, ctx.slope), None, None


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, surrogate: str, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        ctx.slope = slope
        return (x >= 0).to(x.dtype)

    backward = staticmethod(_derivative)


class _TransformedSpike(torch.autograd.Function):
    """`_Spike` in the form that function transforms need, which costs twice as much."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, surrogate: str, slope: float) -> Tensor:
        return (x >= 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, str, float], output: Tensor) -> None:
        x, ctx.surrogate, ctx.slope = inputs
        ctx.save_for_backward(x)

    backward = staticmethod(_derivative)


def spike(x: Tensor, surrogate: str, slope: float) -> Tensor:
    """1 where x >= 0, else 0, with the surrogate's derivative in the backward pass."""
    kind = _TransformedSpike if transformed() else _Spike
    return kind.apply(x, surrogate, slope)
