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
from bio_rl.training import checkpoint, runfolder
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
"""Flags of every training."""
ROLLOUT = 4 * 32
"""Environment steps between two updates, by these flags."""
INTERVAL = 1024
"""Environment steps between the checkpoints of the run that is killed."""
KILLED = f"--network spiking --steps {200 * INTERVAL} --checkpoints 200".split()
"""Further flags of that run, which is never to come to its end."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Stop, kill and resume trainings, and compare what comes of them."""

    networks: tuple[str, ...] = ("mlp", "lstm", "spiking")
    """Each is trained for `steps`, once in one process and once in two."""
    steps: int = 8192
    """Environment steps of a training: 2N."""
    kills: int = 20
    """How often a run is killed and resumed; 0 for none."""
    seed: int = 0
    """The seed of the moments of the kills."""


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
    command = [sys.executable, "-m", "bio_rl", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"{' '.join(arguments)} failed: {done.stderr[-2000:]}")


def halves(folder: Path, network: str, steps: int, *flags: str) -> dict[str, Any]:
    """Train 2N steps in one process, and N and N more in another two; compare the ends.

    The second is left as a kill right after its checkpoint would leave it.
    """
    arguments = [*FLAGS, "--network", network, "--steps", str(steps), "--checkpoints", "4", *flags]
    whole = _trained(folder / "whole", arguments)
    cut = _trained(folder / "cut", arguments)
    for path in (cut / "checkpoints").glob("step_*.pt"):
        if _step(path) > steps // 2:
            path.unlink()
    bio_rl("resume", str(cut))
    return difference(last_tree(whole), last_tree(cut))


def _trained(run_dir: Path, arguments: list[str]) -> Path:
    """The run folder of a training."""
    bio_rl(*arguments, "--run-dir", str(run_dir))
    return runfolder.resolve("latest", run_dir)


def last_tree(folder: Path) -> dict[str, Any]:
    """The newest checkpoint of a run, with its replay."""
    tree = checkpoint.load(max((folder / "checkpoints").glob("step_*.pt")))
    add_rows(tree, folder / "checkpoints")
    return tree


def difference(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Whether two checkpoints hold the same tensors and numbers bit for bit, and how many.

    Wall-clock times are left out.
    """
    equal = []
    for part in ("agent", "runner", "stats", "best", "horizon"):
        for x, y in zip(leaves(a[part]), leaves(b[part]), strict=True):
            # numbers stand beside tensors
            equal.append(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y)
    return {"equal": all(equal), "tensors": len(equal), "different": len(equal) - sum(equal)}


def kill(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """kill -9 a training `kills` times at random moments; each process resumes what is left."""
    rng = random.Random(seed)
    most_lost = 0
    unreadable = 0
    run_folder = None
    for _ in range(kills):
        arguments = [*FLAGS, *KILLED, "--run-dir", str(folder)]
        if run_folder is not None:
            arguments = ["resume", str(run_folder)]
        process = subprocess.Popen(
            [sys.executable, "-m", "bio_rl", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        run_folder = _under_way(process, folder, run_folder)
        # within a second and a half it learns, evaluates and saves several times
        time.sleep(rng.uniform(0.0, 1.5))
        process.kill()
        process.wait()
        unreadable += _unreadable(run_folder)
        last = Checkpoints(run_folder / "checkpoints").last()
        lost = _logged(run_folder) - (_step(last) if last else 0)
        most_lost = max(most_lost, lost)
    return {
        "kills": kills,
        "unreadable": unreadable,
        "most_steps_lost": most_lost,
        "interval": INTERVAL,
        "rollout": ROLLOUT,
    }


def _unreadable(run_folder: Path) -> int:
    """The number of checkpoints that cannot be read."""
    count = 0
    for path in (run_folder / "checkpoints").glob("*.pt"):
        try:
            checkpoint.load(path)
        except checkpoint.CheckpointError:
            count += 1
    return count


def _under_way(process: subprocess.Popen, folder: Path, run_folder: Path | None) -> Path:
    """Wait until the process has logged and a checkpoint is there; returns the run folder."""
    start = _logged(run_folder) if run_folder else 0
    latest = folder / "latest"
    while process.poll() is None:
        if run_folder is None and latest.exists():
            run_folder = runfolder.resolve("latest", folder)
        if run_folder is not None and _is_saved(run_folder, start):
            return run_folder
        time.sleep(0.005)
    raise BenchError("the training ended before it could be killed")


def _is_saved(run_folder: Path, step: int) -> bool:
    """Whether a run has a checkpoint, and has logged a later step than this one."""
    paths = (run_folder / "checkpoints").glob("step_*.pt")
    return _logged(run_folder) > step and any(paths)


def _step(path: Path) -> int:
    """The step in the name of a checkpoint."""
    return int(re.sub(r"\D", "", path.stem))


def _logged(run_folder: Path) -> int:
    """The last step in the run's log."""
    path = run_folder / "metrics.jsonl"
    if not path.is_file():
        return 0
    # a kill, or this moment, may have cut the last line
    lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
    return max((json.loads(line)["step"] for line in lines), default=0)
