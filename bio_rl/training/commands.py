"""The lines that are printed for people to go on with: they run as they are."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path


def program() -> str:
    """The words that start this program again: `python train.py`, `bio-rl`, `python -m bio_rl`."""
    # A notebook has no script, or one of its own.
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    if script.name == "train.py":
        return f"python {shlex.quote(str(script))}"
    return "bio-rl" if script.stem == "bio-rl" else "python -m bio_rl"


def command(name: str, folder: Path, modules: Iterable[str], *more: object) -> str:
    """A command on a run folder, quoted for a shell, that trusts the modules the run needs."""
    words = [name, str(folder), *map(str, more), *trusting(modules)]
    return f"{program()} {shlex.join(words)}"


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
