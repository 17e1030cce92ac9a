"""How the tensors of two trainings differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Comparison(NamedTuple):
    """How the tensors of two trainings differ; each list holds sentences."""

    tensors: int
    """How many the older training has."""
    differ: list[str]
    """Those of the older training without an equal partner."""
    renamed: list[str]
    """Those whose bits are found under another name or in another shape."""
    added: list[str]
    """Those that the newer training alone has."""

    @property
    def verdict(self) -> str:
        """`equal` or `differs`; nothing to compare is no equality."""
        return "differs" if self.differ or not self.tensors else "equal"


def compare(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> Comparison:
    """How two sets of tensors differ: by name first, and what is left by its bits.

    Each tensor has one partner at most. A tensor that only `now` has is added, which is no
    difference.
    """
    same = [name for name in before if name in now and bits(before[name]) == bits(now[name])]
    renamed = [
        reshaped(name, before[name], now[name])
        for name in same
        if before[name].shape != now[name].shape
    ]
    left = {name: x for name, x in now.items() if name not in same}
    alone = []
    for name in (name for name in before if name not in same):
        partner = twin(before[name], left)
        if partner is None:
            alone.append(name)
            continue
        renamed.append(f"{name} {shape(before[name])} is now {partner} {shape(left[partner])}")
        del left[partner]
    differ = [difference(name, before[name], left) for name in alone]
    added = [f"{name} {shape(x)}" for name, x in left.items() if name not in before]
    return Comparison(len(before), differ, renamed, added)


def bits(x: Tensor) -> tuple[torch.dtype, bytes]:
    """The type and the bytes of a tensor: 0.0 is not -0.0, and NaN is itself."""
    return x.dtype, x.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def twin(x: Tensor, others: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor with the bits of `x`, one of its shape before others; None
    without one.
    """
    found = [name for name, y in others.items() if y.numel() == x.numel() and bits(y) == bits(x)]
    return min(found, key=lambda name: others[name].shape != x.shape, default=None)


def reshaped(name: str, before: Tensor, now: Tensor) -> str:
    """A sentence on a tensor that kept its name and its bits."""
    return f"{name} {shape(before)} has now the shape {shape(now)}"


def difference(name: str, x: Tensor, others: Mapping[str, Tensor]) -> str:
    """A sentence on a tensor without an equal partner: how far the one of its name, or the nearest,
    is from it.
    """
    if name in others and others[name].shape == x.shape:
        return f"{name} {shape(x)} differs by at most {distance(x, others[name]):.3g}"
    if name in others:
        return f"{name} {shape(x)} has now the shape {shape(others[name])} and other numbers"
    alike = {other: distance(x, y) for other, y in others.items() if y.shape == x.shape}
    if not alike:
        return f"{name} {shape(x)} is gone"
    nearest = min(alike, key=lambda other: alike[other])
    return (
        f"{name} {shape(x)} is gone; the nearest of its shape, {nearest}, differs by at most "
        f"{alike[nearest]:.3g}"
    )


def distance(x: Tensor, y: Tensor) -> float:
    """The largest absolute difference of two tensors of one shape; NaN where one of them
    has NaN.
    """
    return float((x.double() - y.double()).abs().max()) if x.numel() else 0.0


def shape(x: Tensor) -> str:
    """[2, 3] for a matrix of two rows."""
    return str(list(x.shape))


def without(weights: Mapping[str, Tensor], patterns: Sequence[str]) -> dict[str, Tensor]:
    """The tensors whose names none of the patterns is found in."""
    return {name: x for name, x in weights.items() if not any(re.search(p, name) for p in patterns)}
