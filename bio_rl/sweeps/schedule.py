"""A scheduler of trainings: whole runs in processes of their own, several at a time.

    todo = [Training(env="CartPole-v1", agent="ppo", network="mlp", seed=s, steps=None, episodes=20)
            for s in range(5)]
    for training, outcome in run_all(todo, jobs=2, run_dir=Path("sweep")):
        ...                       # {seed: record}, or the exception that it ended with

A `Training` is one process; with `seeds` it holds several seeds side by side. A record is the run's
result.json with what `eval` says of its final weights, so a sweep needs no code of its own to read
run folders.
"""

from __future__ import annotations

import hashlib
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
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Environment of each process; the physics has threads of its own, which this does not concern."""

LONG_NAME = 120
"""Letters of a case's folder before a digest of the whole takes the rest's place: file systems
refuse names of more than 255 bytes.
"""


class TrainingError(RuntimeError):
    """A training failed; the message ends with the tail of its output."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One process of training, as `python -m bio_rl` does it."""

    env: str
    network: str
    agent: str
    seed: int
    """The first seed."""
    steps: int | None
    """Environment steps of each seed; None for the preset's."""
    episodes: int
    """Greedy episodes of the evaluation that a record holds."""
    flags: str = ""
    """Further flags of train.py, as they are typed."""
    seeds: int = 1
    """Seeds trained side by side: seed, seed + 1, …"""

    @property
    def case(self) -> str:
        """The name of what is trained, whatever the seed."""
        # Flags make another case: their trainings must not be mixed.
        name = f"{self.env}/{self.agent}/{self.network}"
        return " ".join([name, *self.flags.split()])

    @property
    def each(self) -> range:
        """The seeds that this process trains."""
        return range(self.seed, self.seed + self.seeds)

    def __str__(self) -> str:
        word = "seeds" if self.seeds > 1 else "seed"
        seeds = ", ".join(map(str, self.each))
        return f"{self.case} {word} {seeds}"

    def arguments(self) -> list[str]:
        """The arguments of train.py."""
        flags: dict[str, object] = {
            "env": self.env,
            "network": self.network,
            "agent": self.agent,
            "seed": self.seed,
        }
        if self.seeds > 1:
            flags["seeds"] = self.seeds
        if self.steps is not None:
            flags["steps"] = self.steps
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        return [*words, *shlex.split(self.flags)]

    def folder(self, parent: Path, seed: int | None = None) -> Path:
        """Where `run` keeps the run folder of a seed, by default the first, under `parent`: the
        newest.
        """
        seed = self.seed if seed is None else seed
        # A training that was begun again has several: the newest is what finished.
        folders = self.parent(parent).glob(f"*_s{seed}_*/")
        return max(folders, key=lambda folder: folder.stat().st_mtime).resolve()

    def parent(self, parent: Path) -> Path:
        """The folder of this training alone."""
        case = self.case.translate(str.maketrans("/ ", "-_"))
        if len(case) > LONG_NAME:
            digest = hashlib.sha256(case.encode()).hexdigest()
            case = f"{case[:LONG_NAME]}_{digest[:12]}"
        last = f"-{self.each[-1]}" if self.seeds > 1 else ""
        return parent.absolute() / f"{case}_s{self.seed}{last}"


def run_all(
    todo: Iterable[Training], jobs: int, run_dir: Path | None
) -> Generator[tuple[Training, dict[int, Any] | Exception], None, None]:
    """Each training with the records of its seeds, or the exception it ended with, as they finish,
    `jobs` at a time.

    run_dir: keep the run folders there; None: in a temporary folder. Left early, the rest are not
    started and those that run are stopped.
    """
    running: set[subprocess.Popen] = set()
    slots = processors(jobs)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(jobs) as pool:
        parent = run_dir or Path(temporary)
        try:
            futures = {pool.submit(run, one, parent, running, slots): one for one in todo}
            for future in as_completed(futures):
                error = future.exception()
                yield futures[future], error if isinstance(error, Exception) else future.result()
        finally:
            # Whoever stops listening, by Ctrl-C say, wants no more trainings.
            pool.shutdown(wait=False, cancel_futures=True)
            for started in list(running):
                started.terminate()


def processors(jobs: int) -> SimpleQueue[set[int]]:
    """Processors for each of `jobs` trainings at a time, so that their threads do not get in each
    other's way; empty sets where the system binds no process to any.
    """
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    slots: SimpleQueue[set[int]] = SimpleQueue()
    for job in range(jobs):
        # Dealt out in turn; with more jobs than processors some share all of them.
        slots.put(set(cores[job::jobs] or cores))
    return slots


def run(
    training: Training, parent: Path, running: set[subprocess.Popen], slots: SimpleQueue[set[int]]
) -> dict[int, Any]:
    """The records of a training by seed: result.json and the commit, with what `eval` says of its
    `episodes` greedy episodes.

    running: processes at work, to be stopped by who gives up. slots: processors that are free.
    Raises TrainingError.
    """
    arguments = [*training.arguments(), "--run-dir", str(training.parent(parent))]
    cores = slots.get()
    try:
        process(arguments, training, running, cores)
    finally:
        # Evaluations are short: they need no processors of their own.
        slots.put(cores)
    folders = {seed: training.folder(parent, seed) for seed in training.each}
    return {seed: record(training, folder, running) for seed, folder in folders.items()}


def record(training: Training, folder: Path, running: set[subprocess.Popen]) -> dict[str, Any]:
    """The record of one seed: result.json, the evaluation of its final weights, the commit."""
    # A process of its own, as a reader of the record would do it.
    arguments = ["eval", str(folder), "--episodes", str(training.episodes), "--json"]
    output = process(arguments, training, running, cores=set())
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    evaluation = json.loads(output.splitlines()[-1])
    commit = json.loads((folder / "config.json").read_text(encoding="utf-8"))["commit"]
    together = {"side_by_side": training.seeds} if training.seeds > 1 else {}
    return result | evaluation | {"commit": commit} | together


def process(
    arguments: list[str], training: Training, running: set[subprocess.Popen], cores: set[int]
) -> str:
    """The output of `python -m bio_rl` with these arguments, on these processors (any, where none
    are named). Raises TrainingError.
    """
    started = subprocess.Popen(
        [sys.executable, "-m", "bio_rl", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **ONE_THREAD},
    )
    if cores and sys.platform == "linux":
        # At once, before it has made a thread: those inherit it.
        os.sched_setaffinity(started.pid, cores)
    running.add(started)
    output, _ = started.communicate()
    running.discard(started)
    if started.returncode != 0:
        tail = "\n".join(output.splitlines()[-TAIL:])
        raise TrainingError(f"{training} ended with status {started.returncode}:\n{tail}")
    return output
