"""Weight initialisation shared by the connections."""

from __future__ import annotations

import torch
from torch import nn


def orthogonal_weight(*shape: int, gain: float) -> nn.Parameter:
    """Weights [post, pre, ...], orthogonal as a matrix [post, all the rest] with singular values
    `gain`. Saxe et al. 2014.
    """
    weight = torch.empty(shape)
    nn.init.orthogonal_(weight, gain)
    return nn.Parameter(weight)


def zero_bias(n: int) -> nn.Parameter:
    """A bias [post] of zero for each of n neurons."""
    bias = torch.zeros(n)
    return nn.Parameter(bias)
