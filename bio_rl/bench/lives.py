"""Learning within one life, with no training before it: a bandit, a water maze, a turned motor.

- bandit: BanditReversal-v0, what 200 pulls of one life earn, from the first on.
- water maze: WaterMaze-v0, moves to the platform, trial by trial, before and after it is moved.
- inverted: CartPole-v1, a life in which the motor is inverted; episodes until the mean of ten is
  back at 90 % of before. The settings beyond the preset are those of `RELEARNING`.

Every life is a brain of its own, which explores and learns throughout. The controls are shuffled
dopamine and, after the inversion, the same brains without learning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bio_rl import vector
from bio_rl.bench._report import Shared, rounded
from bio_rl.contracts import Agent
from bio_rl.sweeps import cases
from bio_rl.training import api, config
from bio_rl.training.config import Experiment
from bio_rl.training.evaluation import evaluate
from bio_rl.training.runner import Runner

CASES = ("bandit", "maze", "inverted")

# The agent's settings

DOPAMINE = "dopamine"
"""The name of the setting whose values are the two `CONTROLS`."""
CONTROLS = ("rpe", "shuffled")
STEADY = {"lr_final": 1.0}
"""Settings of a life that is the whole experiment: rates do not fall within it."""
RELEARNING = {"reset_on_surprise": 1.0, "lr_final": 0.5}
"""Settings without which a turned motor is not learned anew.

Weights are given up after a surprise, and rates stay high enough.
"""

# The lives

TRIALS = 36
"""Trials in the water maze."""
MOVED = 20
"""The trial from which on the platform is elsewhere."""
LIMIT = 1200
"""Moves of a trial: two minutes of tenths of a second, as Foster, Morris & Dayan 2000 have it."""
MAZE: dict[str, Any] = {
    "trials": TRIALS,
    "move_at": MOVED,
    "limit": LIMIT,
    "max_episode_steps": TRIALS * (LIMIT + 1),
}
"""Arguments of the water maze."""
INVERTED_AT = 60_000
"""Steps of the CartPole life until the motor turns round, after 120 episodes at least."""
HORIZON = 150_000
"""Steps of the CartPole life in all."""
AFTER = 100
"""Episodes within which it has to come back."""
WINDOW = 10
"""Episodes of the mean that has to come back."""
BACK = 0.9
"""The share of the former return that counts as back."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Let brains live, each from its own seed."""

    cases: tuple[str, ...] = CASES
    """The lives to live: bandit, maze, inverted."""
    lives: int = 20
    """Lives in the water maze and with the inverted motor; the bandit has fifty times as many."""
    agent: str = "three_factor"
    """A local learner whose seeds learn side by side."""
    seed: int = 0
    """The seed from which all lives draw."""

    def __post_init__(self) -> None:
        unknown = [case for case in self.cases if case not in CASES]
        if unknown or self.lives < 1:
            raise ValueError(
                f"--cases {self.cases} --lives {self.lives}: "
                f"expected some of {CASES} and at least one life"
            )


def run(settings: Settings) -> dict[str, Any]:
    """{case: figures over lives}."""
    lives = {"bandit": bandit, "maze": maze, "inverted": inverted}
    results = {}
    with api.single_thread():
        for case in settings.cases:
            results |= lives[case](settings)
    return results


# The bandit


def bandit(settings: Settings) -> dict[str, Any]:
    """Returns of one life of 200 pulls, with dopamine and with its control."""
    n = 50 * settings.lives
    results = {}
    for control in CONTROLS:
        experiment = brains("BanditReversal-v0", settings, n, {**STEADY, DOPAMINE: control})
        returns = first_returns(experiment, n)
        setting = cases.compared(experiment.as_dict())
        results[f"bandit {control}"] = {**spread(returns), "setting": setting}
        print(f"bandit, {control}: {returns.mean():.1f} of 200", flush=True)
    return results


def first_returns(experiment: Experiment, n: int) -> np.ndarray:
    """The return of the first episode of each of n lives."""
    returns = np.zeros(n)
    alive = np.ones(n, bool)
    with closing(api.make_env(experiment.run, n)) as env:
        runner = started(experiment, env)
        while alive.any():
            runner.step()
            for end in runner.episodes:
                if alive[end.row]:
                    returns[end.row] = end.ret
                    alive[end.row] = False
    return returns


# The water maze


def maze(settings: Settings) -> dict[str, Any]:
    """Moves of each trial, means over lives, and how well they were learned and learned anew."""
    results = {}
    for control in CONTROLS:
        agent = {**STEADY, DOPAMINE: control}
        experiment = brains("WaterMaze-v0", settings, settings.lives, agent)
        figures = maze_figures(latencies(experiment))
        setting = {**cases.compared(experiment.as_dict()), "world": MAZE}
        results[f"water maze {control}"] = {**figures, "setting": setting}
        print(
            f"water maze, {control}: {figures['trials_1_3']:.0f} moves in trials 1-3, "
            f"{figures['trials_16_20']:.0f} in 16-20, "
            f"half of that again after {figures['trials_until_half']} trials",
            flush=True,
        )
    return results


