"""What training reaches: whole runs over several seeds, their final greedy returns as an
interquartile mean with interval.

Seeds of a learner that can train them side by side share a process, and its seconds.
"""

from __future__ import annotations

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
from bio_rl.training import config, statistics, sweep
from bio_rl.training.sweep import Training

RATIO = "ratio_spiking_mlp"
MEAN = "mean over environments"


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Train every network in every environment from every seed. Finished seeds in --out are not
    trained again.
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
    """Of the trainings."""
    steps: int | None = None
    """Environment steps of a training; by default the preset's."""
    flags: str = ""
    """Further flags of train.py for every training, as in --flags="--neuron alif"; they are part of
    a case's name.
    """
    jobs: int = 2
    """Trainings at a time."""
    together: bool = True
    """Train the seeds of a case side by side where the learner can; else each alone."""
    episodes: int = 20
    """Of the final greedy evaluation."""
    run_dir: Path | None = None
    """Keep the run folders here; by default they are thrown away."""

    def __post_init__(self) -> None:
        for name in ("env", "agent", "network", "seeds", "jobs", "episodes"):
            if not getattr(self, name) or (
                name in ("jobs", "episodes") and getattr(self, name) < 1
            ):
                raise ValueError(f"--{name} is {getattr(self, name)!r}, expected at least one")


def run(settings: Settings) -> dict[str, Any]:
    """{"env/network": figures}, with the seeds' records; and the mean ratio over the environments.

    Raises BenchError where a training failed, when all others are finished and kept.
    """
    results = read(settings)
    todo = [t for t in trainings(settings) if str(t.seed) not in results[t.case]["seeds"]]
    todo = side_by_side(todo) if settings.together else todo
    print(f"{len(todo)} trainings to do, {settings.jobs} at a time")
    failures = []
    with closing(sweep.run_all(todo, settings.jobs, settings.run_dir)) as finished:
        for training, records in finished:
            if isinstance(records, Exception):
                failures.append(str(records))
                print(f"{training}: failed", flush=True)
                continue
            results[training.case]["seeds"] |= {
                str(seed): record for seed, record in records.items()
            }
            if settings.out is not None:
                _report.save(settings.out, _report.report("learning", settings, summary(results)))
            means = ", ".join(f"{record['mean']:.1f}" for record in records.values())
            print(f"{training}: {means} in {records[training.seed]['seconds']:.0f} s", flush=True)
    if failures:
        raise _report.BenchError("\n\n".join(failures))
    return summary(results)


def trainings(settings: Settings) -> list[Training]:
    """What is asked for, seed by seed, so that an interrupted bench has something of everything."""
    common = {"steps": settings.steps, "episodes": settings.episodes, "flags": settings.flags}
    return [
        Training(env=env, network=network, agent=agent, seed=seed, **common)
        for seed in settings.seeds
        for env in settings.env
        for agent in settings.agent
        for network in settings.network
    ]


def side_by_side(todo: Iterable[Training]) -> list[Training]:
    """The same trainings, consecutive seeds of a case as one where the learner trains them side by
    side.
    """
    grouped: list[Training] = []
    for training in sorted(todo, key=lambda t: t.seed):
        able = hasattr(config.agents_module(training.agent).Agent, "member")
        fits = (
            i
            for i, one in enumerate(grouped)
            if one.case == training.case and one.each[-1] + 1 == training.seed
        )
        at = next(fits, None) if able else None
        if at is None:
            grouped.append(training)
        else:
            grouped[at] = replace(grouped[at], seeds=grouped[at].seeds + 1)
    return grouped


def read(settings: Settings) -> dict[str, Any]:
    """The cases of `--out` so far, and empty ones for what is new.

    Raises ValueError for cases that were trained with other settings: they must not be mixed.
    """
    saved: Mapping[str, Any] = {}
    if settings.out is not None and settings.out.is_file():
        saved = json.loads(settings.out.read_text(encoding="utf-8"))["results"]
    results = {case: dict(figures) for case, figures in saved.items() if "seeds" in figures}
    for training in trainings(settings):
        now = setting(training)
        case = results.setdefault(training.case, {"setting": now, "seeds": {}})
        case["setting"] = completed(case["setting"])
        if case["setting"] != now:
            raise ValueError(
                f"{settings.out} holds {training.case} trained with other settings ({difference(case['setting'], now)}); "
                "give another --out, or remove the file to train all anew"
            )
    return results


