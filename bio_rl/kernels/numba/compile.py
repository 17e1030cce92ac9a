"""Compilation of loops with Numba. What is compiled is kept on disk where there is a place for it,
else made anew in memory.

A container's user may own neither the package nor a home, and a disk may be full: both cost time at
the start, not the run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numba
from numba.core.caching import FunctionCache

REMEDY = "set NUMBA_CACHE_DIR to a folder that can be written"


class _Cache(FunctionCache):
    """Numba's own cache of a function, in which a disk that fails is a cache that is empty."""

    def load_overload(self, *arguments: Any) -> Any:
        try:
            return super().load_overload(*arguments)
        except OSError as error:
            say_once(str(error))
            return None

    def save_overload(self, *arguments: Any) -> None:
        try:
            super().save_overload(*arguments)
        except OSError as error:
            say_once(str(error))


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator like `numba.njit(cache=True, **options)` that does without the cache where there
    is no place for one.
    """

    def compile_later(function: Callable[..., Any]) -> Any:
        loop = numba.njit(**options)(function)
        try:
            loop._cache = _Cache(
                function
            )  # as `enable_caching` does, which raises where it finds no place
        except RuntimeError:
            say_once("no folder for it can be written")
        return loop

    return compile_later


def say_once(why: str) -> None:
    """Tell on stderr that loops are compiled anew in every process; the first reason is enough."""
    if not _SAID:
        _SAID.append(why)
        print(
            f"neuron kernels: compiled in memory, as Numba has no cache ({why}): {REMEDY}",
            file=sys.stderr,
        )


_SAID: list[str] = []
"""The reason that was given."""


def folder(loop: Any) -> str | None:
    """Where a compiled loop is kept; None where there is no place for it."""
    return loop.stats.cache_path
