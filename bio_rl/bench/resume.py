"""Whether a stopped run resumes bitwise, and what kill -9 at random moments leaves behind."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bio_rl.bench._report import BenchError, Shared
from bio_rl.state import leaves
from bio_rl.training import checkpoint
from bio_rl.training.checkpoint import Checkpoints
from bio_rl.training.replay_files import add_rows

FLAGS = (
    *("--env", "Hopper-v5", "--num-envs", "4", "--eval-episodes", "2"),
    *(
        "--ppo.update-every",
        "32",
        "--ppo.minibatch",
        "32",
        "--ppo.epochs",
        "2",
        "--ppo.sequence",
        "8",
    ),
)
INTERVAL = 1024
"""Environment steps between the checkpoints of the run that is killed."""
ROLLOUT = 4 * 32


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    networks: tuple[str, ...] = ("mlp", "lstm", "spiking")
    """Each is trained for `steps`, once in one process and once in two."""
    steps: int = 8192
    """2N."""
    kills: int = 20
    """How often a run is killed and resumed; 0 for none."""
    seed: int = 0
    """Of the moments of the kills."""


def run(settings: Settings) -> dict[str, Any]:
    """{network: {equal, tensors}, kill_9: {kills, unreadable, most_steps_lost, interval}}."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in settings.networks:
            results[name] = halves(Path(place) / name, name, settings.steps)
        if settings.kills:
            results["kill_9"] = kill(Path(place) / "killed", settings.kills, settings.seed)
    return results


def bio_rl(*arguments: str) -> None:
    """Run one command in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", "bio_rl", *arguments], capture_output=True, text=True
    )
    if done.returncode:
        raise BenchError(f"{' '.join(arguments)} failed: {done.stderr[-2000:]}")


def halves(folder: Path, network: str, steps: int, *flags: str) -> dict[str, Any]:
    """Train 2N steps in one process; N, then killed right after the checkpoint, and N more in
    another; compare the ends.
    """
    ends = []
    for part in ("whole", "cut"):
        own = ["--network", network, "--steps", str(steps), "--checkpoints", "4", *flags]
        bio_rl(*FLAGS, *own, "--run-dir", str(folder / part))
        run_folder = (folder / part / "latest").resolve()
        if part == "cut":
            for path in (run_folder / "checkpoints").glob("step_*.pt"):
                if _step(path) > steps // 2:
                    path.unlink()
            bio_rl("resume", str(run_folder))
        ends.append(last_tree(run_folder))
    return difference(*ends)


def last_tree(folder: Path) -> dict[str, Any]:
    """The newest checkpoint of a run, with its replay."""
    tree = checkpoint.load(max((folder / "checkpoints").glob("step_*.pt")))
    add_rows(tree, folder / "checkpoints")
    return tree


def difference(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Whether two checkpoints hold the same tensors and numbers bit for bit (wall-clock time
    aside), and how many.
    """
    parts = ("agent", "runner", "stats", "best", "horizon")
    pairs = [pair for part in parts for pair in zip(leaves(a[part]), leaves(b[part]), strict=True)]
    equal = [torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in pairs]
    return {"equal": all(equal), "tensors": len(equal), "different": len(equal) - sum(equal)}


def kill(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """kill -9 a training `kills` times at random moments; each later process resumes what the kill
    before has left.
    """
    rng, lost, unreadable, run_folder = random.Random(seed), [], 0, None
    own = [
        "--network",
        "spiking",
        "--steps",
        str(200 * INTERVAL),
        "--checkpoints",
        "200",
        "--run-dir",
        str(folder),
    ]
    for _ in range(kills):
        arguments = ["resume", str(run_folder)] if run_folder else [*FLAGS, *own]
        process = subprocess.Popen(
            [sys.executable, "-m", "bio_rl", *arguments], stdout=-3, stderr=-3
        )
        run_folder = _under_way(process, folder, run_folder)
        time.sleep(rng.uniform(0.0, 1.5))
        process.kill()
        process.wait()
        for path in (run_folder / "checkpoints").glob("*.pt"):
            try:
                checkpoint.load(path)
            except checkpoint.CheckpointError:
                unreadable += 1
        last = Checkpoints(run_folder / "checkpoints").last()
        lost.append(_seen(run_folder) - (_step(last) if last else 0))
    return {
        "kills": kills,
        "unreadable": unreadable,
        "most_steps_lost": max(0, *lost),
        "interval": INTERVAL,
        "rollout": ROLLOUT,
    }


def _under_way(process: subprocess.Popen, folder: Path, run_folder: Path | None) -> Path:
    """Wait until the process has logged and a checkpoint is there; returns the run folder."""
    start = _seen(run_folder) if run_folder else 0
    while True:
        if process.poll() is not None:
            raise BenchError("the training ended before it could be killed")
        latest = folder / "latest"
        run_folder = run_folder or (latest.resolve() if latest.exists() else None)
        if (
            run_folder
            and _seen(run_folder) > start
            and list((run_folder / "checkpoints").glob("step_*.pt"))
        ):
            return run_folder
        time.sleep(0.005)


def _step(path: Path) -> int:
    return int(re.sub(r"\D", "", path.stem))


def _seen(run_folder: Path) -> int:
    """The last step in the run's log."""
    path = run_folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)
