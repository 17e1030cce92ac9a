"""The temporal-difference error of a decision, the decay of older traces, and a summary of both, in
one pass over the batch.

    δ = valid · (r + γ (1 - terminated) V(s') - V(s))       κ = γλ (1 - reset)

As `modulators.dopamine` has it; at a few environments these are as many calls as there are numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.kernels.backends import form, pick
from bio_rl.modulators.dopamine import dopamine_rpe


class TDError(NamedTuple):
    """The prediction error of one decision in B environments."""

    rpe: Tensor
    """[B] δ, 0 in rows that are not valid."""
    decay: Tensor
    """[B] κ, the share that is left of traces older than the decision."""
    valid: int
    """Number of rows that count."""
    ended: int
    """Number of these whose episode ended."""
    mean: float
    """Mean of δ over the rows."""
    mean_abs: float
    """Mean of |δ|."""
    mean_value: float
    """Mean of V(s)."""


def td_error(
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
) -> TDError:
    """The error of a decision; all tensors [B], float32 the first three, bool the others.

    next_value: of the state before any reset; cut: terminated or truncated; reset: the decision was
    the first of its episode. backend: torch (the reference) or numba; None takes the device's
    default. Raises ValueError for other shapes, flags that are not bool, or an unknown backend.
    """
    numbers = (reward, value, next_value)
    flags = (terminated, cut, reset, valid)
    _check(numbers, flags)
    # The choice looks at one tensor; torch runs where another is of another dtype.
    alike = value.dtype == next_value.dtype == reward.dtype
    if backend is None and not alike:
        backend = "torch"
    backend = pick("td", reward, backend)
    run = reference if backend == "torch" else form("td", backend).run
    return run(numbers, flags, gamma, lam)


@torch.no_grad()
def reference(
    numbers: tuple[Tensor, ...], flags: tuple[Tensor, ...], gamma: float, lam: float
) -> TDError:
    """The equations, an operation at a time; numbers are (reward, value, next_value), flags
    (terminated, cut, reset, valid).
    """
    reward, value, next_value = numbers
    terminated, cut, reset, valid = flags
    rpe = dopamine_rpe(reward, value, next_value, terminated, gamma) * valid
    decay = gamma * lam * ~reset
    # All numbers are read at once: on a GPU each reading waits for the device.
    summary = torch.stack(
        (
            valid.sum(),
            (cut & valid).sum(),
            rpe.mean(),
            rpe.abs().mean(),
            value.mean(),
        )
    )
    counted, ended, mean, mean_abs, mean_value = summary.tolist()
    return TDError(rpe, decay, int(counted), int(ended), mean, mean_abs, mean_value)


def _check(numbers: tuple[Tensor, ...], flags: tuple[Tensor, ...]) -> None:
    """Raise ValueError for shapes other than [B], and for flags that are not bool."""
    tensors = (*numbers, *flags)
    shape = numbers[0].shape
    if len(shape) != 1 or any([x.shape != shape for x in tensors]):
        shapes = [tuple(x.shape) for x in tensors]
        raise ValueError(f"td_error: all arguments are [B], got {shapes}")
    # An integer flag would be read as several bools by a loop, and inverted bit by bit by torch.
    names = ("terminated", "cut", "reset", "valid")
    for name, flag in zip(names, flags, strict=True):
        if flag.dtype is not torch.bool:
            raise ValueError(f"td_error: {name} is of {flag.dtype}, expected torch.bool")
