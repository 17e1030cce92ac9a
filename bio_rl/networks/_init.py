"""Weight initialisation shared by the networks."""

from __future__ import annotations

from torch import nn


def orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    """`layer` with orthogonal weights of this gain and zero bias (Engstrom et al. 2020: matters for
    PPO).
    """
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
