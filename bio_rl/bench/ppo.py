"""Steps per second of whole PPO training, ours with an MLP and with a spiking network, against
Stable-Baselines3's MLP.

Everyone gets the same environments x rollout, minibatch, epochs, layer sizes and normalisations.
SB3 runs in its own DummyVecEnv (`sb3`) and in our native environment (`sb3_on_our_env`), each at
the best of the thread counts tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bio_rl import vector
from bio_rl.bench._report import Rounds, Shared, interleave, rounded
from bio_rl.networks import Blueprint
from bio_rl.training import api, config
from bio_rl.training.config import Experiment, Run
from bio_rl.training.runner import Runner

OURS = ("mlp", "spiking")


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Measure the speed of training."""

    env: str = "HalfCheetah-v5"
    """Environment id; without one of Gymnasium's own name, SB3 is left out."""
    num_envs: int = 64
    """Environments side by side."""
    rollout: int = 64
    """Steps per environment between updates."""
    minibatch: int = 512
    """Steps per gradient step."""
    epochs: int = 10
    """Passes over a rollout."""
    hidden: tuple[int, ...] = (64, 64)
    """Units per hidden layer of actor and critic."""
    ticks: int = 4
    """K of the spiking network."""
    normalise: bool = True
    """Running normalisation of observations and rewards (SB3: VecNormalize)."""
    threads: tuple[int, ...] = (1, 2)
    """Torch threads that SB3 is tried with; ours trains as train.py does, with one."""
    rounds: int = 5
    """Measurements of each side, in turn."""
    updates: int = 3
    """Rollouts and updates per measurement."""


def run(settings: Settings) -> dict[str, Any]:
    """Figures of `mlp` and `spiking`, and of each form of SB3."""
    runners = {network: ours(network, settings) for network in OURS}
    times: dict[str, list[tuple[float, float]]] = {network: [] for network in OURS}
    sides = {k: our_side(r, settings.updates, times[k]) for k, r in runners.items()}
    forms = sb3_sides(settings)
    for of_form in forms.values():
        sides |= of_form
    measured = interleave(sides, settings.rounds)
    best = {form: measured.fastest(*of_form) for form, of_form in forms.items()}
    measured = Rounds(
        measured.speeds | {form: measured.speeds[side] for form, side in best.items()}
    )
    results = {k: measured.figures(k, *forms) | phases(times[k][1:]) for k in OURS}
    for form, of_form in forms.items():
        tried = {side.partition(" ")[2]: measured.figures(side)["steps_per_s"] for side in of_form}
        results[form] = measured.figures(form) | {
            "threads": int(best[form].split()[1]),
            "tried": tried,
        }
    for r in runners.values():
        r.env.close()
    return results


def ours(network: str, settings: Settings) -> Runner:
    """Our PPO, started; with the agent's and the network's defaults wherever `settings` names
    nothing.
    """
    agent = config.agents_module("ppo").Config(
        update_every=settings.rollout,
        minibatch=settings.minibatch,
        epochs=settings.epochs,
        normalise_obs=settings.normalise,
        normalise_reward=settings.normalise,
    )
    own = {"hidden": settings.hidden} | ({"ticks": settings.ticks} if network == "spiking" else {})
    blueprint = Blueprint(network, config.fill(Blueprint.default(network).config, own, network))
    experiment = Experiment(
        Run(env=settings.env, network=network, num_envs=settings.num_envs), agent, blueprint
    )
    env = vector.make(settings.env, settings.num_envs)
    runner = Runner(api.make_agent(experiment, env), env)
    runner.start(seed=0)
    return runner


def our_side(runner: Runner, updates: int, times: list[tuple[float, float]]) -> Callable[[], float]:
    """A measurement: environment steps per second of `updates` rollouts and updates; times:
    collects (rollout, update) in s.
    """

    def measure() -> float:
        seen, collect, learn = runner.seen, runner.collect_s, runner.learn_s
        began = time.perf_counter()
        with api.single_thread():
            for _ in range(updates):
                runner.step()
        elapsed = time.perf_counter() - began
        times.append(((runner.collect_s - collect) / updates, (runner.learn_s - learn) / updates))
        return (runner.seen - seen) / elapsed

    return measure


def phases(times: list[tuple[float, float]]) -> dict[str, float]:
    """Median time of one rollout and of one update."""
    collect, learn = np.median(times, axis=0)
    return {"collect_ms": rounded(1e3 * collect), "learn_ms": rounded(1e3 * learn)}


def sb3_sides(settings: Settings) -> dict[str, dict[str, Callable[[], float]]]:
    """{form: {"form threads": measurement}}; empty, and said so, where SB3 is missing."""
    try:
        from bio_rl.bench import _sb3
    except ImportError:
        print("stable-baselines3 is not installed, so it is left out: pip install 'bio-rl[bench]'")
        return {}
    native = vector.make(settings.env, settings.num_envs).env
    envs = {
        "sb3": _sb3.dummy(settings.env.rpartition("/")[2], settings.num_envs),
        "sb3_on_our_env": _sb3.OurVecEnv(native),
    }
    sizes = {
        "n_steps": settings.rollout,
        "batch_size": settings.minibatch,
        "n_epochs": settings.epochs,
    }
    sides: dict[str, dict[str, Callable[[], float]]] = {}
    for form, env in envs.items():
        learner = _sb3.Learner(env, settings.hidden, settings.normalise, sizes)
        sides[form] = {
            f"{form} {n}": sb3_side(learner, n, settings.updates) for n in settings.threads
        }
    return sides


def sb3_side(learner: Any, threads: int, updates: int) -> Callable[[], float]:
    """A measurement: environment steps per second of `updates` rollouts and updates."""

    def measure() -> float:
        began = time.perf_counter()
        return learner.train(updates, threads) / (time.perf_counter() - began)

    return measure
