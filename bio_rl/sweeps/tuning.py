"""A search for better settings of an agent and its network: a study of trials, by Optuna.

    study = open_study(folder, experiment)
    while finished(study) < 20:
        try_once(study, experiment, folder, seeds=1)
    preset_writer.write(folder / PRESET, best(study, experiment), ...)

A trial is a training with settings drawn from the ranges that they declare (`checks.tunable`). It
is pruned where an evaluation scores below the median of the trials before it. The study lies in
SQLite, so that it goes on after a crash: a trial that was cut off is done again.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bio_rl import checks
from bio_rl.checks import Among, Between
from bio_rl.faults import DivergedError
from bio_rl.machine.signals import Interrupted
from bio_rl.sweeps import preset_writer
from bio_rl.training import api, config
from bio_rl.training.config import Experiment
from bio_rl.training.progress import Progress
from bio_rl.training.voice import Voice

SEED = 1_000
"""The first seed of trials; those of reported results are smaller."""
LAST = 3
"""Evaluations, the last ones of a training, whose mean is its score: one alone is noise."""
STARTUP = 6
"""Trials with settings drawn at random, before those of the sampler; the first has the usual ones.
"""
WARMUP = 2
"""Evaluations of a training that never prune it."""
PRESET = "preset.toml"
STUDY = "study.db"
NAME = "bio_rl"
"""The name of the study in its file."""
MADE_FROM = "made_from"
"""The attribute of a study that holds the settings it began with."""
CUT_OFF = "cut_off"
"""The attribute of a study that holds the numbers of trials whose process ended before them."""


def optuna() -> Any:
    """The package. Raises ValueError that names the extra."""
    try:
        import optuna
    except ImportError as error:
        raise ValueError("tune needs the extra `tune`: pip install 'bio-rl[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


# What is searched


def searches(experiment: Experiment) -> dict[str, Between | Among]:
    """The ranges of an experiment's settings, under the names of their flags: `ppo.lr`.

    The value that a setting has now is within its range, however far out a preset has put it; a
    setting that is off by a value that no range holds stays off. Raises ValueError where no setting
    has a range.
    """
    found = {}
    for owner, part in parts(experiment).items():
        for name, search in checks.searches(part).items():
            value = vars(part)[name]
            # Zero has no place on a scale of ratios.
            is_off = isinstance(search, Between) and search.log and value <= 0
            if not is_off:
                found[f"{owner}.{name}"] = _with(search, value)
    if not found:
        run = experiment.run
        raise ValueError(f"{run.agent} with {run.network} declares no range of any setting")
    return found


def parts(experiment: Experiment) -> dict[str, Any]:
    """The settings of the agent and of the network by the words with which their flags begin."""
    agent, network = experiment.prefixes
    return {agent: experiment.agent, network: experiment.network.config}


def _with(search: Between | Among, value: Any) -> Between | Among:
    """A range that holds a value."""
    if isinstance(search, Between):
        low = min(search.low, value)
        high = max(search.high, value)
        return Between(low, high, search.log)
    if value in search.values:
        return search
    return Among((*search.values, value))


def usual(experiment: Experiment) -> dict[str, Any]:
    """The values that an experiment has of the settings that are searched."""
    now = {}
    for owner, part in parts(experiment).items():
        for name, value in vars(part).items():
            now[f"{owner}.{name}"] = value
    # Only those that are searched: others stay as they are.
    return {name: now[name] for name in searches(experiment)}


def suggested(trial: Any, experiment: Experiment) -> dict[str, Any]:
    """A value of every tunable setting, drawn for an Optuna trial."""
    values = {}
    now = usual(experiment)
    for name, search in searches(experiment).items():
        if isinstance(search, Among):
            values[name] = trial.suggest_categorical(name, search.values)
        elif isinstance(now[name], int):
            values[name] = trial.suggest_int(name, search.low, search.high, log=search.log)
        else:
            values[name] = trial.suggest_float(name, search.low, search.high, log=search.log)
    return values


def with_values(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """An experiment with other values of some settings, under the names of their flags. Raises
    ValueError for values that do not go together.
    """
    by_owner: dict[str, dict[str, Any]] = {owner: {} for owner in parts(experiment)}
    for flag, value in values.items():
        # ppo.lr is the setting lr of ppo.
        owner, _, name = flag.partition(".")
        by_owner[owner][name] = value
    filled = {}
    for owner, part in parts(experiment).items():
        filled[owner] = config.fill(part, by_owner[owner], owner)
    agent, network = filled.values()
    blueprint = dataclasses.replace(experiment.network, config=network)
    return dataclasses.replace(experiment, agent=agent, network=blueprint)


# The study


def open_study(folder: Path, experiment: Experiment) -> Any:
    """The study in a folder, a new one where there is none.

    Trials that a process left behind are marked as cut off and will be done again first. Raises
    ValueError for a study of other settings.
    """
    package = optuna()
    _check_evaluated(experiment)
    # A preset that cannot be written is refused now, not after hours.
    preset_writer.text(experiment, ())
    folder.mkdir(parents=True, exist_ok=True)
    study = package.create_study(
        storage=f"sqlite:///{folder / STUDY}",
        study_name=NAME,
        load_if_exists=True,
        direction="maximize",
        pruner=package.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP),
    )
    _check_same(study, experiment, folder)
    if not study.trials:
        study.enqueue_trial(usual(experiment))
    for trial in study.get_trials(states=[package.trial.TrialState.RUNNING]):
        study.enqueue_trial(trial.params)
        study.set_user_attr(CUT_OFF, [*cut_off(study), trial.number])
        study.tell(trial.number, state=package.trial.TrialState.FAIL)
    # Another seed than before: the same one would draw the same trials once more.
    study.sampler = package.samplers.TPESampler(
        seed=len(study.trials), n_startup_trials=STARTUP, multivariate=True
    )
    return study


def cut_off(study: Any) -> list[int]:
    """The numbers of trials whose process ended before them."""
    return study.user_attrs.get(CUT_OFF, [])


def _check_evaluated(experiment: Experiment) -> None:
    """Raise ValueError for a run that is not evaluated often enough to have a score."""
    run = experiment.run
    if run.eval_episodes < 1 or run.checkpoints < LAST:
        raise ValueError(
            f"--eval-episodes {run.eval_episodes} --checkpoints {run.checkpoints}: a score is the "
            f"mean of {LAST} evaluations while training, expected at least 1 and {LAST}"
        )


def _check_same(study: Any, experiment: Experiment, folder: Path) -> None:
    """Raise ValueError where a study began with other settings than these."""
    now = made_from(experiment)
    before = study.user_attrs.get(MADE_FROM)
    if before is None:
        study.set_user_attr(MADE_FROM, now)
        return
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{folder} holds a study with other settings ({name} {before.get(name)!r}, now "
                f"{now.get(name)!r}); give another --out, or remove the folder to begin anew"
            )


def made_from(experiment: Experiment) -> dict[str, Any]:
    """Everything that trials have in common, as JSON keeps it."""
    run = experiment.run
    found: dict[str, Any] = {"agent": run.agent, "network": run.network}
    for name, value in experiment.settings().items():
        if name not in preset_writer.OF_A_RUN:
            found[name] = value
    # A study cannot go on in other ranges.
    for name, search in searches(experiment).items():
        found[f"range of {name}"] = str(search)
    text = json.dumps(found, default=str)
    return json.loads(text)


def finished(study: Any) -> int:
    """How many trials are over, those that were pruned or diverged among them."""
    # Those that were cut off are done again, and count then.
    gone = cut_off(study)
    count = 0
    for trial in study.trials:
        if trial.state.is_finished() and trial.number not in gone:
            count += 1
    return count


# A trial


class Watch:
    """Follows the evaluations of a training for a trial, and says when to prune it."""

    def __init__(self, trial: Any) -> None:
        self.trial = trial
        self.pruned = False
        self.scores: list[float] = []
        """Scores of the trainings that are over."""
        self._latest: deque[float] = deque(maxlen=LAST)
        self._reports = 0

    def __call__(self, progress: Progress) -> bool:
        """Report an evaluation; whether the training is to be stopped."""
        if progress.score is None:
            return False
        self._latest.append(progress.score)
        # The mean with the trainings before it, so that all seeds of a trial count.
        running = [*self.scores, self.score()]
        self.trial.report(sum(running) / len(running), self._reports)
        self._reports += 1
        self.pruned = bool(self.trial.should_prune())
        return self.pruned

    def score(self) -> float:
        """The mean of the last evaluations of the training that runs."""
        total = sum(self._latest)
        return total / len(self._latest)

    def close(self) -> None:
        """Keep the score of a training that is over, and make ready for the next."""
        self.scores.append(self.score())
        self._latest.clear()


def try_once(study: Any, experiment: Experiment, folder: Path, seeds: int) -> str:
    """Train one trial, and return how it went, in words.

    seeds: trainings of a trial, from `SEED` on; its score is their mean. Raises Interrupted where a
    signal stopped it: the trial is then done again.
    """
    package = optuna()
    trial = study.ask()
    values = suggested(trial, experiment)
    watch = Watch(trial)
    state = package.trial.TrialState.COMPLETE
    try:
        candidate = with_values(experiment, values)
        for seed in range(SEED, SEED + seeds):
            if not watch.pruned:
                _train(candidate, seed, folder, watch)
    except (DivergedError, ValueError) as error:
        # The first has the usual settings: where they fail, there is nothing to search.
        if trial.number == 0:
            raise
        study.tell(trial, state=package.trial.TrialState.FAIL)
        return f"trial {trial.number}: failed, {str(error).splitlines()[0]:.100}"
    if watch.pruned:
        state = package.trial.TrialState.PRUNED
    score = None if watch.pruned else sum(watch.scores) / seeds
    study.tell(trial, score, state=state)
    changed = {name: x for name, x in values.items() if x != usual(experiment)[name]}
    return _told(study, trial.number, watch, changed)


def _train(candidate: Experiment, seed: int, folder: Path, watch: Watch) -> None:
    """Train one seed of a trial, without a word."""
    one = config.replace_run(candidate, seed=seed, seeds=1, run_dir=folder / "trials")
    trained = api.run_experiment(one, watch, Voice(quiet=True))
    if trained.stopped is not None and not watch.pruned:
        raise Interrupted(trained.stopped)
    if not watch.pruned:
        watch.close()


def _told(study: Any, number: int, watch: Watch, changed: Mapping[str, Any]) -> str:
    """The line of a trial that is over. changed: its settings that are not the usual ones."""
    texts = [f"{name} {shown(x)}" for name, x in changed.items()]
    settings = ", ".join(texts) or "the usual settings"
    if watch.pruned:
        return f"trial {number}: pruned at {watch.score():.4g}; {settings}"
    score = sum(watch.scores) / len(watch.scores)
    best = " (the best so far)" if study.best_trial.number == number else ""
    return f"trial {number}: {score:.4g}{best}; {settings}"


def shown(x: Any) -> str:
    """A value of a setting with three digits."""
    if isinstance(x, float):
        return f"{x:.3g}"
    return str(x)


# What came out


def best(study: Any, experiment: Experiment) -> Experiment:
    """The experiment with the settings of the best trial. Raises ValueError where there is none."""
    scores = [trial.value for trial in study.trials]
    # A pruned trial has no score, and a failed one neither.
    if all(score is None for score in scores):
        raise ValueError(f"no trial of {experiment.run.env} was finished: there is no best one")
    return with_values(experiment, study.best_params)


def trials(study: Any) -> list[dict[str, Any]]:
    """All trials that are over, as JSON keeps them; a pruned one with its last score."""
    gone = cut_off(study)
    return [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "score": trial.value,
            "settings": trial.params,
        }
        for trial in study.trials
        if trial.state.is_finished() and trial.number not in gone
    ]
