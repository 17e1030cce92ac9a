"""Requests to stop a training: Ctrl-C, a scheduler's SIGTERM, a closed terminal's SIGHUP."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

CAUGHT = tuple(
    signal.Signals[name]
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if name in signal.Signals.__members__
)
ANSWER = b"\nstopping after this update; once more stops at once, with what was saved before\n"
SAVING = b"\nsaving; it stops right after\n"


class Interrupted(KeyboardInterrupt):
    """A signal that stops the work at hand at once."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopRequest:
    """Catches the signals that ask a run to stop, as a context manager.

    What a signal does depends on the work at hand: a start or an evaluation ends at once
    (`Interrupted` is raised), a training ends after its update (`gently`), a save is finished first
    (`held`). The second signal ends anything but a save at once. Outside the main thread nothing is
    caught.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        """The first signal that came, or SIGINT where the program asked."""
        self._gentle = self._held = self._again = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether somebody asked for a stop."""
        return self.number is not None

    def ask(self) -> None:
        """Ask for a stop as the first Ctrl-C does, from within the program."""
        self.number = self.number or signal.SIGINT

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in CAUGHT:
                # nohup asks to live on when the terminal goes.
                ignored = signal.getsignal(number) is signal.SIG_IGN
                if not ignored or number == signal.SIGINT:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.asked
        self.number = self.number or number
        # A save is never cut: it remembers that more than a gentle stop was asked for.
        if self._held:
            self._again = self._again or again or not self._gentle
            _say(SAVING)
        elif self._gentle and not again:
            _say(ANSWER)
        else:
            raise Interrupted(self.number)

    @contextmanager
    def gently(self) -> Iterator[None]:
        """Within, the first signal only sets `asked`."""
        with self._as("_gentle", True):
            yield

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, a signal raises `Interrupted`."""
        with self._as("_gentle", False):
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, nothing is interrupted; a signal that would have been raises `Interrupted` at the
        end.
        """
        with self._as("_held", True):
            yield
        # Saves may be nested: the outermost one answers.
        if self._again and not self._held:
            raise Interrupted(self.number or signal.SIGINT)

    @contextmanager
    def _as(self, name: str, value: bool) -> Iterator[None]:
        before = {"_gentle": self._gentle, "_held": self._held}[name]
        setattr(self, name, value)
        try:
            yield
        finally:
            setattr(self, name, before)


def _say(text: bytes) -> None:
    """Write to the terminal at once: a handler may run while Python prints, so it must not print
    itself.
    """
    # Standard error may be closed, or no real file.
    with suppress(OSError, ValueError, AttributeError):
        os.write(sys.__stderr__.fileno(), text)  # type: ignore[union-attr]


def exit_status(number: int) -> int:
    """The exit status of a process that this signal ended, as shells and schedulers know it."""
    return 128 + number
