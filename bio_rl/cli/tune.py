"""`bio-rl tune`: search better settings for a task, and compare them with the usual ones."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bio_rl import checks
from bio_rl.cli._parse import parse
from bio_rl.machine import trust
from bio_rl.sweeps import cases, preset_writer, result_file, tuning
from bio_rl.sweeps.bar import bar
from bio_rl.sweeps.cases import Plan
from bio_rl.training import build, commands, flags, presets, runfolder, statistics, users
from bio_rl.training.config import Experiment, Run
from bio_rl.viz import comparison

FILE = "tune.json"
"""The file of results in the output folder."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Search better settings of an agent and its network for a task, and write them as a preset.

    The settings and their ranges are those that the agent and the network declare; `list presets`
    shows what is tuned already. The same command goes on where it was stopped.
    """

    env: str = Run.env
    """Environment to tune for."""
    agent: str = Run.agent
    """Learning algorithm."""
    network: str | None = None
    """Kind of network; by default the first that the agent serves."""
    flags: str = ""
    """Further flags of every training, as in --flags="--neuron alif --num-envs 32"."""
    trials: int = 20
    """Trials in all, those of an earlier call among them; the first has the usual settings."""
    steps: int | None = None
    """Environment steps of a training; by default the preset's."""
    trial_seeds: int = 1
    """Trainings of a trial, with the seeds 1000, 1001, …; its score is their mean."""
    seeds: int = 5
    """Fresh seeds, 0, 1, …, with which the best and the usual settings are compared at the end; 0
    for no comparison.
    """
    jobs: int = 2
    """Trainings at a time in that comparison; trials are trained one by one."""
    out: Path | None = None
    """Folder for the study, the preset and the results; by default
    runs/tune_ENVIRONMENT_AGENT_NETWORK.
    """

    def __post_init__(self) -> None:
        checks.at_least_one(self, "trials", "trial_seeds", "jobs")
        if not 0 <= self.seeds <= tuning.SEED:
            raise ValueError(f"--seeds is {self.seeds}, expected 0 to {tuning.SEED:,}")

    @property
    def words(self) -> list[str]:
        """The command line of a training with the usual settings."""
        words = ["--env", self.env, "--agent", self.agent]
        if self.network is not None:
            words += ["--network", self.network]
        if self.steps is not None:
            words += ["--steps", str(self.steps)]
        # Last, so that they win where something is said twice.
        return words + shlex.split(self.flags)


def main(arguments: Sequence[str]) -> None:
    """Search, write the best settings as a preset, and compare them with the usual ones."""
    for module in users.modules_typed(arguments):
        trust.import_named(module)
    given: Flags = parse(Flags, arguments, "tune")
    experiment = flags.experiment(given.words)
    folder = place(given, experiment.run)
    tuning.optuna()
    folder.mkdir(parents=True, exist_ok=True)
    with runfolder.lock(folder):
        study = tuning.open_study(folder, experiment)
        announce(given, experiment, study, folder)
        search(given, experiment, study, folder)
        preset = folder / tuning.PRESET
        best = tuning.best(study, experiment)
        preset_writer.write(preset, best, notes(given, study))
        print(f"wrote {preset}")
        if best == experiment:
            print("the usual settings are the best that were tried: there is nothing to compare")
        elif given.seeds:
            compare(given, experiment, study, folder)
    words = ["--env", given.env, "--agent", given.agent, "--network", experiment.run.network]
    print(f"to use it:\n  {commands.program()} {shlex.join([*words, '--preset', str(preset)])}")


def place(given: Flags, run: Run) -> Path:
    """The output folder."""
    if given.out is not None:
        return commands.expanded(given.out)
    name = "_".join(("tune", presets.task(run.env), run.agent, run.network))
    return Run.run_dir / name.replace(":", "-")


