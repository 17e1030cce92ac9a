"""What a frozen policy keeps of its return on a broken robot: trained intact, evaluated whole and
with each leg damaged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bio_rl import vector
from bio_rl.bench._report import BenchError, Shared, rounded
from bio_rl.training import api, sweep
from bio_rl.training.evaluation import evaluate
from bio_rl.training.sweep import Training


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Train on the intact robot, then evaluate the last weights, frozen and greedy, intact and
    under each damage.
    """

    env: str = "HalfCheetah-v5"
    """Where it is trained."""
    world: str = "HalfCheetahDamage-v0"
    """Where it is evaluated, with damage="none" and each of the legs that this world names."""
    kinds: tuple[str, ...] = ("limp", "stiff", "short")
    """Of damage."""
    network: tuple[str, ...] = ("mlp",)
    """Kinds of network."""
    agent: str = "ppo"
    """Learning algorithm."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the trainings."""
    steps: int | None = None
    """Environment steps of a training; by default the preset's."""
    jobs: int = 2
    """Trainings at a time."""
    episodes: int = 20
    """Of each evaluation."""

    def __post_init__(self) -> None:
        if min(self.jobs, self.episodes, len(self.seeds), len(self.network)) < 1:
            raise ValueError("--jobs, --episodes, --seeds and --network: expected at least one")


def run(settings: Settings) -> dict[str, Any]:
    """{"network, damage": mean return over seeds, by seed, and the share of the intact return that
    is kept}.
    """
    damages = conditions(settings)
    with tempfile.TemporaryDirectory() as place:
        runs = train(settings, Path(place))
        return {
            f"{network}, {name}": figures
            for network in settings.network
            for name, figures in compare(
                [runs[network, seed] for seed in settings.seeds], damages, settings
            ).items()
        }


def train(settings: Settings, place: Path) -> dict[tuple[str, int], Path]:
    """The run folders of all trainings, by network and seed. Raises BenchError where one failed."""
    common = {"agent": settings.agent, "steps": settings.steps, "episodes": 1}
    todo = [
        Training(env=settings.env, network=n, seed=s, **common)
        for s in settings.seeds
        for n in settings.network
    ]
    with closing(sweep.run_all(todo, settings.jobs, place)) as finished:
        for training_, records in finished:
            if isinstance(records, Exception):
                raise BenchError(str(records))
            print(f"{training_}: trained in {records[training_.seed]['seconds']:.0f} s", flush=True)
    return {(t.network, t.seed): t.folder(place) for t in todo}


def compare(
    folders: Iterable[Path], damages: Mapping[str, dict[str, str]], settings: Settings
) -> dict[str, Any]:
    """One network's runs intact and with each damage."""
    trained = [api.load(folder) for folder in folders]
    returns = {
        name: [score(t, damage, settings) for t in trained] for name, damage in damages.items()
    }
    return {name: figures(scores, returns["intact"]) for name, scores in returns.items()}


def conditions(settings: Settings) -> dict[str, dict[str, str]]:
    """Arguments of the world, by name. Raises ValueError for a world whose robots have no legs to
    damage.
    """
    with closing(vector.make(settings.world, 1)) as env:
        legs = getattr(env.env.unwrapped, "legs", None)
    if not legs:
        raise ValueError(
            f"--world {settings.world} has no legs to damage; AntDamage-v0 and HalfCheetahDamage-v0 have"
        )
    hurt = {
        f"{leg} {kind}": {"damage": leg, "kind": kind} for leg in legs for kind in settings.kinds
    }
    return {"intact": {"damage": "none"}, **hurt}


def score(trained: api.Trained, damage: dict[str, str], settings: Settings) -> float:
    """The greedy mean return of a run's last weights with this damage."""
    with (
        closing(vector.make(settings.world, settings.episodes, **damage)) as env,
        api.single_thread(),
    ):
        return evaluate(trained.agent, env, api.FINAL_SEED).mean


def figures(scores: list[float], intact: list[float]) -> dict[str, Any]:
    """Over seeds; kept: the ratio of a seed's return to its intact one, its mean and the largest."""
    kept = np.array(scores) / np.array(intact)
    return {
        "mean": rounded(float(np.mean(scores))),
        "by_seed": [rounded(score) for score in scores],
        "kept": rounded(float(kept.mean())),
        "kept_max": rounded(float(kept.max())),
    }
