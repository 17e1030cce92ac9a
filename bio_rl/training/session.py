"""One process's share of a run: the loop with its logs, checkpoints and evaluations, and what a
stop or a fault leaves.
"""

from __future__ import annotations

import dataclasses
import math
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from bio_rl import vector
from bio_rl.contracts import Metrics
from bio_rl.faults import DivergedError, FaultyEnvironmentError
from bio_rl.machine.signals import Interrupted, StopRequest
from bio_rl.rl.clock import Horizon
from bio_rl.training import commands, runfolder
from bio_rl.training.build import (
    FINAL_EPISODES,
    FINAL_SEED,
    Trained,
    make_agent,
    make_env,
    open_env,
    single_thread,
)
from bio_rl.training.checkpoint import CheckpointError, Checkpoints
from bio_rl.training.checkpoint import load as load_checkpoint
from bio_rl.training.config import Experiment
from bio_rl.training.evaluation import Evaluation, evaluate, evaluate_in_rounds, record
from bio_rl.training.fitting import fit_agent, fit_runner
from bio_rl.training.metrics import EpisodeStats, Means, MetricsLog, read_rows, to_floats
from bio_rl.training.panel import Panel
from bio_rl.training.replay_files import ReplayFiles, saved_apart, state_without_rows
from bio_rl.training.runner import Runner
from bio_rl.vector import Vector

EVAL_SEED = 1_000_000
"""Seed of the start states of the evaluations while training, by which a best is proposed."""
CHOICE_SEED = 3_000_000
"""Seed of the start states on which the proposed best and the last weights are compared at the end."""
CHOICE_SHARE = 3
"""How many times as many start states these are as those of an evaluation while training."""
PICTURED = 32
"""Decisions of the raster on TensorBoard."""
MOST = 0.9
"""Share of a layer's neurons that may be silent, or fire always, before somebody is told."""

T = TypeVar("T")


