"""Values that a user gives for settings, as plain Python values of the kind that the
setting has.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import numpy as np

from bio_rl.training.commands import expanded

FLAGS_OF_THEIR_OWN = (
    *("env", "num_envs", "device", "workers", "perturb"),
    *("autoreset_mode", "vectorization_mode", "vector_kwargs", "wrappers"),
)
"""Names that a run gives to what makes its environments."""


def fitted(kind: Any, value: Any, name: str) -> Any:
    """`value` as the type `kind` that the setting `name` is annotated with.

    NumPy's numbers become Python's, a whole number like 64.0 an int, a list a tuple, a single value
    a tuple of one for a setting that may have several. Raises ValueError for a text or a truth in
    place of a number, and for 64.5 in place of an int.
    """
    value = plain(value)
    if isinstance(kind, UnionType) and NoneType in get_args(kind):  # a setting that may be unset
        (kind,) = (part for part in get_args(kind) if part is not NoneType)
        if value is None:
            return None
    if get_origin(kind) is tuple:
        given = tuple(value) if isinstance(value, list | tuple) else (value,)
        kinds = get_args(kind)
        # tuple[int, ...] holds as many as one likes.
        kinds = kinds[:1] * len(given) if kinds[1:] == (...,) else kinds
        if len(kinds) != len(given):
            raise ValueError(f"{name} is {value!r}, expected {len(kinds)} values")
        return tuple(fitted(k, x, name) for k, x in zip(kinds, given, strict=True))
    if kind is bool:
        return _expect(value, isinstance(value, bool), name, "True or False")
    if kind is int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return int(_expect(value, whole and not isinstance(value, bool), name, "a whole number"))
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(_expect(value, number, name, "a number"))
    if kind is str:
        return _expect(value, isinstance(value, str), name, "a text")
    if kind is Path:
        return expanded(_expect(value, isinstance(value, str | Path), name, "a path"))
    return tuple(value) if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """A NumPy number, or an array of them, as Python's; anything else as it is."""
    # NumPy's numbers print as np.float64(0.5), which no JSON holds.
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value


def _expect(value: Any, fits: bool, name: str, kind: str) -> Any:
    if not fits:
        raise ValueError(f"{name} is {value!r}, expected {kind}")
    return value


def env_kwargs(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a world's constructor as JSON keeps them. Raises ValueError for a value that it
    cannot keep.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"env_kwargs is {given!r:.80}, expected arguments by name")
    for name in given:
        # It becomes the name of an argument.
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"--env-arg: {name!r} is no name of an argument, expected name=value")
        if name in FLAGS_OF_THEIR_OWN:
            raise ValueError(f"--env-arg {name}: this one is set by a flag of its own (see --help)")
    return {name: _json(value, name) for name, value in given.items()}


def as_texts(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Arguments of a world's constructor as the texts `name=value` that `parse_env_args` reads.
    Raises ValueError.
    """
    return tuple(f"{name}={json.dumps(value)}" for name, value in env_kwargs(given).items())


def _json(value: Any, name: str) -> Any:
    """Tuples become lists here already, so that a resumed run makes the very same world."""
    value = plain(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _json(x, f"{name}[{key!r}]") for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_json(x, f"{name}[{i}]") for i, x in enumerate(value)]
    raise ValueError(
        f"--env-arg {name} is a {type(value).__name__}, expected a number, a text, True, False, "
        "None, or lists and "
        "dictionaries of them; register an id of your own for more"
    )


def parse_env_args(texts: Sequence[str]) -> dict[str, Any]:
    """The arguments that `name=value` texts give: Python literals or JSON, else text. Raises
    ValueError.
    """
    given: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise ValueError(
                f"--env-arg {text}: expected name=value, as in --env-arg is_slippery=False"
            )
        if name in given:
            raise ValueError(
                f"--env-arg {name} is given twice, as {given[name]!r} and as {value!r}"
            )
        given[name] = _literal(value)
    return env_kwargs(given)


def _literal(text: str) -> Any:
    # Python first: 1_000 and None are no JSON; true and null are none of Python's.
    for read in (ast.literal_eval, json.loads):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text
