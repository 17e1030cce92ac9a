"""Values that somebody else wrote, checked against the type of the field that they are for."""

from __future__ import annotations

import math
import reprlib
import types
import typing
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WORDS = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "a text",
    Path: "a path, as text",
    type(None): "nothing",
}
TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the direction of writing: a name with them reads as another."""


def check(value: Any, hint: Any, at: str) -> None:
    """Raise ValueError, one line, unless `value` (of JSON) can stand in a field of the type `hint`
    at the place `at`.
    """
    if not fits(value, hint):
        raise ValueError(f"{at} is {_short(value)}, expected {words(hint)}")
    for text in _texts(value):
        # A name of a stranger's run is printed: it must not move the cursor.
        if any(c in TURNING or unicodedata.category(c) == "Cc" for c in text):
            raise ValueError(f"{at} is {_short(text)}, expected a text without control characters")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON can stand for a field of this type; a single value may stand for a
    list of one.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and inner[-1:] == (...,):
        values = value if isinstance(value, list | tuple) else (value,)
        return all(fits(x, inner[0]) for x in values)
    if origin is tuple:
        right = isinstance(value, list | tuple) and len(value) == len(inner)
        return right and all(fits(x, part) for x, part in zip(value, inner, strict=True))
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in inner)
    if origin is typing.Literal:
        # 1 == True for Python, but not for who reads the file.
        return any(type(value) is type(part) and value == part for part in inner)
    if origin is not None:
        return (
            _fits_mapping(value, inner)
            if issubclass(origin, Mapping)
            else isinstance(value, origin)
        )
    if hint is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    if hint is Path:
        return type(value) is str or isinstance(value, Path)
    return hint is Any or type(value) is hint


def _fits_mapping(value: Any, inner: tuple[Any, ...]) -> bool:
    if not isinstance(value, Mapping):
        return False
    # Mapping without parameters holds anything.
    return not inner or all(fits(k, inner[0]) and fits(x, inner[1]) for k, x in value.items())


def words(hint: Any) -> str:
    """A type as a reader would say it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and inner[-1:] == (...,):
        return f"a list, each {words(inner[0])}"
    if origin is tuple:
        return f"a list of {len(inner)}, each {words(inner[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(words, inner))
    if origin is typing.Literal:
        return " or ".join(map(repr, inner))
    return WORDS.get(hint, "an object" if origin is not None else str(hint))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        # Names reach the terminal as values do.
        value = [*value.keys(), *value.values()]
    return (
        [text for part in value for text in _texts(part)] if isinstance(value, list | tuple) else []
    )


def _short(value: Any) -> str:
    return reprlib.repr(value)
