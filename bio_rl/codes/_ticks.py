"""The ticks of a decision: the checks and the one reshape that every code shares."""

from __future__ import annotations

from torch import Tensor


def check_ticks(owner: str, ticks: int) -> None:
    """Raise ValueError unless a decision lasts at least one tick."""
    if ticks < 1:
        raise ValueError(f"{owner}: ticks is {ticks}, expected at least 1 tick per decision")


def by_decision(owner: str, train: Tensor, ticks: int) -> Tensor:
    """`train` [T·K, B, N] as [T, K, B, N]. Raises ValueError unless it is whole decisions of K =
    `ticks`.
    """
    check_ticks(owner, ticks)
    if train.dim() != 3 or train.shape[0] % ticks:
        raise ValueError(
            f"{owner}: got shape {tuple(train.shape)}, expected [T·K, B, N] with K = {ticks} ticks"
        )
    return train.unflatten(0, (len(train) // ticks, ticks))
