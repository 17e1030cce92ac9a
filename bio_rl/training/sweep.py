"""Whole trainings in processes of their own, several at a time; of learners that can, the seeds
side by side in one.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

TAIL = 30
"""Lines of a failed training's output that are shown."""


class TrainingError(RuntimeError):
    """A training failed; the message ends with the tail of its output."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One process of training, as `python -m bio_rl` does it."""

    env: str
    network: str
    agent: str
    seed: int
    steps: int | None
    """None: the preset's."""
    episodes: int
    """Of the final greedy evaluation."""
    flags: str = ""
    """Further flags of train.py, as they are typed."""
    seeds: int = 1
    """Seeds trained side by side: seed, seed + 1, …"""

    @property
    def case(self) -> str:
        return " ".join([f"{self.env}/{self.agent}/{self.network}", *self.flags.split()])

    @property
    def each(self) -> range:
        """Its seeds."""
        return range(self.seed, self.seed + self.seeds)

    def __str__(self) -> str:
        return f"{self.case} seed{'s' if self.seeds > 1 else ''} {', '.join(map(str, self.each))}"

    def arguments(self) -> list[str]:
        """Of train.py."""
        flags = [
            "--env",
            self.env,
            "--network",
            self.network,
            "--agent",
            self.agent,
            "--seed",
            str(self.seed),
        ]
        flags += ["--seeds", str(self.seeds)] if self.seeds > 1 else []
        return [
            *flags,
            *(["--steps", str(self.steps)] if self.steps is not None else []),
            *shlex.split(self.flags),
        ]

    def folder(self, parent: Path, seed: int | None = None) -> Path:
        """Where `run` keeps the run folder of a seed, by default the first, under `parent`: the
        newest.
        """
        seed = self.seed if seed is None else seed
        folders = self.parent(parent).glob(f"*_s{seed}_*/")
        return max(folders, key=lambda folder: folder.stat().st_mtime).resolve()

    def parent(self, parent: Path) -> Path:
        """The folder of this training alone."""
        last = f"-{self.each[-1]}" if self.seeds > 1 else ""
        return (
            parent.absolute()
            / f"{self.case.translate(str.maketrans('/ ', '-_'))}_s{self.seed}{last}"
        )


def run_all(
    todo: Iterable[Training], jobs: int, run_dir: Path | None
) -> Generator[tuple[Training, dict[int, Any] | Exception], None, None]:
    """Each training with the records of its seeds, or the exception it ended with, as they finish,
    `jobs` at a time.

    run_dir: keep the run folders there; None: in a temporary folder. Left early, the rest are not
    started and those that run are stopped.
    """
    running: set[subprocess.Popen] = set()
    slots = shares(jobs)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(jobs) as pool:
        try:
            futures = {
                pool.submit(run, t, run_dir or Path(temporary), running, slots): t for t in todo
            }
            for future in as_completed(futures):
                error = future.exception()
                yield futures[future], error if isinstance(error, Exception) else future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                process.terminate()


def shares(jobs: int) -> SimpleQueue[set[int]]:
    """Processors for each of `jobs` trainings at a time, so that their threads do not get in each
    other's way.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    slots: SimpleQueue[set[int]] = SimpleQueue()
    for job in range(jobs):
        slots.put(set(cores[job::jobs] or cores))
    return slots


def run(
    training: Training, parent: Path, running: set[subprocess.Popen], slots: SimpleQueue[set[int]]
) -> dict[int, Any]:
    """The records of a training by seed: result.json and the commit, with what `eval` says of its
    `episodes` greedy episodes.

    Raises TrainingError.
    """
    cores = slots.get()
    try:
        _process(
            [*training.arguments(), "--run-dir", str(training.parent(parent))],
            training,
            running,
            cores,
        )
    finally:
        slots.put(cores)
    return {
        seed: _record(training, training.folder(parent, seed), running) for seed in training.each
    }


def _record(training: Training, folder: Path, running: set[subprocess.Popen]) -> dict[str, Any]:
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    text = _process(
        ["eval", str(folder), "--episodes", str(training.episodes), "--json"],
        training,
        running,
        set(),
    )
    commit = json.loads((folder / "config.json").read_text(encoding="utf-8"))["commit"]
    together = {"side_by_side": training.seeds} if training.seeds > 1 else {}
    return record | json.loads(text.splitlines()[-1]) | {"commit": commit} | together


def _process(
    arguments: list[str], training: Training, running: set[subprocess.Popen], cores: set[int]
) -> str:
    """The output of `python -m bio_rl` with these arguments, on these processors (any, where none
    are named).
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "bio_rl", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
        },  # the physics has threads of its own, which this does not concern
    )
    if cores:
        os.sched_setaffinity(process.pid, cores)  # before it has made a thread
    running.add(process)
    output, _ = process.communicate()
    running.discard(process)
    if process.returncode != 0:
        tail = "\n".join(output.splitlines()[-TAIL:])
        raise TrainingError(f"{training} ended with status {process.returncode}:\n{tail}")
    return output
