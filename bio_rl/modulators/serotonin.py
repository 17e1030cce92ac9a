"""Serotonin: how far ahead rewards count, found by trying whether more or less patience earns more.

    γ = e^(-1/τ),   τ = e^(b + σ)               time horizon in decisions: serotonin's role in Doya
                                                2002
    r̄ ← r̄ + (r - r̄) / τ_mid                     r̄̄ ← r̄̄ + (r̄ - r̄̄) / τ_long
    b ← b + μ (r̄ - r̄̄) σ                         σ ~ N(0, ν²), drawn anew every n decisions

b follows the perturbations σ under which the reward of late exceeds that of before: on average, the
gradient of the reward by log τ. Schweighofer & Doya 2003; their γ = 1 - e^-(b + σ) is the same to
first order in 1/τ. Rewards should be of a size near one, and take less time to earn than there is
between two draws. Both means start at the first reward.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.modulators._modulator import never


class SerotoninState(NamedTuple):
    mid: Tensor
    """[B] r̄"""
    long: Tensor
    """[B] r̄̄"""
    log_tau: Tensor
    """[B] b"""
    sigma: Tensor
    """[B] σ"""
    count: Tensor
    """[B] decisions so far, int64."""


class Serotonin(NamedTuple):
    """Constants; times in decisions. Chosen, but for n."""

    tau: float = 10.0
    """Horizon at first."""
    limits: tuple[float, float] = (1.0, 1000.0)
    """The least and the greatest e^b."""
    tau_mid: float = 30.0
    tau_long: float = 100.0
    lr: float = 0.1
    """μ, per unit of reward."""
    noise: float = 0.3
    """ν"""
    period: int = 100
    """n of Schweighofer & Doya 2003."""

    reads = "reward"
    sets = "discount"

    def init(self, batch: int, device: torch.device | None = None) -> SerotoninState:
        """Raises ValueError for a horizon outside the limits."""
        if not 0.0 < self.limits[0] <= self.tau <= self.limits[1]:
            raise ValueError(
                f"serotonin: tau is {self.tau}, expected one within limits, {self.limits}"
            )
        zero = torch.zeros(batch, device=device)
        return SerotoninState(
            mid=zero,
            long=zero.clone(),
            log_tau=zero + math.log(self.tau),
            sigma=zero.clone(),
            count=torch.zeros(batch, dtype=torch.int64, device=device),
        )

    def step(
        self, state: SerotoninState, x: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, SerotoninState]:
        """(The discount γ [B] for the next decision, state) after one that earned the reward
        x [B].
        """
        reward = x.detach()
        first = state.count == 0
        # both means start at the first reward
        mid = state.mid + (reward - state.mid) / self.tau_mid
        mid = torch.where(first, reward, mid)
        long = state.long + (mid - state.long) / self.tau_long
        long = torch.where(first, reward, long)

        # a perturbation that came with more reward than before is followed
        better = mid - long
        log_tau = state.log_tau + self.lr * better * state.sigma
        low, high = map(math.log, self.limits)
        log_tau = log_tau.clamp(low, high)

        # drawn at every decision, so that a row's draws do not depend on when others draw
        normal = torch.randn(log_tau.shape, generator=generator, device=log_tau.device)
        due = state.count % self.period == 0
        sigma = torch.where(due, self.noise * normal, state.sigma)
        level = torch.exp(-torch.exp(-log_tau - sigma))
        return level, SerotoninState(mid, long, log_tau, sigma, state.count + 1)

    def effect(self, level: Tensor) -> Tensor:
        """The discount γ [B]."""
        return level

    def resets(self, before: SerotoninState, after: SerotoninState) -> Tensor:
        """[B] bool, nowhere: patience is no reason to let go."""
        return never(after.mid)
