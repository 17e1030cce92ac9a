"""Population code: every input dimension drives neurons with Gaussian receptive fields along it.

A_ik = exp(-½ ((o_i - μ_k) / σ)²),   μ evenly over [-reach, reach]      Tang et al. 2020 (PopSAN), eq. 1
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bio_rl import random


class Population(nn.Module):
    """Features [..., F] to currents or spike probabilities [..., F·size] in [0, 1].

    reach, sigma: in units of the (normalised) input. With sigma=None neighbouring fields cross at half a spacing per σ.
    """

    def __init__(self, size: int, reach: float = 3.0, sigma: float | None = None) -> None:
        super().__init__()
        if size < 2 or reach <= 0:
            raise ValueError(f"population code of size {size} and reach {reach}: expected size >= 2 and reach > 0")
        spacing = 2.0 * reach / (size - 1)
        self.scale = nn.Buffer(torch.tensor(0.5**0.5 / (sigma or spacing)), persistent=False)
        self.centres = nn.Buffer(torch.linspace(-reach, reach, size), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """A [..., F·size], constant over the ticks of a decision (direct current)."""
        distance = (features * self.scale).unsqueeze(-1) - self.centres * self.scale
        return distance.square().neg().exp().flatten(-2)


def poisson(rates: Tensor, key: Tensor, ticks: int) -> Tensor:
    """Bernoulli spikes [K, B, N] float with the probabilities `rates` [B, N] at each tick, a pure function of key [B]."""
    draws = random.uniform(key, ticks, rates.shape[-1])  # [B, K, N]
    return (draws.transpose(0, 1) < rates).to(rates.dtype)