def completed(saved: Mapping[str, Any]) -> dict[str, Any]:
    """A saved setting with what is younger than it at its default, as it was when the seeds were
    trained.
    """
    run = saved["run"] | {"seed": 0, "run_dir": "."}
    return {**saved, **compared(config.Experiment.from_dict({**saved, "run": run}).as_dict())}


def compared(full: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment as JSON has it, without what differs between the seeds of a case."""
    run = {k: v for k, v in full["run"].items() if k not in ("seed", "run_dir")}
    return json.loads(json.dumps({**full, "run": run}))


def setting(training: Training) -> dict[str, Any]:
    """Everything that is resolved for a training but its seed, as JSON has it. Raises ValueError
    for unknown names.
    """
    vector.find_id(training.env)
    steps: dict[str, Any] = {} if training.steps is None else {"steps": training.steps}
    full = config.experiment(training.env, training.agent, training.network, **steps).as_dict()
    flags = {"flags": training.flags} if training.flags else {}
    return compared(full) | {"episodes": training.episodes} | flags


def difference(old: Any, new: Any, at: str = "") -> str:
    """The first entry in which two settings differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return f"{at.removeprefix('.')} {old!r}, now {new!r}"
    keys = [k for k in {**old, **new} if old.get(k) != new.get(k)]
    return difference(old.get(keys[0]), new.get(keys[0]), f"{at}.{keys[0]}")


def summary(cases: Mapping[str, Any]) -> dict[str, Any]:
    """The cases with their figures over seeds and, where a learner has had both networks in a
    world, their ratios.
    """
    results: dict[str, Any] = {case: figures(c) for case, c in cases.items() if c["seeds"]}
    draws = []
    for case, mine in results.items():
        learner, _, network = case.rpartition("/")
        other = results.get(f"{learner}/mlp")
        found = compare(mine, other) if network == "spiking" and other is not None else None
        if found is not None:
            mine |= ratio(*found)
            draws.append(found)
    if len(draws) > 1:
        results[MEAN] = ratio(
            float(np.mean([r for r, _ in draws])), np.mean([d for _, d in draws], axis=0)
        )
    return results


def compare(mine: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, np.ndarray] | None:
    """The ratio of two cases' interquartile means and its bootstrap draws; None where there is none
    that says anything: of a mean, or a draw to divide by, that is not positive.
    """
    records = [list(case["seeds"].values()) for case in (mine, other)]
    known = all(record.get("normalised") is not None for case in records for record in case)
    scores = [[record["normalised" if known else "mean"] for record in case] for case in records]
    means = [statistics.interquartile_mean(x) for x in scores]
    draws = [
        statistics.bootstrap(x, statistics.interquartile_mean, seed=i) for i, x in enumerate(scores)
    ]
    if min(*means, draws[1].min()) <= 0:
        return None
    return means[0] / means[1], draws[0] / draws[1]


def figures(case: Mapping[str, Any]) -> dict[str, Any]:
    """Over seeds: the final greedy mean returns, the best evaluations in training, the seconds; and
    all records.
    """
    records = list(case["seeds"].values())
    final, best, seconds = ([r[k] for r in records] for k in ("mean", "best_eval", "seconds"))
    return {
        "n": len(records),
        "steps": int(max(r["steps"] for r in records)),
        "iqm": rounded(statistics.interquartile_mean(final)),
        "iqm_interval": [
            rounded(x) for x in statistics.bootstrap_interval(final, statistics.interquartile_mean)
        ],
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
    """The returns on the scale of the world's reference, 0 random and 1 the expert's or ideal;
    nothing where it has none.
    """
    scores = [record.get("normalised") for record in records]
    if None in scores:
        return {}
    return {
        "normalised_mean": rounded(float(np.mean(scores))),
        "normalised_min": rounded(min(scores)),
    }


def operations(records: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds of a decision's operations, by network; nothing where a record has none."""
    if not all("operations" in record for record in records):
        return {}
    counts = [record["operations"] for record in records]
    means = {
        n: {k: rounded(float(np.mean([c[n][k] for c in counts]))) for k in counts[0][n]}
        for n in counts[0]
    }
    return {"operations_per_decision": means}


def ratio(value: float, draws: np.ndarray) -> dict[str, Any]:
    """A ratio of interquartile means with its bootstrap interval."""
    return {
        RATIO: rounded(value),
        f"{RATIO}_interval": [rounded(x) for x in statistics.interval(draws)],
    }
