"""Two trees of this project, this checkout and a commit, and the processes in which each of them
trains its cases.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from bio_rl.bench._report import BenchError
from bio_rl.bench._weights_cases import Case
from bio_rl.bench._weights_checkpoints import Trained, read_runs

ROOT = Path(__file__).parents[2]
"""The checkout that this file is part of."""
SCRIPT = Path(__file__).with_name("_weights_trainings.py")
TELLING = ("error: ", "Error: ", "Error ")
"""Marks of the line that says why a training ended."""
FRAME = "│╭╰─╮╯ "
"""Characters that the parser of the flags draws around its words."""


class Tree(NamedTuple):
    """A checkout that has cases to train."""

    name: str
    """`now` or `before`."""
    folder: Path
    cases: Sequence[Case]
    kernels: Path | None
    """Where Numba keeps its compiled loops; None for its own place beside the sources."""

    def spellings(self, case: Case) -> list[list[str]]:
        """The flags of a case; for an older tree then those that it may know them by."""
        flags = [case.flags]
        if self.name == "before" and case.flags_before != case.flags:
            flags.append(case.flags_before)
        return [shlex.split(spelling) for spelling in flags]


class Finished(NamedTuple):
    """A case that a tree has trained."""

    tree: str
    name: str
    trained: Trained
    seconds: float


# ---------------------------------- the other commit


def git(*arguments: str) -> str:
    """The output of git in this checkout. Raises ValueError with its last line where it fails."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it failed"]
        raise ValueError(f"git {' '.join(arguments)}: {said[-1]}")
    return done.stdout.strip()


def resolved(commit: str) -> str:
    """The full hash of a commit. Raises ValueError for one that this checkout does not know."""
    try:
        return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    except ValueError as error:
        raise ValueError(f"--commit {commit!r} is no commit of the checkout {ROOT}") from error


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """A folder with the files of a commit, which is removed at the end."""
    try:
        git("worktree", "add", "--detach", str(folder), commit)
        yield folder
    finally:
        with suppress(ValueError):  # it was not made
            git("worktree", "remove", "--force", str(folder))


# ---------------------------------- training


def train_all(trees: Sequence[Tree], place: Path, jobs: int, seconds: float) -> Iterator[Finished]:
    """Every case of every tree as it finishes, `jobs` at a time. Raises BenchError where a process
    failed.

    The run folders lie below `place`. Left early, all trainings are stopped.
    """
    ready: SimpleQueue[tuple[Tree, dict[str, Any]]] = SimpleQueue()
    processes: list[subprocess.Popen[str]] = []
    each = max(1, jobs // len(trees))
    try:
        for tree in trees:
            for cases in (tree.cases[i::each] for i in range(min(each, len(tree.cases)))):
                processes.append(start(tree, cases, place, seconds))
                Thread(target=collect, args=(processes[-1], tree, ready), daemon=True).start()
        for _ in range(sum(len(tree.cases) for tree in trees)):
            tree, line = ready.get()
            if "name" not in line:
                raise BenchError(
                    f"the process that trains in {tree.folder} ended early: {line['said']}"
                )
            yield Finished(tree.name, line["name"], outcome(line), line["seconds"])
    finally:
        for process in processes:
            stop(process)


def start(tree: Tree, cases: Sequence[Case], place: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that trains cases with the code of a tree, in a group of its own with all that it
    starts.
    """
    orders = [
        {
            "name": case.name,
            "spellings": tree.spellings(case),
            "folder": str(place / tree.name / case.slug),
        }
        for case in cases
    ]
    fixed = {
        "PYTHONPATH": str(tree.folder),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }
    kernels = {} if tree.kernels is None else {"NUMBA_CACHE_DIR": str(tree.kernels)}
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",
            str(SCRIPT),
        ],  # -P: the neighbours of the script are no modules of the trainings
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tree.folder,
        env={**os.environ, **fixed, **kernels},
        start_new_session=True,
    )
    assert process.stdin is not None
    with process.stdin as pipe:
        json.dump({"cases": orders, "seconds": seconds}, pipe)
    return process


def collect(
    process: subprocess.Popen[str], tree: Tree, ready: SimpleQueue[tuple[Tree, dict[str, Any]]]
) -> None:
    """Put a line for every case that is trained, and one without a name where the process
    failed.
    """
    assert process.stdout is not None
    said = "it said nothing"
    for line in process.stdout:
        if line.startswith("{"):
            ready.put((tree, json.loads(line)))
        else:
            said = line.strip() or said
    if process.wait():
        ready.put((tree, {"said": said}))


def stop(process: subprocess.Popen[str]) -> None:
    """End a process and the training that it has forked."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def outcome(line: Mapping[str, Any]) -> Trained:
    """The outcome of a training."""
    if line["status"]:
        return Trained({}, status=line["status"], said=reason(line["said"]))
    return read_runs(Path(line["folder"]) / "runs")


def reason(said: str) -> str:
    """The line of a failed training's output that says why: the last one that speaks of an error,
    or the last one.
    """
    lines = [line for line in (text.strip(FRAME) for text in said.splitlines()) if line]
    telling = [line for line in lines if any(word in line for word in TELLING)]
    return (telling or lines or ["it said nothing"])[-1]