def maze_figures(moves: np.ndarray) -> dict[str, Any]:
    """Figures of the moves [lives, TRIALS]: late ones over first ones, and trials until as few."""
    mean = moves.mean(0)
    first = mean[:3].mean()
    late = mean[15:20].mean()
    moved = mean[MOVED:]
    return {
        "lives": len(moves),
        "trials_1_3": rounded(first),
        "trials_16_20": rounded(late),
        "late_to_first": rounded(late / first),
        "trials_until_half": trials_until(moved, 0.5 * first),
        "trials_until_quarter": trials_until(moved, 0.25 * first),
        "moves": [rounded(x) for x in mean],
    }


def trials_until(moves: np.ndarray, few: float) -> int | None:
    """The number of trials until one takes so few moves; None where none does."""
    reached = np.flatnonzero(moves <= few)
    return int(reached[0]) + 1 if len(reached) else None


def latencies(experiment: Experiment) -> np.ndarray:
    """Moves of each trial [lives, TRIALS] of lives that learn throughout."""
    n = experiment.run.num_envs
    env = vector.make(experiment.run.env, n, **MAZE)
    starts: list[list[int]] = [[] for _ in range(n)]
    with closing(env):
        runner = started(experiment, env)
        t = 0
        while min(map(len, starts)) <= TRIALS:
            percept = runner.life.percept
            # the last but one number of an observation tells that a trial begins
            begins = (percept.obs[:, -2] > 0) | percept.reset
            for i in torch.nonzero(begins).flatten().tolist():
                starts[i].append(t)
            runner.step()
            t += 1
    return np.minimum(np.diff([times[: TRIALS + 1] for times in starts]), LIMIT)


# The inverted motor


def inverted(settings: Settings) -> dict[str, Any]:
    """Episodes until brains that go on learning recover, and their returns without learning."""
    n = settings.lives
    experiment = brains("CartPole-v1", settings, n, RELEARNING)
    turns = (f"force=-1@life:{INVERTED_AT}",)
    turned = config.replace_run(experiment, perturb=turns, steps=HORIZON)
    with closing(api.make_env(turned.run, n)) as env:
        runner = started(turned, env)
        ends = live(runner, n, lambda ends: runner.seen >= n * INVERTED_AT)
        before = np.array([np.mean(returns[-WINDOW:]) for returns in ends])
        frozen = frozen_returns(runner.agent, experiment, n)
        ends = live(runner, n, lambda ends: has_lived(runner, ends))
    pairs = zip(ends, before, strict=True)
    episodes = [recovery(np.array(returns), BACK * level) for returns, level in pairs]
    recovered = [x for x in episodes if x is not None]
    print(
        f"inverted motor: {before.mean():.0f} before, {frozen.mean():.0f} frozen, "
        f"back after {sorted(recovered)} episodes",
        flush=True,
    )
    return {
        "inverted motor": {
            "lives": n,
            "setting": cases.compared(turned.as_dict()),
            "before": spread(before),
            "frozen_share": spread(frozen / before),
            "recovered": len(recovered),
            "episodes_median": rounded(float(np.median(recovered))) if recovered else None,
            "episodes_max": max(recovered) if recovered else None,
            "episodes": episodes,
        }
    }


def frozen_returns(agent: Agent, experiment: Experiment, n: int) -> np.ndarray:
    """Returns with the inverted motor of brains that do not learn."""
    run = config.replace_run(experiment, perturb=("force=-1",)).run
    with closing(api.make_env(run, n)) as env:
        return np.array(evaluate(agent, env, api.FINAL_SEED).returns)


def live(runner: Runner, n: int, is_over: Callable[[list[list[float]]], bool]) -> list[list[float]]:
    """Learn on until it is over; returns each life's returns."""
    ends: list[list[float]] = [[] for _ in range(n)]
    while not is_over(ends):
        runner.step()
        for end in runner.episodes:
            ends[end.row].append(end.ret)
    return ends


def has_lived(runner: Runner, ends: list[list[float]]) -> bool:
    """Whether every life has had its episodes with the inverted motor, or its time is over."""
    return min(map(len, ends)) >= AFTER or runner.seen >= len(ends) * HORIZON


def recovery(returns: np.ndarray, level: float) -> int | None:
    """Episodes until the mean of WINDOW has reached `level`; None where it does not."""
    means = np.convolve(returns[:AFTER], np.ones(WINDOW) / WINDOW, "valid")
    reached = np.nonzero(means >= level)[0]
    return int(reached[0]) + WINDOW if len(reached) else None


# Parts of all cases


def brains(env: str, settings: Settings, n: int, agent: Mapping[str, Any]) -> Experiment:
    """The preset of a world for `n` lives, a seed each, with further settings of the agent."""
    return config.experiment(
        env,
        settings.agent,
        agent_settings=dict(agent),
        seeds=n,
        num_envs=n,
        seed=settings.seed,
        episodes=0,
    )


def started(experiment: Experiment, env: vector.Vector) -> Runner:
    """A runner at the start of fresh lives."""
    runner = Runner(api.make_agent(experiment, env), env)
    runner.start(experiment.run.seed)
    return runner


def spread(x: np.ndarray) -> dict[str, float]:
    """Mean with its standard error, median and range."""
    error = float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else 0.0
    return {
        "mean": rounded(float(x.mean())),
        "se": rounded(error),
        "median": rounded(float(np.median(x))),
        "min": rounded(float(x.min())),
        "max": rounded(float(x.max())),
        "lives": len(x),
    }
