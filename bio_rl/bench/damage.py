"""A frozen policy's return on a broken robot: trained intact, evaluated with each leg damaged."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bio_rl import checks, vector
from bio_rl.bench._report import BenchError, Shared, rounded
from bio_rl.envs.robotics.damage import ANT_LEGS, CHEETAH_LEGS
from bio_rl.sweeps import schedule
from bio_rl.sweeps.schedule import Training
from bio_rl.training import api
from bio_rl.training.evaluation import evaluate

INTACT = "intact"
"""The name of the robot without damage."""


LEGS: dict[str, Mapping[str, Any]] = {
    "AntDamage-v0": ANT_LEGS,
    "HalfCheetahDamage-v0": CHEETAH_LEGS,
}
"""The legs that can be damaged, by the world."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Train on the intact robot, then evaluate the last weights on it and on damaged ones."""

    env: str = "HalfCheetah-v5"
    """The world in which it is trained."""
    world: str = "HalfCheetahDamage-v0"
    """The world in which it is evaluated, with damage="none" and each of its legs."""
    kinds: tuple[str, ...] = ("limp", "stiff", "short")
    """Kinds of damage."""
    network: tuple[str, ...] = ("mlp",)
    """Kinds of network."""
    agent: str = "ppo"
    """Learning algorithm."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the trainings."""
    steps: int | None = None
    """Environment steps of a training; by default the preset's."""
    jobs: int = 2
    """Trainings at a time."""
    episodes: int = 20
    """Episodes of each evaluation."""

    def __post_init__(self) -> None:
        checks.at_least_one(self, "jobs", "episodes", "seeds", "network")


def run(settings: Settings) -> dict[str, Any]:
    """{"network, damage": returns over seeds and by seed, and how much of the intact is left}."""
    damages = conditions(settings)
    results = {}
    with tempfile.TemporaryDirectory() as place:
        runs = train(settings, Path(place))
        for network in settings.network:
            folders = [runs[network, seed] for seed in settings.seeds]
            for name, values in compare(folders, damages, settings).items():
                results[f"{network}, {name}"] = values
    return results


def train(settings: Settings, place: Path) -> dict[tuple[str, int], Path]:
    """The run folders of all trainings, by network and seed. Raises BenchError where one failed."""
    todo = [
        Training(
            env=settings.env,
            network=network,
            agent=settings.agent,
            seed=seed,
            steps=settings.steps,
            episodes=1,
        )
        for seed in settings.seeds
        for network in settings.network
    ]
    # Closed even where a training fails: that stops the others.
    with closing(schedule.run_all(todo, settings.jobs, place)) as finished:
        for training, records in finished:
            if isinstance(records, Exception):
                raise BenchError(str(records))
            seconds = records[training.seed]["seconds"]
            print(f"{training}: trained in {seconds:.0f} s", flush=True)
    return {(t.network, t.seed): t.folder(place) for t in todo}


# Evaluations


def compare(
    folders: Iterable[Path], damages: Mapping[str, dict[str, Any]], settings: Settings
) -> dict[str, Any]:
    """Figures of one network's runs, intact and with each damage."""
    runs = [api.load(folder) for folder in folders]
    returns = {
        name: [score(trained, damage, settings) for trained in runs]
        for name, damage in damages.items()
    }
    return {name: figures(scores, returns[INTACT]) for name, scores in returns.items()}


def conditions(settings: Settings) -> dict[str, dict[str, Any]]:
    """Arguments of the world, by the name of the damage.

    Raises ValueError for a world whose robots have no legs to damage.
    """
    if settings.world not in LEGS:
        raise ValueError(
            f"--world {settings.world} has no legs to damage; {' and '.join(LEGS)} have"
        )
    arguments: dict[str, dict[str, Any]] = {INTACT: {"damage": "none"}}
    for leg in LEGS[settings.world]:
        for kind in settings.kinds:
            arguments[f"{leg} {kind}"] = {"damage": leg, "kind": kind}
    return arguments


def score(trained: api.Trained, damage: dict[str, Any], settings: Settings) -> float:
    """The greedy mean return of a run's last weights with this damage."""
    made = vector.make(settings.world, settings.episodes, **damage)
    # one thread, as the trainings have it
    with closing(made) as env, api.single_thread():
        return evaluate(trained.agent, env, api.FINAL_SEED).mean


def figures(scores: list[float], intact: list[float]) -> dict[str, Any]:
    """Mean returns over seeds, and the ratio of each to that of the intact robot, as `kept`."""
    # seed by seed: every policy is its own measure
    ratios = np.array(scores) / np.array(intact)
    return {
        "mean": rounded(float(np.mean(scores))),
        "by_seed": [rounded(score) for score in scores],
        "kept": rounded(float(ratios.mean())),
        "kept_max": rounded(float(ratios.max())),
    }
