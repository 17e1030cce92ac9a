"""The prediction error of a decision, what it leaves of older traces, and a summary of both, in one
pass over the batch.

    δ = valid · (r + γ (1 - terminated) V(s') - V(s))       κ = γλ (1 - reset)

As `modulators.dopamine` has it; at a few environments these are as many calls as there are numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.kernels import BACKENDS, fused, suited
from bio_rl.modulators.dopamine import dopamine_rpe


class Judged(NamedTuple):
    """What a decision was worth."""

    rpe: Tensor
    """[B] δ, 0 in rows that are not valid."""
    decay: Tensor
    """[B] κ, what is left of traces that are older than the decision."""
    valid: int
    """Rows that count."""
    ended: int
    """Of these, those whose episode ended."""
    mean: float
    """Of δ over the rows."""
    size: float
    """The mean of |δ|."""
    value: float
    """The mean of V(s)."""


def judge(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    cut: Tensor,
    reset: Tensor,
    valid: Tensor,
    *,
    gamma: float,
    lam: float,
    backend: str | None = None,
) -> Judged:
    """All arguments [B]; float32 the first three, bool the others.

    next_value: of the state before any reset; cut: terminated or truncated; reset: the decision was
    the first of its episode. backend: torch (the reference), numba, or triton, for which it is the
    reference; None takes the device's default. Raises ValueError for other shapes, flags that are
    not bool, or an unknown backend.
    """
    given = reward, value, next_value, terminated, cut, reset, valid
    if reward.dim() != 1 or any([x.shape != reward.shape for x in given]):
        raise ValueError(f"judge: all arguments are [B], got {[tuple(x.shape) for x in given]}")
    for name, x in (("terminated", terminated), ("cut", cut), ("reset", reset), ("valid", valid)):
        if x.dtype is not torch.bool:
            raise ValueError(f"judge: {name} is of {x.dtype}, expected torch.bool")
    if backend is None:
        backend = suited(reward) if value.dtype == next_value.dtype == reward.dtype else "torch"
    if backend not in BACKENDS:
        raise ValueError(f"no kernel backend called {backend!r}; known: {', '.join(BACKENDS)}")
    if backend != "numba":
        return reference(*given, gamma, lam)
    return fused(backend, "td").run(*given, gamma, lam)


@torch.no_grad()
def reference(
    reward: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, cut: Tensor, reset: Tensor, valid: Tensor,
    gamma: float, lam: float,
) -> Judged:  # fmt: skip
    """The equations, an operation at a time; arguments as `judge` takes them."""
    rpe = dopamine_rpe(reward, value, next_value, terminated, gamma) * valid
    counts, means = (valid.sum(), (cut & valid).sum()), (rpe.mean(), rpe.abs().mean(), value.mean())
    counted, ended, *read = torch.stack((*counts, *means)).tolist()  # one synchronisation
    return Judged(rpe, gamma * lam * ~reset, int(counted), int(ended), *read)
