"""Many brains in one process: trained side by side with weights of their own, then evaluated
greedily, each by itself.

Brains of one run see different lives and draw different noise; cells that are drawn at random are
the same for them, so that several --seeds are several draws of these. A training is bounded by
steps, the same for every brain; the most episodes that a brain had are reported. It costs little
more than one brain, since small networks wait for Python.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from bio_rl.bench._report import Shared, rounded
from bio_rl.training import api, config, statistics
from bio_rl.training.evaluation import evaluate
from bio_rl.training.runner import Runner
from bio_rl.viz import worlds


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Train brains side by side with the preset of a world."""

    env: str = "MountainCar-v0"
    """Environment id."""
    agent: str = "three_factor"
    """A local learner with several brains."""
    brains: int = 20
    """In one process; each has as many environments as the preset says."""
    seeds: tuple[int, ...] = (0,)
    """Of the runs."""
    steps: int | None = None
    """Environment steps of each brain; by default the preset's."""
    episodes: int = 20
    """Of the greedy evaluation of each brain."""

    def __post_init__(self) -> None:
        for name in ("brains", "episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}, expected at least 1")


def run(settings: Settings) -> dict[str, Any]:
    """{env: figures over all brains of all seeds}."""
    scores: list[float] = []
    most, seconds = 0, 0.0
    with api.single_thread():
        for seed in settings.seeds:
            found, episodes, spent = train(settings, seed)
            scores += found
            most, seconds = max(most, episodes), seconds + spent
            print(
                f"{settings.env} seed {seed}: {', '.join(f'{x:.1f}' for x in found)} in {spent:.0f} s",
                flush=True,
            )
    normal = statistics.normalised(float(np.median(scores)), worlds.reference(settings.env))
    return {
        settings.env: {
            "brains": len(scores),
            "median": rounded(float(np.median(scores))),
            "iqm": rounded(statistics.interquartile_mean(scores)),
            "min": rounded(min(scores)),
            "mean": rounded(float(np.mean(scores))),
            **({"normalised_median": rounded(normal[0])} if normal else {}),
            "most_episodes": most,
            "seconds_a_brain": rounded(seconds / len(scores)),
            "scores": [rounded(x) for x in scores],
        }
    }


def train(settings: Settings, seed: int) -> tuple[list[float], int, float]:
    """(Greedy mean returns of the brains, the most episodes of one of them in training, seconds of
    learning) of a run.
    """
    n, preset = settings.brains, config.experiment(settings.env, settings.agent)
    each, steps = preset.run.num_envs, settings.steps or preset.run.steps
    own = {"agent_settings": {"brains": n}}
    whole = config.experiment(
        settings.env,
        settings.agent,
        num_envs=n * each,
        steps=n * steps,
        episodes=0,
        seed=seed,
        **own,
    )
    counts = np.zeros(n, int)
    with closing(api.make_env(whole.run, n * each)) as env:
        runner = Runner(api.make_agent(whole, env), env)
        runner.start(seed)
        while runner.seen < n * steps:
            runner.step()
            for end in runner.episodes:
                counts[end.row // each] += 1
        seconds = runner.collect_s + runner.learn_s
    with closing(api.make_env(whole.run, n * settings.episodes)) as env:
        returns = np.array(evaluate(runner.agent, env, api.FINAL_SEED).returns)
    return returns.reshape(n, settings.episodes).mean(1).tolist(), int(counts.max()), seconds
