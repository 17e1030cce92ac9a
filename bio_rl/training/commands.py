"""The lines that are printed for people to go on with: they run as they are."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from bio_rl.machine import trust


def program() -> str:
    """The words that start this program again: `python train.py`, `bio-rl`, or `python -m bio_rl`."""
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    if script.name == "train.py":
        return f"python {shlex.quote(str(script))}"
    return "bio-rl" if script.stem == "bio-rl" else "python -m bio_rl"


def command(name: str, folder: Path, env: str, *more: object) -> str:
    """A command on a run folder, quoted for a shell, with the module that its environment needs."""
    module = trust.module_of(env)
    words = [name, str(folder), *map(str, more), *(["--trust", module] if module else [])]
    return f"{program()} {shlex.join(words)}"


def expanded(path: str | Path) -> Path:
    """A path with `~` replaced by the home folder. Raises ValueError where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{str(path)!r}: {error}; give the path without ~") from error


def tensorboard(parent: Path) -> str:
    """The command that shows the runs in a folder."""
    return shlex.join(["tensorboard", "--logdir", str(parent)])
