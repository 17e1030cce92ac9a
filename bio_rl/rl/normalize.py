"""Running mean and variance as part of a network's state dict, updated once per rollout."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RunningNorm(nn.Module):
    """Running statistics of [..., *shape] samples.  x̂ = clip((x - μ) / sqrt(σ² + ε), ±limit)

    Chan, Golub & LeVeque 1983 merge in float64; statistics change only in `update`, never in the
    forward pass, so acting, learning and evaluating within one rollout see the same normaliser.
    Before the first update it only clips.
    """

    def __init__(self, shape: tuple[int, ...], limit: float = 10.0, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.limit = limit
        self.epsilon = epsilon
        self.count = nn.Buffer(torch.zeros((), dtype=torch.float64))
        self.mean = nn.Buffer(torch.zeros(shape, dtype=torch.float64))
        self.m2 = nn.Buffer(torch.zeros(shape, dtype=torch.float64))
        # Copies in float32 of the two numbers that the forward pass needs.
        self.shift = nn.Buffer(torch.zeros(shape))
        self.scale = nn.Buffer(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised and clipped x, [..., *shape] float32.

        The mean is taken off in the precision of x: a bit on top of 1e8 survives where x is
        float64.
        """
        if x.dtype == torch.float32:
            centred = x - self.shift
        else:
            centred = (x - self.mean).to(torch.float32)
        normalised = centred * self.scale
        return normalised.clamp(-self.limit, self.limit)

    @torch.no_grad()
    def update(self, x: Tensor, valid: Tensor) -> None:
        """Merge the samples x [..., *shape] of the rows where `valid` [...] is set."""
        x = x[valid].to(torch.float64)
        x = x.reshape(-1, *self.mean.shape)
        n = len(x)
        if n == 0:
            return

        mean = x.mean(0)
        delta = mean - self.mean
        total = self.count + n
        # Squares about the new samples' mean, and those that the shift between both means adds.
        self.m2 += (x - mean).square().sum(0) + delta.square() * self.count * n / total
        self.mean += delta * n / total
        self.count.copy_(total)

        variance = self.m2 / self.count
        self.shift.copy_(self.mean)
        self.scale.copy_((variance + self.epsilon).rsqrt())
