"""The time in which a process compiles its kernels: it is said, and is no part of a run's speed."""

from __future__ import annotations

import sys
import time

SAYS = "compiling kernels, once per machine: they are kept for later runs …"


class Compilation:
    """Adds up the seconds of compilations. One may begin within another: then they count once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Those of all that have ended."""
        self._running = 0
        self._began = 0.0
        self._said = False

    def begin(self, text: str) -> None:
        """Count from now on; `text` is printed on stderr where it is the process's first one."""
        if not self._running:
            self._began = time.perf_counter()
        self._running += 1
        if not self._said:
            self._said = True
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Stop counting, unless another one still runs."""
        self._running -= 1
        if not self._running:
            self.seconds += time.perf_counter() - self._began


KERNELS = Compilation()
"""The compilations of this process."""


def working_time() -> float:
    """Seconds by a clock that stands still while kernels are compiled."""
    return time.perf_counter() - KERNELS.seconds
