"""Constants that no neuron can have are refused when they are made or replaced."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from bio_rl import discovery
from bio_rl.checks import EXPECTED, check
from bio_rl.modes import transformed
from bio_rl.surrogates import SURROGATES

Constants = TypeVar("Constants")


def checked(*, above: str = "", **ranges: str) -> Callable[[type[Constants]], type[Constants]]:
    """A decorator for the constants of a neuron: those named have ranges of `checks.EXPECTED`, all
    others are finite.

    above: the constant that `v_threshold` has to exceed, for neurons whose membrane is in mV, where
    0 is nothing special. An impossible constant raises ValueError when the constants are made or
    replaced. Tensors are looked at when they are made.
    """

    # a NamedTuple has no __init__ that could check: its __new__ is wrapped, and _replace, which
    # does not go through it
    def with_checks(kind: Any) -> Any:
        make = kind.__new__
        replace = kind._replace

        @functools.wraps(make)
        def new(cls: Any, *args: Any, **values: Any) -> Any:
            p = make(cls, *args, **values)
            for name, value in zip(p._fields, p, strict=True):
                check_constant(kind, name, value, ranges.get(name, "finite"))
            if above:
                check_threshold(kind, p, above)
            return p

        @functools.wraps(replace)
        def replaced(self: Any, /, **values: Any) -> Any:
            for name, value in values.items():
                # tensors are those that learn: their optimiser replaces them at every call
                if not isinstance(value, Tensor):
                    check_constant(kind, name, value, ranges.get(name, "finite"))
            return replace(self, **values)

        kind.__new__ = new
        kind._replace = replaced
        return kind

    return with_checks


def check_constant(kind: type, name: str, value: Any, needed: str) -> None:
    """Raise ValueError unless the value can be the constant `name` of a neuron of this kind."""
    if isinstance(value, Tensor):
        if not everywhere(within(value.detach(), needed)):
            expected = EXPECTED[needed][1]
            raise ValueError(
                f"{file_of(kind)}.{name} is {value.detach().tolist()}, expected {expected}"
            )
    elif name == "surrogate":
        if value not in SURROGATES:
            known = discovery.suggestion(str(value), SURROGATES)
            raise ValueError(f"{file_of(kind)}.surrogate is {value!r}; {known}")
    elif name == "detach_reset":
        if not isinstance(value, bool):
            raise ValueError(f"{file_of(kind)}.detach_reset is {value!r}, expected True or False")
    elif value is not None or name != "v_reset":  # None is a soft reset
        check(file_of(kind), name, value, needed)


def check_threshold(kind: type, p: Any, above: str) -> None:
    """Raise ValueError unless v_threshold exceeds the constant `above`, where a spike ends."""
    lowest = p._asdict()[above]
    if not everywhere(p.v_threshold > lowest):
        raise ValueError(
            f"{file_of(kind)}.v_threshold is {p.v_threshold}, "
            f"expected more than {above}, a spike's end"
        )


def file_of(kind: type) -> str:
    """The name of the file that a neuron is in, which is its name on the command line."""
    return kind.__module__.rpartition(".")[2]


def everywhere(fits: bool | Tensor) -> bool:
    """Whether it fits for every neuron; tensors of a function transform cannot be read."""
    if isinstance(fits, Tensor):
        return transformed() or bool(fits.all())
    return fits


def within(x: Tensor, needed: str) -> Tensor:
    """Where x is within a range of `checks.EXPECTED`."""
    finite = x.isfinite()
    if needed == "positive":
        return finite & (x > 0)
    if needed == "non-negative":
        return finite & (x >= 0)
    return finite
