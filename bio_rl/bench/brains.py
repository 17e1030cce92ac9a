"""Many brains in one process: trained side by side with their own weights, then evaluated greedily.

Brains of one run see different lives and draw different noise; cells that are drawn at random are
the same for them, so that several --seeds are several draws of these. A training is bounded by
steps, the same for every brain; the most episodes that a brain had are reported. It costs little
more than one brain, since small networks wait for Python.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bio_rl import checks
from bio_rl.bench._report import Shared, rounded
from bio_rl.sweeps import cases
from bio_rl.training import api, config, statistics
from bio_rl.training.config import Experiment
from bio_rl.training.evaluation import evaluate
from bio_rl.training.runner import Runner
from bio_rl.viz import worlds


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Train brains side by side with the preset of a world."""

    env: str = "MountainCar-v0"
    """Environment id."""
    agent: str = "three_factor"
    """A local learner whose seeds learn side by side."""
    brains: int = 20
    """Brains in one process; each has as many environments as the preset says."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the runs, one after the other."""
    steps: int | None = None
    """Environment steps of each brain; by default the preset's."""
    episodes: int = 20
    """Episodes of the greedy evaluation of each brain."""

    def __post_init__(self) -> None:
        checks.at_least_one(self, "brains", "episodes")


class Trained(NamedTuple):
    """The brains of one run."""

    returns: list[float]
    """Greedy mean return of each brain."""
    most_episodes: int
    """The most episodes that one of them had in training."""
    seconds: float
    """Seconds of learning."""
    experiment: Experiment
    """The settings of all of them, resolved."""


def run(settings: Settings) -> dict[str, Any]:
    """{env: figures over all brains of all seeds}."""
    runs = []
    with api.single_thread():
        for seed in settings.seeds:
            trained = train(settings, seed)
            runs.append(trained)
            returns = ", ".join(f"{x:.1f}" for x in trained.returns)
            where = f"{settings.env} seed {seed}"
            print(f"{where}: {returns} in {trained.seconds:.0f} s", flush=True)
    return {settings.env: figures(settings.env, runs)}


def figures(env: str, runs: list[Trained]) -> dict[str, Any]:
    """Figures over all brains of some runs."""
    scores = [x for trained in runs for x in trained.returns]
    median = float(np.median(scores))
    seconds = sum(trained.seconds for trained in runs)
    normal = statistics.normalised(median, worlds.reference(env))
    return {
        "brains": len(scores),
        "median": rounded(median),
        "iqm": rounded(statistics.interquartile_mean(scores)),
        "min": rounded(min(scores)),
        "mean": rounded(float(np.mean(scores))),
        **({"normalised_median": rounded(normal[0])} if normal else {}),
        "most_episodes": max(trained.most_episodes for trained in runs),
        "seconds_a_brain": rounded(seconds / len(scores)),
        "scores": [rounded(x) for x in scores],
        "setting": cases.compared(runs[0].experiment.as_dict()),
    }


def train(settings: Settings, seed: int) -> Trained:
    """The brains of a run, trained side by side and evaluated."""
    n = settings.brains
    preset = config.experiment(settings.env, settings.agent)
    num_envs = n * preset.run.num_envs
    steps = settings.steps or preset.run.steps
    whole = config.experiment(
        settings.env,
        settings.agent,
        seeds=n,
        steps=steps,
        episodes=0,
        seed=seed,
    )
    counts = np.zeros(n, int)
    with closing(api.make_env(whole.run, num_envs)) as env:
        runner = Runner(api.make_agent(whole, env), env)
        runner.start(seed)
        # the runner counts the steps of all brains together
        while runner.seen < n * steps:
            runner.step()
            for end in runner.episodes:
                # rows are a block for each brain
                counts[end.row // preset.run.num_envs] += 1
    with closing(api.make_env(whole.run, n * settings.episodes)) as env:
        returns = np.array(evaluate(runner.agent, env, api.FINAL_SEED).returns)
    seconds = runner.collect_s + runner.learn_s
    by_brain = returns.reshape(n, settings.episodes).mean(1)
    return Trained(by_brain.tolist(), int(counts.max()), seconds, whole)
