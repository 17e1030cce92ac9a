"""The lines that are printed for people to go on with: they run as they are."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from bio_rl import trust


def program() -> str:
    """How this program was started: the console command, the module, or train.py."""
    started = Path(sys.argv[0]).name if sys.argv else ""
    return {"bio-rl": "bio-rl", "bio-rl.exe": "bio-rl", "__main__.py": "python -m bio_rl"}.get(started, "python train.py")


def command(name: str, folder: Path, env: str, *more: object) -> str:
    """A command on a run folder, quoted for a shell, with the module that its environment needs."""
    module = trust.module_of(env)
    words = [name, str(folder), *map(str, more), *(["--trust", module] if module else [])]
    return f"{program()} {shlex.join(words)}"


def tensorboard(parent: Path) -> str:
    """The command that shows the runs in a folder."""
    return shlex.join(["tensorboard", "--logdir", str(parent)])