class Session:
    """The training of one agent in one run folder: `learn` begins or goes on, saves, evaluates and
    reports.
    """

    def __init__(
        self,
        experiment: Experiment,
        agent: Any,
        env: Vector,
        folder: Path,
        stop: StopRequest,
        alone: bool = True,
    ) -> None:
        """stop: what signals ask for. alone: whether the agent is not one of several that are
        trained side by side.
        """
        self.experiment, self.folder, self.stop, self.alone = experiment, folder, stop, alone
        self.runner = Runner(agent, env, seed=experiment.run.seed)
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.replay_files = ReplayFiles(folder / "checkpoints")
        self.stats, self.means = EpisodeStats(), Means()
        self.best = -math.inf
        """The highest score of the evaluations while training; it proposes what is called best."""
        self.saved: int | None = None
        """Step of the last checkpoint; None before the first."""
        self.saved_at = time.monotonic()
        self.elapsed = 0.0
        self.said: set[str] = set()
        """Notes that were printed already."""
        self.lost: dict[str, Any] | None = None
        """The checkpoint that a resume began from, where its evaluation was lost."""
        self.only_one = False
        """Whether no second instance of the environment can be made."""

    def restore(self, tree: dict[str, Any]) -> None:
        """Take up the run where a checkpoint left it, and say what is and what is not as it was."""
        run = self.experiment.run
        fit_agent(self.runner.agent, tree["agent"], self.checkpoints.folder)
        fit_runner(self.runner, tree["runner"], self.checkpoints.folder)
        self.replay_files.take_up(self.runner.agent, tree)
        self.stats.load_state_dict(tree["stats"])
        self.saved, self.elapsed = self.runner.seen, tree["elapsed"]
        self.best = self._best_so_far(tree["best"])
        rows = read_rows(self.folder / "metrics.jsonl") if tree.get("due") is True else []
        evaluated = any(row["step"] == self.saved and "eval/mean_reward" in row for row in rows)
        self.lost = (
            {**tree, "due": False}
            if tree.get("due") is True and not evaluated and run.eval_episodes
            else None
        )
        if self.lost is not None:
            self.lost.pop("replay", None)
        print(f"resuming {self.folder} at step {self.saved:,} of {run.steps:,}")
        if not self.runner.env.exact:
            print(
                f"{run.env} cannot save its physics: its episodes start anew (weights, optimiser, generators are exact)"
            )
        if (before := Horizon(*tree["horizon"])) != run.horizon:
            print(
                f"horizon {before} -> {run.horizon}: schedules that run over the horizon "
                "(the learning rate) continue as if the run had always been this long"
            )
        for difference in runfolder.note_resume(self.folder, self.saved):
            print(f"note: {difference}; a resume is exact with the same versions only")

    def _best_so_far(self, recorded: float) -> float:
        """The score to beat: a checkpoint is made before its evaluation, whose score is in
        `best.pt` alone.
        """
        with suppress(CheckpointError):
            tree = load_checkpoint(self.checkpoints.folder / "best.pt")
            if tree["runner"]["seen"] <= self.runner.seen:
                return max(recorded, float(tree["best"]))
        return recorded

    # ---------------------------------- the loop

    def learn(self) -> Trained:
        """Train to the last step, or until a signal asks for a stop, which saves; then evaluate the
        final weights.
        """
        run, runner = self.experiment.run, self.runner
        began, seen = time.perf_counter(), runner.seen
        self.announce()
        title = f"{run.agent} · {run.network} · {run.env}"
        try:
            with (
                self.reported(),
                self.stop.gently(),
                single_thread(),
                Panel(run.steps, title, self.folder, seen) as panel,
            ):
                self.open()
                while self.share() < 1.0 and not self.stop.asked:
                    self.after(runner.step(), panel)
                self.close()
        finally:
            self.close_log()
        return self.finish(time.perf_counter() - began)

    def reported(self) -> Reported:
        """A block whose faults are raised with what is kept and how to go on."""
        return Reported(self)

    def open(self) -> None:
        """Begin to log, and make a first checkpoint where there is none: from now on the run can be
        resumed.
        """
        self.began, self.before = time.perf_counter(), self.elapsed
        self.logged, self.marked = self.runner.seen, self.share()
        self.log: MetricsLog | None = MetricsLog(self.folder, resume_step=self.runner.seen or None)
        rows = [
            f"| {name} | {_flag_text(value)} |"
            for name, value in self.experiment.settings().items()
        ]
        self.log.text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]))
        if self.saved is None:
            self.save()
            runfolder.point_latest(self.folder)
        elif self.lost is not None:
            self.log.write(
                self.runner.seen, to_floats(self._rollout_values() | self._evaluate(self.lost))
            )
            self.lost = None

    def after(
        self, metrics: Metrics, panel: Panel | None, sync: Callable[[], None] = lambda: None
    ) -> None:
        """Do what follows an update: statistics, a log row, and where they are due a checkpoint and
        an evaluation.

        sync: brings the runner's agent and life up to date, before they are saved or evaluated.
        """
        run, runner = self.experiment.run, self.runner
        self.means.add(metrics)
        self.stats.add([e.ret for e in runner.episodes], [e.length for e in runner.episodes])
        self.elapsed = self.before + time.perf_counter() - self.began
        values: dict[str, Any] = {**self._rollout_values(), **metrics}
        share = self.share()
        due = int(share * run.checkpoints) > int(self.marked * run.checkpoints)
        if due or self._late():
            sync()
        if due or runner.seen - self.logged >= max(1, run.steps // 500):
            values = to_floats(values | self.means.take())
            self._check_losses(values)
            if due:
                self.marked = share
                values |= self._save_and_evaluate()
            self.logged = runner.seen
            self.log.write(runner.seen, values)
            self._warn(values, panel)
        if not due and self._late():
            self.save()
        if panel is not None:
            panel.update(
                runner.seen,
                values | {"eval/best": self.best} if self.best > -math.inf else values,
                share,
            )
        if due and run.eval_episodes and "spikes/1_rate" in metrics:
            self._attempt("picture of the spikes", self._picture)

    def _late(self) -> bool:
        """Whether so long has passed since the last checkpoint that the clock asks for one."""
        minutes = self.experiment.run.save_minutes
        return minutes > 0 and time.monotonic() - self.saved_at >= 60.0 * minutes

    def _save_and_evaluate(self) -> dict[str, float]:
        """Save first, so that an evaluation which fails or is interrupted costs nothing but itself."""
        return self._evaluate(self.save(due=True))

    def _evaluate(self, tree: dict[str, Any]) -> dict[str, float]:
        """The score of the evaluation after a checkpoint; one that scores best is kept as
        `best.pt`.
        """
        if not self.experiment.run.eval_episodes:
            return {}
        run = self.experiment.run
        found = self._attempt(
            "evaluation", lambda: self.evaluated(self.runner.agent, run.eval_episodes, EVAL_SEED)
        )
        if found is None:
            return {}
        if (
            found.mean >= self.best
        ):  # of equals the later: an early one may owe it to few start states
            self.best = found.mean
            self._save_best({**tree, "best": self.best})
        return {"eval/mean_reward": found.mean}

    def close(self) -> None:
        """Save where it was stopped."""
        if self.stop.asked and self.saved != self.runner.seen:
            self.save()

    def close_log(self) -> None:
        """Close the log, if it was opened."""
        log, self.log = getattr(self, "log", None), None
        if log is not None:
            log.close()

    def share(self) -> float:
        """The share of the training that is over."""
        return self.experiment.run.horizon.lived(self.runner.seen, self.stats.count)

    # ---------------------------------- what is kept

    def save(self, due: bool = False) -> dict[str, Any]:
        """Checkpoint everything that an exact continuation needs, and return it. Raises
        DivergedError for weights of NaN.

        due: an evaluation follows; a resume makes up for it where it was lost.
        """
        runner = self.runner
        runner.check()
        tree = {
            "agent": state_without_rows(runner.agent),
            "runner": runner.state_dict(),
            "stats": self.stats.state_dict(),
            "best": self.best,
            "elapsed": self.elapsed,
            "horizon": list(self.experiment.run.horizon),
            "due": due,
        }
        with self.stop.held():
            replay = saved_apart(runner.agent)
            rows = (
                None if replay is None else self.replay_files.save(runner.seen, replay)
            )  # first: see `replay_files`
            self.checkpoints.save(runner.seen, tree | {"replay": rows})
            if rows is not None:
                self.replay_files.prune(self.checkpoints.steps())
            self.saved, self.saved_at = runner.seen, time.monotonic()
        return tree

    def _save_best(self, tree: dict[str, Any]) -> None:
        with self.stop.held():
            self.checkpoints.save_best(tree)

    def _check_losses(self, values: Mapping[str, float]) -> None:
        """Raise DivergedError where a loss or dopamine is not finite; other metrics may be
        undefined for a moment.
        """
        for name, value in values.items():
            if ("loss" in name or name.startswith("dopamine/")) and not math.isfinite(value):
                raise DivergedError(
                    f"the agent diverged: {name} is {value} at update {self.runner.updates:,}"
                )

    # ---------------------------------- evaluations

    def evaluated(self, agent: Any, episodes: int, seed: int) -> Evaluation:
        """Greedy episodes in environments of their own; in the one that is being trained in where
        no second can be made.
        """
        run = self.experiment.run
        if not self.only_one:
            try:
                env = make_env(run, episodes, self.runner.env.device)
            except Exception as error:
                if not self.alone or self.runner.env.num_envs > 1:
                    raise
                self.only_one = True
                self._note(
                    f"no second instance of {run.env} can be made ({_reason(error)}): evaluations play in the one there is, "
                    "and a new episode begins after each"
                )
            else:
                with open_env(env), single_thread():
                    return evaluate(agent, env, seed)
        result = evaluate_in_rounds(agent, self.runner.env, episodes, seed)
        self.runner.start(run.seed)
        return result

    def _attempt(self, what: str, work: Callable[[], T]) -> T | None:
        """The result of work that the run can do without; None where it fails, which is said, or is
        interrupted.
        """
        try:
            with self.stop.at_once():
                return work()
        except Interrupted:
            return None
        except DivergedError:
            raise
        except Exception as error:
            self._note(f"the {what} failed: {_reason(error)}; the training is not touched by it")
            return None

    def _note(self, text: str) -> None:
        """Print a sentence once."""
        if text not in self.said:
            self.said.add(text)
            print(f"note: {text}")

    def _rollout_values(self) -> dict[str, Any]:
        """How the run goes, under SB3's names."""
        runner = self.runner
        values = {
            "time/fps": runner.speed(),
            "time/collect": runner.collect_s,
            "time/learn": runner.learn_s,
        }
        if self.stats.count:
            values |= {
                "rollout/ep_rew_mean": self.stats.mean_return,
                "rollout/ep_len_mean": self.stats.mean_length,
            }
        return values

    def _picture(self) -> None:
        """The spikes of a few greedy decisions on TensorBoard: neurons down, ticks across."""
        if self.only_one:
            return
        with open_env(make_env(self.experiment.run, 1, self.runner.env.device)) as env:
            seen = record(self.runner.agent, env, EVAL_SEED, PICTURED)
        if seen.layers:
            spikes = np.concatenate([seen.train(f"spikes/{i + 1}") for i in range(seen.layers)], 1)
            self.log.image("spikes/raster", 1.0 - spikes.T, self.runner.seen)

    def _warn(self, values: Mapping[str, float], panel: Panel | None) -> None:
        """Say once of each layer that most of its neurons never fire, or always."""
        for name, value in values.items():
            layer, _, figure = name.rpartition("_")
            if figure in ("dead", "saturated") and value > MOST and layer not in self.said:
                self.said.add(layer)
                never = "never fire" if figure == "dead" else "fire at every tick"
                way = "higher" if figure == "dead" else "lower"
                say = print if panel is None else panel.print
                say(
                    f"note: {value:.0%} of the neurons of layer {layer.rpartition('/')[2]} {never}; "
                    f"a {way} --{self.experiment.run.network}.gain or a --{self.experiment.run.network}.target-rate helps"
                )

    # ---------------------------------- what is said

    def announce(self, seeds: int = 1) -> None:
        """Print what will be trained, and where it is kept."""
        run, agent = self.experiment.run, self.runner.agent
        count = sum(p.numel() for p in agent.parameters()) if hasattr(agent, "parameters") else 0
        env_id = vector.find_id(run.env)
        native = (
            f" ({env_id}, natively vectorised)"
            if env_id != run.env and env_id.startswith("bio_rl/")
            else ""
        )
        print(
            f"{run.agent} · {run.network} ({count:,} parameters) on {run.env} x {run.num_envs}{native}"
        )
        presets = (
            f"preset {', '.join(self.experiment.preset)}"
            if self.experiment.preset
            else "no preset for this task"
        )
        hidden = ("env", "seed", "run-dir", "device")
        changed = [
            f"{name} {_flag_text(x)}"
            for name, x in self.experiment.changed().items()
            if name not in hidden
        ]
        print(f"{presets}; differs from the defaults in: {', '.join(changed) or 'nothing'}")
        device = self.runner.env.device
        spare = (
            "; a GPU is at hand: --device cuda"
            if torch.cuda.is_available() and device.type == "cpu"
            else ""
        )
        if hasattr(agent, "claim"):
            print(agent.claim())
        which = (
            f"seed {run.seed}"
            if seeds == 1
            else f"seeds {run.seed} to {run.seed + seeds - 1} side by side"
        )
        print(
            f"{run.horizon}, {which}, on {device}{spare}; files in {self.folder}{', …' if seeds > 1 else ''}"
        )

    def command(self, name: str, *more: object) -> str:
        """A command to go on with, as it is typed."""
        return commands.command(name, self.folder, self.experiment.run.env, *more)

    def kept(self) -> str:
        """What is kept, and how to go on from it."""
        if self.saved is None:
            return "nothing was saved yet"
        return f"last checkpoint: step {self.saved:,}; go on with: {self.command('resume')}"

    def finish(self, seconds: float) -> Trained:
        """The trained agent; where the training is over with its evaluation, which is printed and
        written down.
        """
        trained = Trained(
            self.experiment, self.runner.agent, self.folder, self.runner.seen, seconds=seconds
        )
        if self.stop.asked and self.share() < 1.0:
            print(
                f"\nstopped at step {self.runner.seen:,}, saved; go on with\n  {self.command('resume')}"
            )
            return dataclasses.replace(trained, stopped=self.stop.number)
        return self._report(trained)

    def _report(self, trained: Trained) -> Trained:
        """Evaluate the last weights and the best, write result.json and print what to do next."""
        step = self._attempt("choice of the best weights", self._choose_best)
        last = self._attempt(
            "final evaluation", lambda: self.evaluated(trained.agent, FINAL_EPISODES, FINAL_SEED)
        )
        best = last
        if step is not None and step != trained.steps:
            best = self._attempt("evaluation of the best weights", self._evaluate_best)
        result = {
            "steps": trained.steps,
            "seconds": self.elapsed,
            "selection": self.best if math.isfinite(self.best) else None,
            "best_step": step,
            "best_eval": best.mean if best is not None and step is not None else None,
            **(last.as_dict() if last is not None else {"mean": None}),
        }
        runfolder.write_json(self.folder / "result.json", result)
        self._say_result(trained, last, best, step)
        return dataclasses.replace(trained, evaluation=last, stopped=self.stop.number)

    def _choose_best(self) -> int | None:
        """The step of the weights that are best: of what evaluations proposed and the last, by more
        start states.

        The last win a tie. `best.pt` holds the winner afterwards. None for a run without
        evaluations.
        """
        if not math.isfinite(self.best):
            return None
        proposed = load_checkpoint(self.checkpoints.folder / "best.pt")
        if proposed["runner"]["seen"] == self.runner.seen:
            return self.runner.seen
        scores = [
            self.evaluated(
                agent, CHOICE_SHARE * self.experiment.run.eval_episodes, CHOICE_SEED
            ).mean
            for agent in (self._agent_of(proposed), self.runner.agent)
        ]
        if scores[1] < scores[0]:
            return int(proposed["runner"]["seen"])
        self._save_best(
            {**load_checkpoint(self.checkpoints.last()), "best": self.best, "replay": None}
        )
        return self.runner.seen

    def _evaluate_best(self) -> Evaluation:
        tree = load_checkpoint(self.checkpoints.folder / "best.pt")
        return self.evaluated(self._agent_of(tree), FINAL_EPISODES, FINAL_SEED)

    def _agent_of(self, tree: Mapping[str, Any]) -> Any:
        """The agent in a checkpoint of this run."""
        agent = make_agent(self.experiment, self.runner.env)
        fit_agent(agent, tree["agent"], self.checkpoints.folder)
        return agent

    def _say_result(
        self, trained: Trained, last: Evaluation | None, best: Evaluation | None, step: int | None
    ) -> None:
        run = self.experiment.run
        print(f"\ngreedy evaluation of {run.env}: {last if last is not None else 'none'}")
        if step is not None and step != trained.steps and best is not None:
            print(f"the best weights are of step {step:,}: {best}; eval --best takes them")
        print(
            f"trained {trained.steps:,} steps in {trained.seconds:.0f} s; saved in {self.folder}\nnext:"
        )
        for line in (
            self.command("eval"),
            self.command("play"),
            self.command("resume", "--steps", 2 * run.steps),
        ):
            print(f"  {line}")
        print(f"  {commands.tensorboard(run.run_dir)}")


class Reported:
    """A context manager around a training: faults leave it with the last checkpoint and the way to
    go on in their words.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        kept = self.session.kept()
        if isinstance(error, Interrupted):
            print(f"\nstopped at once; {kept}")
        elif isinstance(error, DivergedError):
            raise DivergedError(f"{error}; {self._cure()}; {kept}") from error
        elif isinstance(error, FaultyEnvironmentError):
            raise type(error)(f"{error}; {kept}") from error.__cause__

    def _cure(self) -> str:
        """The settings that most likely made an agent diverge, with what they are now."""
        run, config = self.session.experiment.run, self.session.experiment.agent
        rates = {
            f.name: getattr(config, f.name)
            for f in dataclasses.fields(config)
            if f.name == "lr" or f.name.endswith(("_lr", "learning_rate"))
        }
        named = ", ".join(
            f"--{run.agent.replace('_', '-')}.{n.replace('_', '-')} (now {v:g})"
            for n, v in rates.items()
            if v
        )
        return f"a lower learning rate is the usual cure: {named}"


def _reason(error: Exception) -> str:
    """An error in one line, with the file and line where it was raised if it is not ours."""
    cause = (
        error.__cause__ if isinstance(error, FaultyEnvironmentError) and error.__cause__ else error
    )
    text = f"{type(cause).__name__}: {cause}".splitlines()[0]
    frames = traceback.extract_tb(cause.__traceback__)
    if cause is error or not frames:
        return text
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def _flag_text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
