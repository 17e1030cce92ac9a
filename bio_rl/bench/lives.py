"""What brains learn within one life, with no training before it: a bandit, a water maze, a motor
that turns round.

bandit      BanditReversal-v0: what 200 pulls of one life earn, from the first on. water maze
WaterMaze-v0: moves to the platform, trial by trial, before and after it is moved. inverted
CartPole-v1: a life in which the motor is inverted; episodes until the mean of ten is back at 90 %
of before.
            Beyond the preset: --three-factor.reset-on-surprise 1 --three-factor.lr-final 0.5, without which they
                do not come back.

Every life is a brain of its own, which explores and learns throughout. The controls are shuffled
dopamine and, after the inversion, the same brains without learning.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bio_rl import vector
from bio_rl.bench._report import Shared, rounded
from bio_rl.training import api, config
from bio_rl.training.config import Experiment
from bio_rl.training.evaluation import evaluate
from bio_rl.training.runner import Runner

CASES = ("bandit", "maze", "inverted")
TRIALS, MOVED = 36, 20
"""Of the water maze: so many, and the platform elsewhere from this one on."""
LIMIT = 1200
"""Moves of a trial: two minutes of tenths of a second, as Foster, Morris & Dayan 2000 have it."""
INVERTED_AT, HORIZON = 60_000, 150_000
"""Steps of the CartPole life: until the motor turns round, after 120 episodes at least, and in all."""
AFTER = 100
"""Episodes within which it has to come back."""
RELEARNING = {"reset_on_surprise": 1.0, "lr_final": 0.5}
"""The agent's settings of that life beyond the preset: weights are given up after a surprise, and
rates stay high enough.
"""
WINDOW = 10
"""Episodes of the mean that has to come back."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Let brains live, each from its own seed."""

    cases: tuple[str, ...] = CASES
    """bandit, maze, inverted."""
    lives: int = 20
    """Of the water maze and the inverted motor; the bandit has fifty times as many."""
    agent: str = "three_factor"
    """A local learner with several brains."""
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [case for case in self.cases if case not in CASES]
        if unknown or self.lives < 1:
            raise ValueError(
                f"--cases {self.cases} --lives {self.lives}: expected some of {CASES} and at least one life"
            )


def run(settings: Settings) -> dict[str, Any]:
    """{case: figures}, over lives."""
    lives = {"bandit": bandit, "maze": maze, "inverted": inverted}
    results = {}
    with api.single_thread():
        for case in settings.cases:
            results |= lives[case](settings)
    return results


# ---------------------------------- the bandit


def bandit(settings: Settings) -> dict[str, Any]:
    """Returns of one life of 200 pulls, with dopamine and with its control."""
    n, results = 50 * settings.lives, {}
    for dopamine in ("rpe", "shuffled"):
        experiment = brains("BanditReversal-v0", settings, n, dopamine=dopamine)
        with closing(api.make_env(experiment.run, n)) as env:
            runner = started(experiment, env)
            returns = np.zeros(n)
            alive = np.ones(n, bool)
            while alive.any():
                runner.step()
                for end in runner.episodes:
                    if alive[end.row]:
                        returns[end.row], alive[end.row] = end.ret, False
        results[f"bandit {dopamine}"] = spread(returns)
        print(f"bandit, {dopamine}: {returns.mean():.1f} of 200", flush=True)
    return results


# ---------------------------------- the water maze


def maze(settings: Settings) -> dict[str, Any]:
    """Moves of each trial, means over lives, and the two ratios that say how well it was learned
    and learned anew.
    """
    results = {}
    for dopamine in ("rpe", "shuffled"):
        moves = latencies(brains("WaterMaze-v0", settings, settings.lives, dopamine=dopamine))
        mean = moves.mean(0)
        first, late = mean[:3].mean(), mean[15:20].mean()
        back = {
            share: [k + 1 for k, x in enumerate(mean[MOVED:]) if x <= share * first][:1]
            for share in (0.5, 0.25)
        }
        results[f"water maze {dopamine}"] = {
            "lives": len(moves),
            "trials_1_3": rounded(first),
            "trials_16_20": rounded(late),
            "late_to_first": rounded(late / first),
            "trials_until_half": back[0.5][0] if back[0.5] else None,
            "trials_until_quarter": back[0.25][0] if back[0.25] else None,
            "moves": [rounded(x) for x in mean],
        }
        print(
            f"water maze, {dopamine}: {first:.0f} moves in trials 1-3, {late:.0f} in 16-20, back after {back}",
            flush=True,
        )
    return results


