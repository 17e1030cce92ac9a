"""Schedules of learning rates over a run: three settings, with one meaning in every agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, cast

from torch import Tensor

from bio_rl.checks import check_settings, owner
from bio_rl.discovery import suggestion

SHAPES = ("linear", "exponential")

Progress = TypeVar("Progress", float, Tensor)
"""A number, or a number for each of several seeds."""


@dataclass(frozen=True, kw_only=True)
class LearningRateSchedule:
    """Settings of an agent whose learning rates may change over the run."""

    lr_final: float = 1.0
    """Factor of the learning rates at the end of the run. 1 keeps them as they are, 0 lets them
    fall to zero.
    """
    lr_shape: str = "linear"
    """How the learning rates change: linear, on a straight line; exponential, by the same factor
    in every step.
    """
    lr_hold: float = 0.0
    """Fraction of the run, its beginning, in which the learning rates do not change yet."""

    def __post_init__(self) -> None:
        check_settings(self, non_negative=("lr_final",), unit=("lr_hold",))
        check_shape(owner(self), self.lr_shape, self.lr_final)

    def lr_factor(self, lived: Progress) -> Progress:
        """The factor of the learning rates when the fraction `lived` of the run is over."""
        return factor(
            lived,
            self.lr_final,
            self.lr_shape,
            self.lr_hold,
        )


def check_shape(agent: str, shape: str, final: float) -> None:
    """Raise ValueError unless a schedule of that shape exists and can end at `final`."""
    if shape not in SHAPES:
        raise ValueError(f"{agent}.lr_shape is {shape!r}; {suggestion(shape, SHAPES)}")
    if shape == "exponential" and final == 0:
        raise ValueError(
            f"{agent}.lr_final is {final}, expected a positive number: "
            "an exponential schedule never reaches zero; the linear one does"
        )


def factor(lived: Progress, final: float, shape: str, hold: float = 0.0) -> Progress:
    """The factor of a rate when the fraction `lived` of a run is over, from 1 to `final`.

    With u = (lived - hold) / (1 - hold), at least 0:   linear  u final + (1 - u),
    exponential  final^u.
    """
    if hold == 1.0:
        return lived * 0.0 + 1.0
    # 1 - u is not formed from u: either form is then exact where `hold` is 0.
    if shape == "linear":
        left = _within_unit((1.0 - lived) / (1.0 - hold))
        return final + (1.0 - final) * left
    changed = _within_unit((lived - hold) / (1.0 - hold))
    # A type checker expects a complex number of a power, as of one of a negative number.
    return cast("Progress", final**changed)


def _within_unit(x: Progress) -> Progress:
    """x where it lies between 0 and 1, else the nearer of both."""
    if isinstance(x, Tensor):
        return x.clamp(0.0, 1.0)
    return min(1.0, max(0.0, x))
