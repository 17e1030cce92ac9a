"""Compilation of loops with Numba. Compiled loops are kept on disk where there is a place for them,
else they are made anew in memory.

A container's user may own neither the package nor a home, and a disk may be full: both cost time at
the start, not the run.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import event
from numba.core.caching import FunctionCache

from bio_rl.machine.compiling import KERNELS, SAYS

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

    def _index_key(self, *arguments: Any) -> Any:
        # Numba looks at the file of the function alone, and keeps what other files gave to its
        # loop: one that calls `memory.part` would go on with an old one.
        key = super()._index_key(*arguments)
        return key, sources()


@functools.cache
def sources() -> str:
    """A digest of the files of this folder, which call one another's loops."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator like `numba.njit(cache=True, **options)` that does without the cache where there
    is no place for one.
    """

    def compile_later(function: Callable[..., Any]) -> Any:
        made: Any = numba.njit(**options)(function)
        try:
            # as `enable_caching` does, which raises where it finds no place
            made._cache = _Cache(function)
        except RuntimeError:
            say_once("no folder for it can be written")
        return made

    return compile_later


loop = compiled(nogil=True, error_model="numpy")
"""Compiles a loop whose every operation rounds as it is written."""

fast_loop = compiled(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
"""Compiles a loop with sums in any order and fused multiply-adds, without which a product is no
vector loop; NaN and ∞ stay what they are.
"""

inlined = numba.njit(inline="always")
"""A part of loops, which takes over their rules of rounding."""


class _Listener(event.Listener):
    """Times what Numba compiles: it tells so where a loop is not on disk."""

    def on_start(self, event: event.Event) -> None:
        # without a cache they are compiled in every process, as `say_once` has told
        KERNELS.begin("compiling kernels …" if _SAID else SAYS)

    def on_end(self, event: event.Event) -> None:
        KERNELS.end()


event.register("numba:compile", _Listener())


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


def folder(compiled_loop: Any) -> str | None:
    """The folder in which a compiled loop is kept; None where there is no place for it."""
    return compiled_loop.stats.cache_path