def latencies(experiment: Experiment) -> np.ndarray:
    """Moves of each trial [lives, TRIALS] of lives that learn throughout."""
    n = experiment.run.num_envs
    settings = {
        "trials": TRIALS,
        "move_at": MOVED,
        "limit": LIMIT,
        "max_episode_steps": TRIALS * (LIMIT + 1),
    }
    starts: list[list[int]] = [[] for _ in range(n)]
    with closing(vector.make(experiment.run.env, n, **settings)) as env:
        runner = started(experiment, env)
        t = 0
        while min(map(len, starts)) <= TRIALS:
            begins = (runner.life.percept.obs[:, -2] > 0) | runner.life.percept.reset
            for i in torch.nonzero(begins).flatten().tolist():
                starts[i].append(t)
            runner.step()
            t += 1
    return np.minimum(np.diff([s[: TRIALS + 1] for s in starts]), LIMIT)


# ---------------------------------- the inverted motor


def inverted(settings: Settings) -> dict[str, Any]:
    """Episodes to recover, of brains that go on learning; and what they earn in that world without
    learning.
    """
    n = settings.lives
    experiment = brains("CartPole-v1", settings, n, **RELEARNING)
    turned = config.replace_run(
        experiment, perturb=(f"force=-1@life:{INVERTED_AT}",), steps=n * HORIZON
    )
    ends: list[list[float]] = [[] for _ in range(n)]
    with closing(api.make_env(turned.run, n)) as env:
        runner = started(turned, env)
        live(runner, ends, lambda: runner.seen >= n * INVERTED_AT)
        before = np.array([np.mean(returns[-WINDOW:]) for returns in ends])
        with closing(
            api.make_env(config.replace_run(experiment, perturb=("force=-1",)).run, n)
        ) as other:
            frozen = np.array(evaluate(runner.agent, other, api.FINAL_SEED).returns)
        ends = [[] for _ in range(n)]
        live(runner, ends, lambda: min(map(len, ends)) >= AFTER or runner.seen >= n * HORIZON)
    back = [
        recovery(np.array(returns), 0.9 * level)
        for returns, level in zip(ends, before, strict=True)
    ]
    known = [x for x in back if x is not None]
    print(
        f"inverted motor: {before.mean():.0f} before, {frozen.mean():.0f} frozen, back after {sorted(known)} episodes",
        flush=True,
    )
    return {
        "inverted motor": {
            "lives": n,
            "settings": {
                name: value for name, value in turned.changed().items() if name != "run-dir"
            },
            "before": spread(before),
            "frozen_share": spread(frozen / before),
            "recovered": len(known),
            "episodes_median": rounded(float(np.median(known))) if known else None,
            "episodes_max": max(known) if known else None,
            "episodes": back,
        }
    }


def live(runner: Runner, ends: list[list[float]], over: Callable[[], bool]) -> None:
    """Learn on, keeping each life's returns in `ends`."""
    while not over():
        runner.step()
        for end in runner.episodes:
            ends[end.row].append(end.ret)


def recovery(returns: np.ndarray, level: float) -> int | None:
    """Episodes until the mean of WINDOW has reached `level`; None where it never does within AFTER."""
    means = np.convolve(returns[:AFTER], np.ones(WINDOW) / WINDOW, "valid")
    reached = np.nonzero(means >= level)[0]
    return int(reached[0]) + WINDOW if len(reached) else None


# ---------------------------------- for all


def brains(env: str, settings: Settings, n: int, **agent: Any) -> Experiment:
    """The preset of a world for `n` lives, a brain each."""
    own = (
        {"brains": n, "lr_final": 1.0, **agent} if env != "CartPole-v1" else {"brains": n, **agent}
    )
    return config.experiment(
        env, settings.agent, agent_settings=own, num_envs=n, seed=settings.seed, episodes=0
    )


def started(experiment: Experiment, env: vector.Vector) -> Runner:
    """Fresh lives."""
    runner = Runner(api.make_agent(experiment, env), env)
    runner.start(experiment.run.seed)
    return runner


def spread(x: np.ndarray) -> dict[str, float]:
    """Mean with its standard error, median and range."""
    error = float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else 0.0
    figures = {
        "mean": x.mean(),
        "se": error,
        "median": np.median(x),
        "min": x.min(),
        "max": x.max(),
    }
    return {name: rounded(float(value)) for name, value in figures.items()} | {"lives": len(x)}
