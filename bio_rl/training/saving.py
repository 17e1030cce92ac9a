"""The files that a run goes on from: checkpoints, the rows of its replay, the best weights."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bio_rl.machine.signals import StopRequest
from bio_rl.rl.clock import Horizon
from bio_rl.training import runfolder
from bio_rl.training.checkpoint import CheckpointError, Checkpoints
from bio_rl.training.checkpoint import load as load_checkpoint
from bio_rl.training.config import Experiment, Run
from bio_rl.training.fitting import fit_agent, fit_runner
from bio_rl.training.metrics import EpisodeStats, read_rows
from bio_rl.training.replay_files import ReplayFiles
from bio_rl.training.runner import Runner

BEST = "best.pt"
"""The file of the weights that are best."""


class Keeper:
    """Saves a run so that it can be continued exactly, and takes it up again."""

    def __init__(
        self, run: Run, runner: Runner, stats: EpisodeStats, folder: Path, stop: StopRequest
    ) -> None:
        """stats: of the run's episodes, saved with it. stop: what signals ask for."""
        self.run = run
        self.runner = runner
        self.stats = stats
        self.folder = folder / "checkpoints"
        self.checkpoints = Checkpoints(self.folder)
        self.replay_files = ReplayFiles(self.folder)
        self.stop = stop
        self.best = -math.inf
        """The highest score of the evaluations while training; it proposes what is called best."""
        self.saved: int | None = None
        """Step of the last checkpoint; None before the first."""
        self.saved_at = time.monotonic()
        """When that checkpoint was made."""
        self.elapsed = 0.0
        """Seconds of training so far, in all processes."""

    def save(self, due: bool = False) -> dict[str, Any]:
        """Checkpoint everything that an exact continuation needs, and return it. Raises
        DivergedError for weights of NaN.

        due: an evaluation follows; a resume makes up for it where it was lost.
        """
        runner = self.runner
        # A checkpoint of NaN would take the place of a good one.
        runner.check()
        tree = {
            "agent": runner.agent.learned_state(),
            "runner": runner.state_dict(),
            "stats": self.stats.state_dict(),
            "best": self.best,
            "elapsed": self.elapsed,
            "horizon": list(self.run.horizon),
            "due": due,
        }
        with self.stop.held():
            replay = runner.agent.replay
            # Rows first: wherever the process is killed, a checkpoint has all its rows.
            rows = None if replay is None else self.replay_files.save(runner.seen, replay)
            self.checkpoints.save(runner.seen, tree | {"replay": rows})
            if rows is not None:
                self.replay_files.prune(self.checkpoints.steps())
            self.saved = runner.seen
            self.saved_at = time.monotonic()
        return tree

    def save_best(self, tree: dict[str, Any]) -> None:
        """Keep a checkpoint as the one of the best weights."""
        with self.stop.held():
            self.checkpoints.save_best(tree)

    def take_last_as_best(self) -> None:
        """Keep the newest checkpoint as the one of the best weights."""
        # The file, not the memory: what is kept as best is what can be read.
        last = self.checkpoints.last()
        if last is None:
            raise CheckpointError(f"{self.folder} has no readable checkpoint")
        self.save_best({**load_checkpoint(last), "best": self.best, "replay": None})

    def load_best(self) -> dict[str, Any]:
        """The checkpoint of the best weights. Raises CheckpointError where there is none."""
        return load_checkpoint(self.folder / BEST)

    @property
    def is_late(self) -> bool:
        """Whether so long has passed since the last checkpoint that the clock asks for one."""
        # Beside the evenly spaced ones, which may be hours apart.
        minutes = self.run.save_minutes
        return minutes > 0 and time.monotonic() - self.saved_at >= 60.0 * minutes

    def restore(self, tree: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take up the run where a checkpoint left it.

        Returns the checkpoint again where its evaluation was lost, to make up for it; else None.
        """
        runner = self.runner
        fit_agent(runner.agent, tree["agent"], self.folder)
        fit_runner(runner, tree["runner"], self.folder)
        self.replay_files.take_up(runner.agent, tree)
        self.stats.load_state_dict(tree["stats"])
        self.saved = runner.seen
        self.elapsed = tree["elapsed"]
        self.best = self._best_so_far(tree["best"])
        if tree.get("due") is not True or not self.run.eval_episodes or self._was_evaluated():
            return None
        return {name: part for name, part in tree.items() if name != "replay"} | {"due": False}

    def _was_evaluated(self) -> bool:
        # The row is written after the evaluation: without it, that was cut off.
        rows = read_rows(self.folder.parent / "metrics.jsonl")
        return any(row["step"] == self.saved and "eval/mean_reward" in row for row in rows)

    def _best_so_far(self, recorded: float) -> float:
        """The score to beat: a checkpoint is made before its evaluation, whose score is in
        `best.pt` alone.
        """
        with suppress(CheckpointError):
            tree = self.load_best()
            # A best from beyond this checkpoint did not happen: the run is lived again from here.
            if tree["runner"]["seen"] <= self.runner.seen:
                return max(recorded, float(tree["best"]))
        return recorded


def changed_horizon(tree: Mapping[str, Any], run: Run) -> str:
    """The words for a run that goes on to another end than its checkpoint had; "" for the same."""
    before = Horizon(*tree["horizon"])
    if before == run.horizon:
        return ""
    return (
        f"horizon {before} -> {run.horizon}: schedules that run over the horizon "
        "(the learning rate) continue as if the run had always been this long"
    )


@contextmanager
def new_folder(experiment: Experiment) -> Iterator[Path]:
    """A locked run folder with its config.json; a start that fails before its first checkpoint
    leaves none behind.
    """
    run = experiment.run
    # Its name holds the time: no two runs share one.
    folder = runfolder.create(run.run_dir, run.env, run.agent, run.network, run.seed)
    try:
        with runfolder.lock(folder):
            runfolder.write_config(folder, experiment.as_dict())
            yield folder
    except BaseException:
        # A folder with a checkpoint is a run, however it ended.
        if not any(folder.glob("checkpoints/step_*.pt")):
            shutil.rmtree(folder, ignore_errors=True)
        raise
