"""Ranges of settings: those that are accepted, said in one sentence with the setting and the value
met; and those in which `tune` looks for a better value.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

SEARCH = "search"
"""The name in a field's metadata of the range in which `tune` looks."""
EXPECTED = {
    "positive": ("a positive number", "positive numbers"),
    "non-negative": ("0 or more", "numbers of 0 or more"),
    "unit": ("a number from 0 to 1", "numbers from 0 to 1"),
    "finite": ("a finite number", "finite numbers"),
}
"""The words for each range, of one number and of several. NaN and infinity are in no range."""


def check(owner: str, name: str, value: Any, kind: str) -> None:
    """Raise ValueError unless `value`, or each of a tuple of values, is within the range `kind` of
    `EXPECTED`.
    """
    several = isinstance(value, tuple | list)
    values = value if several else (value,)
    if not all(within(x, kind) for x in values):
        # False and True count as 0 and 1: the words for one number, and for several.
        expected = EXPECTED[kind][several]
        raise ValueError(f"{owner}.{name} is {_shown(value)}, expected {expected}")


def within(x: Any, kind: str) -> bool:
    """Whether x is a number of that range."""
    if not isinstance(x, Real):
        return False
    # Compared, not converted: a whole number may be too large for a float. NaN is in no interval.
    number: Any = x
    if not -math.inf < number < math.inf:
        return False
    if kind == "positive":
        return number > 0
    if kind == "non-negative":
        return number >= 0
    return kind == "finite" or 0 <= number <= 1


def check_settings(
    config: Any,
    *,
    positive: Iterable[str] = (),
    non_negative: Iterable[str] = (),
    unit: Iterable[str] = (),
) -> None:
    """Raise ValueError unless the named fields of a dataclass are within their ranges and its other
    floats are finite.

    A setting that may be None is not looked at where it is. The message names the module of the
    class, which is also what its flags begin with.
    """
    types = {field.name: str(field.type) for field in dataclasses.fields(config)}
    kinds = {name: "finite" for name, kind in types.items() if "float" in kind}
    kinds |= dict.fromkeys(positive, "positive")
    kinds |= dict.fromkeys(non_negative, "non-negative")
    kinds |= dict.fromkeys(unit, "unit")
    for name, kind in kinds.items():
        value = getattr(config, name)
        if value is not None or "None" not in types[name]:
            check(owner(config), name, value, kind)


def at_least_one(flags: Any, *names: str) -> None:
    """Raise ValueError unless the named flags of a command are numbers from 1 on, or hold at least
    one value.
    """
    for name in names:
        value = getattr(flags, name)
        count = value if isinstance(value, int) else len(value)
        if count < 1:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is {_shown(value)}, expected at least one")


def numbers(texts: Iterable[str], owner: str, example: str) -> dict[str, float]:
    """The constants in texts such as "tau_e=500". Raises ValueError for a text that is none."""
    constants = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            constants[name] = float(number)
        except ValueError:
            raise ValueError(f"{owner}: {text!r} is not NAME=NUMBER, as in {example}") from None
    return constants


def owner(config: Any) -> str:
    """The name of the file that a configuration's class is in, with which its flags begin."""
    return type(config).__module__.rpartition(".")[2]


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)


# Where to look for better values


@dataclasses.dataclass(frozen=True)
class Between:
    """All numbers from `low` to `high`, whole ones for a setting of type int."""

    low: float
    high: float
    log: bool = False
    """Whether ratios count, not differences: a tenth of the numbers lies in a tenth of the orders
    of magnitude.
    """


@dataclasses.dataclass(frozen=True)
class Among:
    """One of some values."""

    values: tuple[Any, ...]


def tunable(default: Any, search: Between | Among) -> Any:
    """A field of a configuration with this default, whose better values `tune` looks for."""
    return dataclasses.field(default=default, metadata={SEARCH: search})


def searches(config: Any) -> dict[str, Between | Among]:
    """The ranges of a configuration's tunable settings, by name."""
    return {
        field.name: field.metadata[SEARCH]
        for field in dataclasses.fields(config)
        if SEARCH in field.metadata
    }
