"""Noradrenaline: errors larger than those that one is used to, the sign that the world has changed.

    f, s ← running means of |δ| over τ_fast and τ_slow decisions
    NE = max(0, 1 - s/f)            unexpected uncertainty, s being the expected one: Yu & Dayan
                                    2005
    β = β_0 (1 - NE)                inverse temperature: explore after a surprise, Aston-Jones &
                                    Cohen 2005
    reset, once, where NE rises above θ
                                    let go of the state that no longer holds: Bouret & Sara 2005

That noradrenaline sets the inverse temperature is Doya 2002, who has it rise with arousal; here NE
is the tonic level, which lowers it. In Yu & Dayan it is the posterior probability of a change,
which takes a model; the ratio of two means sees a change that doubles the errors at least: the
reversal of a choice that was right nine times in ten, not of one right eight times.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class NoradrenalineState(NamedTuple):
    fast: Tensor
    """[B] mean of |δ| of late."""
    slow: Tensor
    """[B] mean of |δ| over a longer time."""
    level: Tensor
    """[B] NE."""


class Noradrenaline(NamedTuple):
    """Constants; τ in decisions. Chosen, but for the form."""

    tau_fast: float = 10.0
    tau_slow: float = 200.0
    threshold: float = 0.5
    """θ: errors of late are twice as large as usual."""
    initial: float = 1.0
    """The |δ| that is expected at first; about the size of a reward."""

    reads = "error"
    sets = "inverse_temperature"

    def init(self, batch: int, device: torch.device | None = None) -> NoradrenalineState:
        expected = torch.full((batch,), self.initial, device=device)
        level = torch.zeros_like(expected)
        return NoradrenalineState(expected, expected.clone(), level)

    def step(
        self, state: NoradrenalineState, x: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, NoradrenalineState]:
        """(NE [B] in [0, 1), state) after one decision with the prediction error δ = x [B]."""
        size = x.detach().abs()
        fast = _mean(state.fast, size, self.tau_fast)
        slow = _mean(state.slow, size, self.tau_slow)
        # errors no larger than usual are no surprise, and 0/0 none either
        surprise = 1.0 - slow / fast
        level = torch.where(fast > slow, surprise, 0.0)
        return level, NoradrenalineState(fast, slow, level)

    def effect(self, level: Tensor) -> Tensor:
        """The factor of the inverse temperature [B]."""
        return inverse_temperature(level, 1.0)

    def resets(self, before: NoradrenalineState, after: NoradrenalineState) -> Tensor:
        """[B] bool, where NE has just risen above θ."""
        # once a surprise: while NE stays above θ there is no other
        was_calm = before.level <= self.threshold
        is_surprised = after.level > self.threshold
        return is_surprised & was_calm


def _mean(mean: Tensor, size: Tensor, tau: float) -> Tensor:
    """The running mean [B] over τ decisions, after one with an error of this size [B]."""
    keep = math.exp(-1.0 / tau)
    before = keep * mean
    return before + (1.0 - keep) * size


def inverse_temperature(level: Tensor, beta: float | Tensor) -> Tensor:
    """β [B] of a softmax over action values, from NE [B] and the β of a world without surprises."""
    return beta * (1.0 - level)
