"""Cases of a sweep: what is trained, and what is finished already.

    plan = Plan(env=("CartPole-v1",), network=("spiking", "mlp"), seeds=range(5))
    results = train(plan, read(plan, file), save=..., jobs=2)
    results["CartPole-v1/ppo/spiking"]["iqm"]

A case is an environment, an agent, a network and further flags; its trainings differ in their seed
alone. What a file of results holds is not trained again.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bio_rl.machine.signals import StopRequest
from bio_rl.rl.base import Spec
from bio_rl.sweeps import schedule
from bio_rl.sweeps.bar import bar
from bio_rl.sweeps.figures import summary
from bio_rl.sweeps.schedule import Training
from bio_rl.training import build, config, flags


class FailedError(RuntimeError):
    """Some trainings failed; all others are finished and kept."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The trainings of a sweep: every network of every agent in every environment, with each of
    some flags, from every seed.
    """

    env: Sequence[str]
    network: Sequence[str]
    agent: Sequence[str] = ("ppo",)
    flags: Sequence[str] = ("",)
    """Further flags of train.py, as they are typed; each text is a case."""
    seeds: Sequence[int] = (0,)
    steps: int | None = None
    """Environment steps of a training; None for the preset's."""
    episodes: int = build.FINAL_EPISODES
    """Greedy episodes of the evaluation that is reported."""

    @property
    def trainings(self) -> list[Training]:
        """All trainings, seed by seed, so that an interrupted sweep has something of every case."""
        chosen = (self.seeds, self.env, self.agent, self.network, self.flags)
        return [
            Training(
                env=env,
                network=network,
                agent=agent,
                seed=seed,
                steps=self.steps,
                episodes=self.episodes,
                flags=flags,
            )
            for seed, env, agent, network, flags in itertools.product(*chosen)
        ]


def train(
    plan: Plan,
    cases: dict[str, Any],
    save: Callable[[dict[str, Any]], object],
    *,
    jobs: int,
    run_dir: Path | None = None,
    together: bool = True,
) -> dict[str, Any]:
    """Train what `cases` do not have yet, and return the figures of all; see `figures.summary`.

    cases: as `read` returns them; records are added. save: takes the figures after each training.
    jobs: trainings at a time. run_dir: keeps the run folders; by default they are thrown away.
    together: seeds side by side where the learner can. Raises FailedError.
    """
    todo = [t for t in plan.trainings if str(t.seed) not in cases[t.case]["seeds"]]
    done = len(plan.trainings) - len(todo)
    groups = side_by_side(todo) if together else todo
    kept = f"{done} of {len(plan.trainings)} runs are finished already; " if done else ""
    print(f"{kept}{len(todo)} runs to do, {jobs} processes at a time", flush=True)
    failures = []
    with closing(schedule.run_all(groups, jobs, run_dir)) as finished, StopRequest():
        for training, records in _shown(finished, len(todo)):
            # the others go on: a night of trainings must not end with one of them
            if isinstance(records, Exception):
                failures.append(str(records))
                continue
            # keys of JSON are texts
            by_seed = {str(seed): record for seed, record in records.items()}
            cases[training.case]["seeds"] |= by_seed
            # after each, so that an interrupted sweep keeps what is finished
            save(summary(cases))
    if failures:
        raise FailedError("\n\n".join(failures))
    return summary(cases)


Finished = tuple[Training, dict[int, Any] | Exception]


def _shown(finished: Iterable[Finished], total: int) -> Iterator[Finished]:
    """Pass on finished trainings, with a line for each, and on a terminal a bar over all runs."""
    with bar("runs", total) as (say, advance):
        for training, records in finished:
            if isinstance(records, Exception):
                say(f"{training}: failed")
            else:
                means = ", ".join(f"{record['mean']:.1f}" for record in records.values())
                say(f"{training}: {means} in {records[training.seed]['seconds']:.0f} s")
            advance(training.seeds)
            yield training, records


# Seeds side by side


def side_by_side(todo: Iterable[Training]) -> list[Training]:
    """The trainings, with consecutive seeds of a case as one where the learner can do that."""
    groups: list[Training] = []
    for training in sorted(todo, key=lambda t: t.seed):
        at = _group_before(groups, training) if trains_side_by_side(training) else None
        if at is None:
            groups.append(training)
        else:
            groups[at] = replace(groups[at], seeds=groups[at].seeds + 1)
    return groups


def trains_side_by_side(training: Training) -> bool:
    """Whether a learner, with its preset and its flags, trains several seeds as one program."""
    # Looked up once for all seeds of a case.
    any_seed = replace(training, seed=0, seeds=1)
    return _batches(any_seed)


@functools.cache
def _batches(training: Training) -> bool:
    experiment = flags.experiment(training.arguments())
    with build.open_env(build.make_env(experiment.run, 1)) as world:
        observation_space = world.observation_space
        action_space = world.action_space
    spec = Spec(experiment.agent, experiment.network, observation_space, action_space)
    return config.agents_module(training.agent).Agent.batches(spec)


def _group_before(groups: list[Training], training: Training) -> int | None:
    """The index of the group that a training continues by one seed."""
    for i, group in enumerate(groups):
        if group.case == training.case and group.each[-1] + 1 == training.seed:
            return i
    return None


# What is saved


def read(plan: Plan, path: Path | None, renew: bool = False) -> dict[str, Any]:
    """The cases of a file of results so far, and empty ones for what is new.

    Raises ValueError for cases that were trained with other settings: they must not be mixed. With
    `renew` they are given up, and trained anew.
    """
    cases = saved_cases(path)
    for training in plan.trainings:
        now = setting(training)
        case = cases.setdefault(training.case, {"setting": now, "seeds": {}})
        case["setting"] = completed(case["setting"])
        if case["setting"] != now and renew:
            cases[training.case] = {"setting": now, "seeds": {}}
        elif case["setting"] != now:
            other = difference(case["setting"], now)
            raise ValueError(
                f"{path} holds {training.case} trained with other settings ({other}); "
                "give another --out, or remove the file to train all anew"
            )
    return cases


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
    run = dict(full["run"])
    del run["seed"]
    del run["run_dir"]
    # through JSON: a tuple must equal the list that it was saved as
    text = json.dumps({**full, "run": run})
    return json.loads(text)


@functools.cache
def _resolved(training: Training) -> dict[str, Any]:
    # As its process will parse it: flags are worth what they set, however they are spelled.
    experiment = flags.experiment(training.arguments())
    return compared(experiment.as_dict())


def setting(training: Training) -> dict[str, Any]:
    """Everything that is resolved for a training but its seed, as JSON has it, flags included.

    Raises ValueError for unknown names.
    """
    resolved = {**_resolved(replace(training, seed=0, seeds=1)), "episodes": training.episodes}
    if training.flags:
        resolved["flags"] = training.flags
    return resolved


def difference(old: Any, new: Any, at: str = "") -> str:
    """The first entry in which two settings differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        name = at.removeprefix(".")
        return f"{name} {old!r}, now {new!r}"
    # One of both may lack the entry.
    for key in {**old, **new}:
        before = old.get(key)
        after = new.get(key)
        if before != after:
            return difference(before, after, f"{at}.{key}")
    raise ValueError(f"{at} does not differ")
