"""The voice of a training: whether it prints, and in which form its hints are."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Voice:
    """The way in which a training speaks to its user."""

    quiet: bool = False
    """Whether it prints nothing: no panel and no lines. Warnings and errors come all the same."""
    python: bool = False
    """Whether it was begun from Python: its hints are lines of Python then, not of a shell."""

    def say(self, text: str) -> None:
        """Print a text, unless it is to be quiet."""
        if not self.quiet:
            print(text)

    def console(self) -> Any:
        """The console of `rich` on which the panel is drawn; None for the usual one."""
        if not self.quiet:
            return None
        from rich.console import Console

        # A file that is no terminal: a live panel would hide the cursor of one.
        return Console(file=io.StringIO(), quiet=True)


ALOUD = Voice()
"""Everything is printed, with hints for a shell."""