def announce(given: Flags, experiment: Experiment, study: Any, folder: Path) -> None:
    """Print what is searched, and where it is kept."""
    run = experiment.run
    last = tuning.SEED + given.trial_seeds - 1
    seeds = f"seed {tuning.SEED}" if given.trial_seeds == 1 else f"seeds {tuning.SEED} to {last}"
    print(f"tuning {run.agent} · {run.network} on {run.env}: {run.horizon} a training, {seeds}")
    print(f"searched: {', '.join(tuning.searches(experiment))}")
    done = tuning.finished(study)
    kept = f"{done} of them are over already; " if done else ""
    print(f"{given.trials} trials, {kept}files in {folder}", flush=True)


def search(given: Flags, experiment: Experiment, study: Any, folder: Path) -> None:
    """Train the trials that are still to be done."""
    left = given.trials - tuning.finished(study)
    with bar("trials", max(0, left)) as (say, advance):
        # Counted anew each time: the study is what knows.
        while tuning.finished(study) < given.trials:
            told = tuning.try_once(study, experiment, folder, given.trial_seeds)
            say(told)
            advance(1)


def notes(given: Flags, study: Any) -> list[str]:
    """The head of the preset: how it was found, and with which seeds."""
    # Whoever reports results must know which seeds are spent.
    used = range(tuning.SEED, tuning.SEED + given.trial_seeds)
    seeds = ", ".join(map(str, used))
    return [
        f"Found by `tune` in {tuning.finished(study)} trials, trained with these seeds: {seeds}.",
        f"Trial {study.best_trial.number} scored {study.best_value:.4g}, the best of many and so "
        "too high; results are to be reported with other seeds.",
    ]


def compare(given: Flags, experiment: Experiment, study: Any, folder: Path) -> None:
    """Train the best and the usual settings with fresh seeds, and print both. Raises ValueError
    where trainings failed.
    """
    plan = fresh(given, experiment, folder)
    print(f"\nthe best and the usual settings with fresh seeds, 0 to {given.seeds - 1}:")
    # More trials may have found another best than the one that was compared before.
    done = cases.read(plan, folder / FILE, renew=True)
    try:
        found = cases.train(
            plan,
            done,
            partial(save, given, study, folder),
            jobs=given.jobs,
            run_dir=folder / "runs",
        )
    except cases.FailedError as error:
        raise ValueError(f"some trainings failed, all others are kept:\n{error}") from error
    save(given, study, folder, found)
    names = list(dict.fromkeys(training.case for training in plan.trainings))
    comparison.show({name: found[name] for name in names})
    print(verdict(*(found[name] for name in names)))
    print(f"wrote {folder / FILE}")


def verdict(usual: Mapping[str, Any], tuned: Mapping[str, Any]) -> str:
    """The words for the figures of the usual and of the tuned settings over their seeds."""
    scores = [[record["mean"] for record in case["seeds"].values()] for case in (tuned, usual)]
    gain = statistics.difference(*map(statistics.estimate, scores))
    ends = gain.interval()
    # One seed says nothing of how far the next one would be.
    low, high = (-math.inf, math.inf) if ends is None else ends
    text = f"tuned - usual: {gain.value:+.4g}"
    if ends is not None:
        text += f", 95 % t interval {comparison.interval(ends)}"
    if low > 0:
        return f"{text}: the tuned settings are better"
    if high < 0:
        return f"{text}: the tuned settings are worse"
    return f"{text}: these seeds do not tell them apart"


def fresh(given: Flags, experiment: Experiment, folder: Path) -> Plan:
    """The trainings of the final comparison: usual settings first, then the preset's."""
    tuned = f"{given.flags} --preset {shlex.quote(str(folder / tuning.PRESET))}"
    return Plan(
        env=(given.env,),
        network=(experiment.run.network,),
        agent=(given.agent,),
        flags=(given.flags, tuned.strip()),
        seeds=range(given.seeds),
        steps=given.steps,
        episodes=build.FINAL_EPISODES,
    )


def save(given: Flags, study: Any, folder: Path, found: Mapping[str, Any]) -> None:
    """Write the figures so far, with the trials."""
    settings = dataclasses.asdict(given)
    settings["out"] = str(folder)
    settings["trial_seed"] = tuning.SEED
    report = result_file.report("tune", settings, found)
    # Beside the results, as a search is none: its best score is too high.
    report["trials"] = tuning.trials(study)
    result_file.save(folder / FILE, report)
