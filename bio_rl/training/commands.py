"""The lines that are printed for people to go on with: they run as they are."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


def program() -> str:
    """The words that start this program again: `python train.py`, `bio-rl`, `python -m bio_rl`."""
    # A notebook has no script, or one of its own.
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    if script.name == "train.py":
        return f"python {shlex.quote(str(script))}"
    return "bio-rl" if script.stem == "bio-rl" else "python -m bio_rl"


@dataclass(frozen=True)
class Hints:
    """The lines with which one goes on with a run, in the form in which it was begun."""

    folder: Path
    """The run folder."""
    modules: tuple[str, ...] = ()
    """Modules that the run needs, and so must be trusted."""
    python: bool = False
    """Whether they are lines of Python, not of a shell."""

    def evaluate(self) -> str:
        """The line that evaluates the run."""
        return self._loaded("evaluate") if self.python else self._command("eval")

    def play(self) -> str:
        """The line that films it."""
        return self._loaded("play") if self.python else self._command("play")

    def resume(self, steps: int | None = None) -> str:
        """The line that continues it, to `steps` in all where they are given."""
        if not self.python:
            more = () if steps is None else ("--steps", steps)
            return self._command("resume", *more)
        return f"bio_rl.resume({self._place({} if steps is None else {'steps': f'{steps:_}'})})"

    def _command(self, name: str, *more: object) -> str:
        words = [name, str(self.folder), *map(str, more), *trusting(self.modules)]
        return f"{program()} {shlex.join(words)}"

    def _loaded(self, method: str) -> str:
        return f"bio_rl.load({self._place({})}).{method}()"

    def _place(self, settings: dict[str, str]) -> str:
        """The arguments of a call that names the run."""
        if self.modules:
            settings = {**settings, "trust": repr(self.modules)}
        return ", ".join([repr(str(self.folder)), *(f"{k}={v}" for k, v in settings.items())])


def trusting(modules: Iterable[str]) -> list[str]:
    """The words of a command line that let modules be imported."""
    names = list(modules)
    return ["--trust", *names] if names else []


def expanded(path: str | Path) -> Path:
    """A path with `~` replaced by the home folder. Raises ValueError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{str(path)!r}: {error}; give the path without ~") from error


def tensorboard(parent: Path) -> str:
    """The command that shows the runs in a folder."""
    return shlex.join(["tensorboard", "--logdir", str(parent)])
