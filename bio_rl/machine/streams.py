"""Standard output and error that cost no work: closed by whoever read them, or too narrow for a
Greek letter.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Tolerant(io.TextIOBase):
    """A text stream like the one inside, which says nothing more once nobody reads it (`train.py |
    head`).

    A training then goes on in silence: its files tell what it does.
    """

    def __init__(self, inside: TextIO) -> None:
        self.inside = inside
        self.fault: OSError | None = None
        """Why output was lost, where it was not just that nobody reads it."""

    def write(self, text: str) -> int:
        try:
            return self.inside.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self.inside.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Let the file be nothing from now on, so that what is in buffers can be written too."""
        # A reader that has gone, or a terminal that was closed, is nobody's fault.
        if error.errno not in (errno.EPIPE, errno.EIO):
            self.fault = error
        with suppress(OSError, ValueError, AttributeError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.inside.fileno())
            os.close(nothing)

    def isatty(self) -> bool:
        # A library may ask when the program ends, after the stream was closed.
        return not self.inside.closed and self.inside.isatty()

    def fileno(self) -> int:
        return self.inside.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.inside.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.inside.errors

    @property
    def buffer(self) -> Any:
        return self.inside.buffer


@contextmanager
def tolerant() -> Iterator[Tolerant]:
    """Within, standard output and error are `Tolerant`, and signs that their encoding lacks become
    question marks.

    Yields the standard output.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.stdout, sys.stderr = (
        Tolerant(io.StringIO() if stream is None else stream) for stream in before
    )
    try:
        yield sys.stdout
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
