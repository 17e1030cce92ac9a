"""The final greedy returns of whole trainings over several seeds, with t intervals.

Seeds of a learner that can train them side by side share a process, and its seconds.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bio_rl import vector
from bio_rl.bench import _report
from bio_rl.bench._report import Shared, rounded
from bio_rl.rl.base import Spec
from bio_rl.training import build, config, statistics, sweep
from bio_rl.training.statistics import Estimate
from bio_rl.training.sweep import Training

RATIO = "ratio_spiking_mlp"
"""The name of the figure that compares the two networks."""
MEAN = "mean over environments"
"""The name of the case that holds the mean of the ratios."""
COUNTS = ("env", "network", "agent", "seeds")
NUMBERS = ("jobs", "episodes")
"""Settings of which there must be at least one."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Train every network in every environment from every seed.

    Finished seeds in --out are not trained again.
    """

    env: tuple[str, ...] = ("HalfCheetah-v5",)
    """Environment ids."""
    network: tuple[str, ...] = ("spiking",)
    """Kinds of network; with spiking and mlp both, their ratio is reported: of scores between 0,
    random, and 1, the reference, where the world has one, else of returns.
    """
    agent: tuple[str, ...] = ("ppo",)
    """Learning algorithms."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the trainings."""
    steps: int | None = None
    """Environment steps of a training; by default the preset's."""
    flags: str = ""
    """Further flags of train.py for every training, as in --flags="--neuron alif".

    They are part of a case's name.
    """
    jobs: int = 2
    """Trainings at a time."""
    together: bool = True
    """Train the seeds of a case side by side where the learner can; else each alone."""
    episodes: int = 20
    """Episodes of the final greedy evaluation."""
    run_dir: Path | None = None
    """Keep the run folders here; by default they are thrown away."""

    def __post_init__(self) -> None:
        for name in COUNTS:
            self._refuse_fewer_than_one(name, len(getattr(self, name)))
        for name in NUMBERS:
            self._refuse_fewer_than_one(name, getattr(self, name))

    def _refuse_fewer_than_one(self, name: str, count: int) -> None:
        if count < 1:
            raise ValueError(f"--{name} is {getattr(self, name)!r}, expected at least one")


def run(settings: Settings) -> dict[str, Any]:
    """{"env/network": figures}, with the seeds' records; and the mean ratio over the environments.

    Raises BenchError where a training failed, when all others are finished and kept.
    """
    results = read(settings)
    todo = [t for t in trainings(settings) if str(t.seed) not in results[t.case]["seeds"]]
    if settings.together:
        todo = side_by_side(todo)
    print(f"{len(todo)} trainings to do, {settings.jobs} at a time")
    failures = []
    with closing(sweep.run_all(todo, settings.jobs, settings.run_dir)) as finished:
        for training, records in finished:
            # the others go on: a night of trainings must not end with one of them
            if isinstance(records, Exception):
                failures.append(str(records))
                print(f"{training}: failed", flush=True)
                continue
            # keys of JSON are texts
            by_seed = {str(seed): record for seed, record in records.items()}
            results[training.case]["seeds"] |= by_seed
            # after each, so that an interrupted bench keeps what is finished
            if settings.out is not None:
                _report.save(settings.out, _report.report("learning", settings, summary(results)))
            means = ", ".join(f"{record['mean']:.1f}" for record in records.values())
            seconds = records[training.seed]["seconds"]
            print(f"{training}: {means} in {seconds:.0f} s", flush=True)
    if failures:
        raise _report.BenchError("\n\n".join(failures))
    return summary(results)


# Trainings


def trainings(settings: Settings) -> list[Training]:
    """All trainings, seed by seed, so that an interrupted bench has something of everything."""
    cases = itertools.product(settings.seeds, settings.env, settings.agent, settings.network)
    return [
        Training(
            env=env,
            network=network,
            agent=agent,
            seed=seed,
            steps=settings.steps,
            episodes=settings.episodes,
            flags=settings.flags,
        )
        for seed, env, agent, network in cases
    ]


def side_by_side(todo: Iterable[Training]) -> list[Training]:
    """The trainings, with consecutive seeds of a case as one where the learner can do that."""
    groups: list[Training] = []
    for training in sorted(todo, key=lambda t: t.seed):
        together = trains_side_by_side(training.env, training.agent, training.network)
        at = _group_before(groups, training) if together else None
        if at is None:
            groups.append(training)
        else:
            groups[at] = replace(groups[at], seeds=groups[at].seeds + 1)
    return groups


@functools.cache
def trains_side_by_side(env: str, agent: str, network: str) -> bool:
    """Whether a learner, as its preset has it, trains several seeds as one program."""
    experiment = config.experiment(env, agent, network)
    with build.open_env(build.make_env(experiment.run, 1)) as world:
        observation_space = world.observation_space
        action_space = world.action_space
    spec = Spec(experiment.agent, experiment.network, observation_space, action_space)
    return config.agents_module(agent).Agent.batches(spec)


def _group_before(groups: list[Training], training: Training) -> int | None:
    """The index of the group that a training continues by one seed."""
    for i, group in enumerate(groups):
        if group.case == training.case and group.each[-1] + 1 == training.seed:
            return i
    return None


# What is saved


def read(settings: Settings) -> dict[str, Any]:
    """The cases of `--out` so far, and empty ones for what is new.

    Raises ValueError for cases that were trained with other settings: they must not be mixed.
    """
    results = saved_cases(settings.out)
    for training in trainings(settings):
        now = setting(training)
        case = results.setdefault(training.case, {"setting": now, "seeds": {}})
        case["setting"] = completed(case["setting"])
        if case["setting"] != now:
            other = difference(case["setting"], now)
            raise ValueError(
                f"{settings.out} holds {training.case} trained with other settings ({other}); "
                "give another --out, or remove the file to train all anew"
            )
    return results


