"""The cache of `bench weights` between its runs: the weights of commits, and compiled kernels."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from bio_rl.bench._report import BenchError
from bio_rl.bench._weights_cases import Case
from bio_rl.bench._weights_checkpoints import Trained
from bio_rl.sweeps import result_file

REFUSED = 2
"""Exit status of a command line that does not accept its flags."""
DECIDE_NUMBERS = ("torch", "numpy", "numba", "gymnasium", "mujoco")
"""Packages whose versions decide what comes out of a training."""
DECIDE_WHAT_IS_KEPT = ("_weights_trainings.py", "_weights_checkpoints.py")
"""Files beside this one that decide how cases are trained and what is read of them."""


def default_folder() -> Path:
    """The folder in which this user's programs keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bio_rl" / "weights"


class Cache:
    """The weights that a commit has trained, a file per case; other flags, packages or machines
    make other files.
    """

    def __init__(self, parent: Path, commit: str) -> None:
        self.folder = parent.expanduser() / commit
        self.commit = commit
        self.shared = [platform.python_version(), result_file.device()]
        self.shared += [
            f"{package} {importlib.metadata.version(package)}" for package in DECIDE_NUMBERS
        ]
        self.shared += [
            Path(__file__).with_name(name).read_text(encoding="utf-8")
            for name in DECIDE_WHAT_IS_KEPT
        ]

    def path(self, case: Case) -> Path:
        """The file of a case."""
        return (
            self.folder / f"{case.slug}_{digest([case.flags, case.flags_before, *self.shared])}.pt"
        )

    def read(self, cases: Sequence[Case]) -> dict[str, Trained]:
        """The kept outcomes of these cases, by name; a file that cannot be read is as none."""
        found = {}
        for case in cases:
            with suppress(Exception):  # torch raises a dozen kinds over a damaged file
                found[case.name] = Trained(**torch.load(self.path(case), weights_only=True))
        return found

    def write(self, case: Case, trained: Trained) -> None:
        """Keep what the commit has trained, or that it refused. Raises BenchError where the folder
        cannot be written.
        """
        if trained.status not in (0, REFUSED):
            return
        path = self.path(case)
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(trained._asdict(), partial)
            partial.replace(path)
        except (
            OSError,
            RuntimeError,
        ) as error:  # torch's writer turns an OSError into a RuntimeError
            raise BenchError(
                f"{self.folder} cannot be written ({error}); choose another with --cache"
            ) from error


def kernels_folder(parent: Path, tree: Path) -> Path:
    """Where Numba keeps the kernels of a tree: another folder after any change of a file that
    speaks of Numba.

    Numba itself looks at the file of a loop alone, and goes on with the old code of what that loop
    calls in other files. What an older state of the tree has left there is deleted.
    """
    sources = (path.read_text(encoding="utf-8") for path in sorted((tree / "bio_rl").rglob("*.py")))
    place = parent.expanduser() / "kernels" / digest([str(tree)])
    folder = place / digest(source for source in sources if "numba" in source)
    for old in place.glob("*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def digest(texts: Iterable[str]) -> str:
    """A short name that other texts do not have."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
