"""Losses as functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def ppo_policy_loss(
    logp: Tensor, logp_old: Tensor, advantage: Tensor, weight: Tensor, clip: float
) -> Tensor:
    """-Σ w min(ρ A, clip(ρ, 1±ε) A),   ρ = exp(logp - logp_old).
    All [N]; weights sum to one. Schulman 2017, eq. 7.
    """
    ratio = (logp - logp_old).exp()
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
    # The lesser of both: a step too far is never worth more than one up to the bound.
    surrogate = torch.minimum(ratio * advantage, clipped * advantage)
    return -(weight * surrogate).sum()


def clipped_value_loss(
    value: Tensor, value_old: Tensor, target: Tensor, weight: Tensor, clip: float
) -> Tensor:
    """½ Σ w max((V - R)², (V_old + clip(V - V_old, ±ε) - R)²); clip <= 0 is the plain squared
    error. All [N].

    Schulman et al. 2016's implementation in OpenAI baselines; Engstrom et al. 2020, §2.
    """
    error = (value - target).square()
    if clip > 0:
        change = (value - value_old).clamp(-clip, clip)
        clipped = value_old + change
        error = torch.maximum(error, (clipped - target).square())
    return 0.5 * (weight * error).sum()