def saved_cases(path: Path | None) -> dict[str, Any]:
    """The cases of a report; none where there is no such file."""
    if path is None or not path.is_file():
        return {}
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    # The mean over environments is no case: it has no seeds, and is computed anew.
    return {case: dict(figures) for case, figures in results.items() if "seeds" in figures}


def completed(saved: Mapping[str, Any]) -> dict[str, Any]:
    """A saved setting with fields that are younger than it at their defaults.

    Those were in force when its seeds were trained.
    """
    run = saved["run"] | {"seed": 0, "run_dir": "."}
    experiment = config.Experiment.from_dict({**saved, "run": run})
    return {**saved, **compared(experiment.as_dict())}


def compared(full: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment as JSON has it, without what differs between the seeds of a case."""
    run = {name: value for name, value in full["run"].items() if name not in ("seed", "run_dir")}
    # through JSON: a tuple must equal the list that it was saved as
    return json.loads(json.dumps({**full, "run": run}))


def setting(training: Training) -> dict[str, Any]:
    """Everything that is resolved for a training but its seed, as JSON has it.

    Raises ValueError for unknown names.
    """
    vector.find_id(training.env)
    steps: dict[str, Any] = {} if training.steps is None else {"steps": training.steps}
    experiment = config.experiment(training.env, training.agent, training.network, **steps)
    resolved = compared(experiment.as_dict())
    resolved["episodes"] = training.episodes
    if training.flags:
        resolved["flags"] = training.flags
    return resolved


def difference(old: Any, new: Any, at: str = "") -> str:
    """The first entry in which two settings differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return f"{at.removeprefix('.')} {old!r}, now {new!r}"
    key = next(key for key in {**old, **new} if old.get(key) != new.get(key))
    return difference(old.get(key), new.get(key), f"{at}.{key}")


# Figures


def summary(cases: Mapping[str, Any]) -> dict[str, Any]:
    """The cases with their figures over seeds, and the ratios of their networks.

    A ratio is there where a learner has had both networks in a world.
    """
    results: dict[str, Any] = {case: figures(c) for case, c in cases.items() if c["seeds"]}
    ratios = []
    for case, mine in results.items():
        learner, _, network = case.rpartition("/")
        other = results.get(f"{learner}/mlp")
        if network != "spiking" or other is None:
            continue
        ratio = compare(mine, other)
        if ratio is not None:
            mine |= ratio_figures(ratio)
            ratios.append(ratio)
    if len(ratios) > 1:
        results[MEAN] = ratio_figures(statistics.mean(ratios))
    return results


def ratio_figures(ratio: Estimate) -> dict[str, Any]:
    """A ratio of interquartile means with its interval."""
    return {RATIO: rounded(ratio.value), f"{RATIO}_interval": rounded_interval(ratio)}


def rounded_interval(found: Estimate) -> list[float] | None:
    """The 95 % t interval of a figure over seeds; None for one seed."""
    interval = found.interval()
    return None if interval is None else [rounded(float(x)) for x in interval]


def compare(mine: Mapping[str, Any], other: Mapping[str, Any]) -> Estimate | None:
    """The ratio of two cases' interquartile means; None where there is none that says anything.

    That is a ratio with a mean that is not positive, or where the one to divide by may as well be
    zero.
    """
    cases = [list(case["seeds"].values()) for case in (mine, other)]
    # On the scale of the world's reference where every seed has a place on it.
    normalised = all(r.get("normalised") is not None for records in cases for r in records)
    key = "normalised" if normalised else "mean"
    above, below = (statistics.estimate([r[key] for r in records]) for records in cases)
    least, _ = below.interval() or (below.value, below.value)
    if min(above.value, below.value, least) <= 0:
        return None
    return statistics.ratio(above, below)


def figures(case: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a case over its seeds, and all their records.

    The returns are those of the final greedy evaluations; the best are of evaluations in training.
    """
    records = list(case["seeds"].values())
    final = [record["mean"] for record in records]
    best = [record["best_eval"] for record in records]
    seconds = [record["seconds"] for record in records]
    found = statistics.estimate(final)
    return {
        "n": len(records),
        "steps": int(max(record["steps"] for record in records)),
        "iqm": rounded(float(found.value)),
        "iqm_interval": rounded_interval(found),
        "median": rounded(float(np.median(final))),
        "min": rounded(min(final)),
        "mean": rounded(float(np.mean(final))),
        **normalised(records),
        "iqm_best": rounded(statistics.interquartile_mean(best)),
        "seconds_median": rounded(float(np.median(seconds))),
        "seconds_max": rounded(max(seconds)),
        **operations(records),
        "setting": case["setting"],
        "seeds": dict(sorted(case["seeds"].items(), key=lambda item: int(item[0]))),
    }


def normalised(records: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The returns on the scale of the world's reference; nothing where it has none.

    0 is random, and 1 the expert's or the ideal return.
    """
    scores = [record["normalised"] for record in records if record.get("normalised") is not None]
    if len(scores) < len(records):
        return {}
    return {
        "normalised_mean": rounded(float(np.mean(scores))),
        "normalised_min": rounded(min(scores)),
    }


def operations(records: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds of a decision's operations, by network; nothing where a record has none."""
    if not all("operations" in record for record in records):
        return {}
    by_seed = [record["operations"] for record in records]
    means: dict[str, dict[str, float]] = {}
    for network, counts in by_seed[0].items():
        means[network] = {
            kind: rounded(float(np.mean([operations[network][kind] for operations in by_seed])))
            for kind in counts
        }
    return {"operations_per_decision": means}
