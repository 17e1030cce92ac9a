"""The share that one process has in a run: the loop with its logs, checkpoints and evaluations."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bio_rl.contracts import Agent, Metrics
from bio_rl.faults import DivergedError
from bio_rl.machine.signals import StopRequest
from bio_rl.training import commands, reporting, runfolder
from bio_rl.training.build import Trained, single_thread
from bio_rl.training.config import Experiment
from bio_rl.training.metrics import EpisodeStats, Means, MetricsLog, note_score, to_floats
from bio_rl.training.panel import Panel
from bio_rl.training.progress import Callback, Progress, wants_stop
from bio_rl.training.reporting import Forecast, Notes, Reported
from bio_rl.training.runner import Runner
from bio_rl.training.saving import Keeper, changed_horizon
from bio_rl.training.scoring import Scoring
from bio_rl.training.voice import ALOUD, Voice
from bio_rl.vector import TensorVectorEnv

ROWS = 500
"""Rows that the log of a whole run has at least, where updates are as frequent."""


class Session:
    """The training of one agent in one run folder.

    `learn` does all of it. Who trains several seeds calls the parts itself, in this order: `open`,
    `after` for each update, `close`, `close_log`, `finish`.
    """

    def __init__(
        self,
        experiment: Experiment,
        agent: Agent,
        env: TensorVectorEnv,
        folder: Path,
        stop: StopRequest,
        alone: bool = True,
        callback: Callback | None = None,
        voice: Voice = ALOUD,
    ) -> None:
        """stop: what signals ask for. alone: whether the agent is not one of several that are
        trained side by side. callback: told at each row of the log; True stops the run. voice:
        whether and how it speaks.
        """
        self.experiment = experiment
        self.folder = folder
        self.stop = stop
        self.callback = callback
        self.voice = voice
        self.runner = Runner(agent, env, seed=experiment.run.seed)
        self.stats = EpisodeStats()
        self.means = Means()
        self.notes = Notes(voice.say)
        self.keeper = Keeper(experiment.run, self.runner, self.stats, folder, stop)
        self.scoring = Scoring(experiment, self.runner, self.keeper, stop, self.notes, alone)
        self.log = MetricsLog(None)
        """Writes nothing before `open`."""
        self.began = 0.0
        """When this process began to train."""
        self.before = 0.0
        """Seconds of training in the processes before this one."""
        self.logged = 0
        """Step of the last row of the log."""
        self.marked = 0.0
        """Share of the training that was over at the last evenly spaced checkpoint."""
        self.forecast = Forecast(experiment.run.steps)
        self.lost: dict[str, Any] | None = None
        """The checkpoint that a resume began from, where its evaluation was lost."""

    def restore(self, tree: dict[str, Any]) -> None:
        """Take up the run where a checkpoint left it, and say what is and what is not as it was."""
        run = self.experiment.run
        self.lost = self.keeper.restore(tree)
        step = self.runner.seen
        self.voice.say(f"resuming {self.folder} at step {step:,} of {run.steps:,}")
        if not self.runner.env.exact:
            self.voice.say(
                f"{run.env} cannot save its physics: its episodes start anew "
                "(weights, optimiser, generators are exact)"
            )
        if stretched := changed_horizon(tree, run):
            self.voice.say(stretched)
        for difference in runfolder.note_resume(self.folder, step):
            self.voice.say(f"note: {difference}; a resume is exact with the same versions only")

    # ---------------------------------- the loop

    def learn(self) -> Trained:
        """Train to the last step, or until a signal asks for a stop, which saves; then evaluate the
        final weights.
        """
        run = self.experiment.run
        runner = self.runner
        began = time.perf_counter()
        self.announce()
        title = f"{run.agent} · {run.network} · {run.env}"
        panel = Panel(run.steps, title, self.folder, runner.seen, console=self.voice.console())
        try:
            with self.reported(), self.stop.gently(), single_thread(), panel:
                self.open()
                while self.share() < 1.0 and not self.stop.asked:
                    self.after(runner.step(), panel)
                self.close()
        finally:
            self.close_log()
        return self.finish(time.perf_counter() - began)

    def announce(self, seeds: int = 1) -> None:
        """Print what will be trained, and where it is kept. seeds: how many, side by side."""
        runner = self.runner
        device = runner.env.device
        reporting.announce(
            self.experiment, runner.agent, device, self.folder, seeds, self.voice.say
        )

    def reported(self) -> AbstractContextManager[None]:
        """A block whose faults are raised with what is kept and how to go on."""
        return Reported(self.experiment, self.kept, self.voice.say)

    def open(self) -> None:
        """Begin to log, and make a first checkpoint where there is none: from now on the run can be
        resumed.
        """
        step = self.runner.seen
        self.began = time.perf_counter()
        self.forecast = Forecast(self.experiment.run.steps)
        self.before = self.keeper.elapsed
        self.logged = step
        self.marked = self.share()
        # A row beyond the checkpoint was lived by a process that is gone.
        self.log = MetricsLog(self.folder, resume_step=step or None)
        self.log.text("settings", reporting.settings_table(self.experiment))
        if self.keeper.saved is None:
            self.keeper.save()
            runfolder.point_latest(self.folder)
        elif self.lost is not None:
            values = self._rollout_values() | self.scoring.after_checkpoint(self.lost)
            self.log.write(step, to_floats(values))
            self.lost = None

    def after(
        self, metrics: Metrics, panel: Panel | None, sync: Callable[[], None] = lambda: None
    ) -> None:
        """Do what follows an update: statistics, a log row, and where they are due a checkpoint and
        an evaluation.

        sync: brings the runner's agent and life up to date, before they are saved or evaluated.
        """
        run = self.experiment.run
        self.means.add(metrics)
        # Before the share is asked for: episodes may be what bounds the run.
        self._count_episodes()
        values: dict[str, Any] = {**self._rollout_values(), **metrics}
        share = self.share()
        # Evenly spaced over the share of the run, however episodes or steps bound it.
        due = int(share * run.checkpoints) > int(self.marked * run.checkpoints)
        late = self.keeper.is_late
        if due or late:
            sync()
        if due or self.runner.seen - self.logged >= max(1, run.steps // ROWS):
            values = self._log(values, share, due, panel)
        if late and not due:
            self.keeper.save()
        if panel is not None:
            self._show(panel, values, share)
        if due and run.eval_episodes and "spikes/1_rate" in metrics:
            self._log_picture()

    def _count_episodes(self) -> None:
        ends = self.runner.episodes
        self.stats.add([end.ret for end in ends], [end.length for end in ends])
        self.keeper.elapsed = self.before + time.perf_counter() - self.began

    def _log(
        self, values: dict[str, Any], share: float, due: bool, panel: Panel | None
    ) -> dict[str, float]:
        """The values of a row of the log, as written. due: a checkpoint and its evaluation are."""
        floats = to_floats(values | self.means.take())
        self._check_losses(floats)
        if due:
            # Marked before the evaluation, which may be interrupted: it is not tried twice.
            self.marked = share
            # Saved first, so that an evaluation which fails costs nothing but itself.
            tree = self.keeper.save(due=True)
            floats |= self.scoring.after_checkpoint(tree)
        self.logged = self.runner.seen
        self.log.write(self.runner.seen, floats)
        network = self.experiment.prefixes[1]
        say = self.voice.say if panel is None else panel.print
        reporting.warn_of_idle_layers(floats, network, self.notes, say)
        self._tell(floats, share)
        return floats

    def _tell(self, row: Mapping[str, float], share: float) -> None:
        """Tell the callback of a row of the log, and stop where it asks for it."""
        if self.callback is None:
            return
        score = row.get("eval/mean_reward")
        progress = Progress(self.runner.seen, share, dict(row), self.folder, score)
        if wants_stop(self.callback, progress):
            self.stop.ask()

    def _show(self, panel: Panel, values: Mapping[str, Any], share: float) -> None:
        best = self.keeper.best
        # Minus infinity is the score of no evaluation.
        shown = {**values, "eval/best": best} if best > -math.inf else values
        panel.update(self.runner.seen, shown, share)
        note = self.forecast.note(share)
        if note:
            panel.print(note)

    def _log_picture(self) -> None:
        """Put the spikes of a few greedy decisions on TensorBoard."""
        # A picture is a luxury: where it fails the training goes on.
        pixels = self.scoring.picture()
        if pixels is not None:
            self.log.image("spikes/raster", pixels, self.runner.seen)

    def close(self) -> None:
        """Save where it was stopped."""
        if self.stop.asked and self.keeper.saved != self.runner.seen:
            self.keeper.save()

    def close_log(self) -> None:
        """Close the log, if it was opened."""
        self.log.close()

    def share(self) -> float:
        """The share of the training that is over."""
        return self.experiment.run.horizon.lived(self.runner.seen, self.stats.count)

    def _check_losses(self, values: Mapping[str, float]) -> None:
        """Raise DivergedError where a loss or dopamine is not finite; other metrics may be
        undefined for a moment.
        """
        for name, value in values.items():
            # Others may be undefined for a moment, a correlation of constants say.
            decides = "loss" in name or name.startswith("dopamine/")
            if decides and not math.isfinite(value):
                raise DivergedError(
                    f"the agent diverged: {name} is {value} at update {self.runner.updates:,}"
                )

    def _rollout_values(self) -> dict[str, Any]:
        """How the run goes, under SB3's names."""
        runner = self.runner
        values = {
            "time/fps": runner.speed(),
            "time/collect": runner.collect_s,
            "time/learn": runner.learn_s,
        }
        if self.stats.count:
            # Before the first end there is no mean, and no row of NaN.
            values["rollout/ep_rew_mean"] = self.stats.mean_return
            values["rollout/ep_len_mean"] = self.stats.mean_length
        return values

    # ---------------------------------- the end

    def kept(self) -> str:
        """The words that say what is kept, and how to go on from it."""
        if self.keeper.saved is None:
            return "nothing was saved yet"
        return f"last checkpoint: step {self.keeper.saved:,}; go on with: {self._resume_command()}"

    def _resume_command(self) -> str:
        modules = tuple(self.experiment.modules())
        return commands.Hints(self.folder, modules, self.voice.python).resume()

    def finish(self, seconds: float) -> Trained:
        """The trained agent; where the training is over with its evaluation, which is printed and
        written down.
        """
        runner = self.runner
        trained = Trained(self.experiment, runner.agent, self.folder, runner.seen, seconds=seconds)
        # A stop in the last update is none: the run is over.
        if self.stop.asked and self.share() < 1.0:
            self.voice.say(
                f"\nstopped at step {runner.seen:,}, saved; go on with\n  {self._resume_command()}"
            )
            return dataclasses.replace(trained, stopped=self.stop.number)
        return self._report(trained)

    def _report(self, trained: Trained) -> Trained:
        """Evaluate the last weights and the best, write result.json and print what to do next."""
        step = self.scoring.chosen_step()
        last = self.scoring.final(trained.agent)
        # Where the last weights are the best, their evaluation is that of both.
        best = last
        if step is not None and step != trained.steps:
            best = self.scoring.final_of_best()
        selection = self.keeper.best
        result = {
            "steps": trained.steps,
            "seconds": self.keeper.elapsed,
            "selection": selection if math.isfinite(selection) else None,
            "best_step": step,
            "best_eval": best.mean if best is not None and step is not None else None,
            **(last.as_dict() if last is not None else {"mean": None}),
        }
        runfolder.write_json(self.folder / "result.json", result)
        if last is not None:
            note_score(self.folder, self.experiment.settings(), last.mean, trained.steps)
        reporting.say_result(trained, last, best, step, self.voice)
        return dataclasses.replace(trained, evaluation=last, stopped=self.stop.number)
