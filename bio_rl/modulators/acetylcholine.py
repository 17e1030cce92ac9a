"""Acetylcholine: how uncertain predictions are known to be, and so how fast to learn.

    h ← h e^(-1/τ) + (1 - e^(-1/τ)) |δ|         the associability of Pearce & Hall 1980
    ACh = min(h / h_full, 1)                    a factor of the learning rate: Doya 2002

δ is any prediction error, such as dopamine's. This is expected uncertainty, errors of a size one is
used to (Yu & Dayan 2005); errors beyond it are `noradrenaline`. As there, and as in a new place,
everything counts as uncertain at first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.modulators._modulator import never


class AcetylcholineState(NamedTuple):
    h: Tensor
    """[B] running mean of |δ|."""


class Acetylcholine(NamedTuple):
    """Constants; τ in decisions. Chosen, but for the form."""

    tau: float = 30.0
    h_full: float = 1.0
    """Mean |δ| from which on learning goes at its full rate; about the size of a reward."""

    reads = "error"
    sets = "learning_rate"

    def init(self, batch: int, device: torch.device | None = None) -> AcetylcholineState:
        # all is uncertain at first
        h = torch.full((batch,), self.h_full, device=device)
        return AcetylcholineState(h)

    def step(
        self, state: AcetylcholineState, x: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, AcetylcholineState]:
        """(ACh [B] in [0, 1], state) after one decision with the prediction error δ = x [B]."""
        # the sign of an error says nothing about how sure one is
        size = x.detach().abs()
        keep = math.exp(-1.0 / self.tau)
        h = keep * state.h + (1.0 - keep) * size
        level = h / self.h_full
        return level.clamp(max=1.0), AcetylcholineState(h)

    def effect(self, level: Tensor) -> Tensor:
        """The factor of the learning rate [B]."""
        return level

    def resets(self, before: AcetylcholineState, after: AcetylcholineState) -> Tensor:
        """[B] bool, nowhere: expected uncertainty is no reason to let go."""
        return never(after.h)
