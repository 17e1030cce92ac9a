"""Acetylcholine: how uncertain predictions are known to be, and so how fast to learn.

h ← h e^(-1/τ) + (1 - e^(-1/τ)) |δ|                  the associability of Pearce & Hall 1980
ACh = min(h / h_full, 1)                             a factor of the learning rate: Doya 2002

δ is any prediction error, such as dopamine's. This is expected uncertainty, errors of a size one is
used to (Yu & Dayan 2005); errors beyond it are `noradrenaline`. As there, and as in a new place,
everything counts as uncertain at first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class AcetylcholineState(NamedTuple):
    h: Tensor
    """[B] running mean of |δ|."""


class Acetylcholine(NamedTuple):
    """Constants; τ in decisions. Chosen, but for the form."""

    tau: float = 30.0
    h_full: float = 1.0
    """Mean |δ| from which on learning goes at its full rate; about the size of a reward."""

    def init(self, batch: int, device: torch.device | None = None) -> AcetylcholineState:
        return AcetylcholineState(torch.full((batch,), self.h_full, device=device))

    def step(self, s: AcetylcholineState, error: Tensor) -> tuple[Tensor, AcetylcholineState]:
        """(ACh [B] in [0, 1], state) after one decision with the prediction error δ [B]."""
        keep = math.exp(-1.0 / self.tau)
        h = keep * s.h + (1.0 - keep) * error.detach().abs()
        return (h / self.h_full).clamp(max=1.0), AcetylcholineState(h)
