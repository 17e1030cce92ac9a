"""Running mean and variance as part of a network's state dict, updated once per collected rollout."""

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
        self.limit, self.epsilon = limit, epsilon
        self.count = nn.Buffer(torch.zeros((), dtype=torch.float64))
        self.mean = nn.Buffer(torch.zeros(shape, dtype=torch.float64))
        self.m2 = nn.Buffer(torch.zeros(shape, dtype=torch.float64))
        self.shift = nn.Buffer(torch.zeros(shape))  # float32 copies of what the forward pass needs
        self.scale = nn.Buffer(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised and clipped x, [..., *shape] float32.

        The mean is taken off in the precision of x: a bit on top of 1e8 survives where x is
        float64.
        """
        centred = x - self.shift if x.dtype == torch.float32 else (x - self.mean).to(torch.float32)
        return (centred * self.scale).clamp(-self.limit, self.limit)

    @torch.no_grad()
    def update(self, x: Tensor, valid: Tensor) -> None:
        """Merge the samples x [..., *shape] of the rows where `valid` [...] is set."""
        x = x[valid].to(torch.float64).reshape(-1, *self.mean.shape)
        if len(x) == 0:
            return
        n, mean = len(x), x.mean(0)
        delta, total = mean - self.mean, self.count + n
        self.m2 += (x - mean).square().sum(0) + delta.square() * self.count * n / total
        self.mean += delta * n / total
        self.count.copy_(total)
        variance = self.m2 / self.count
        self.shift.copy_(self.mean)
        self.scale.copy_((variance + self.epsilon).rsqrt())
