"""Steps per second of PPO training, with an MLP and spiking, against Stable-Baselines3's MLP.

Everyone gets the same environments x rollout, minibatch, epochs, layer sizes and normalisations.
SB3 runs in its own DummyVecEnv (`sb3`) and in our native environment (`sb3_on_our_env`), each at
the best of the thread counts tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bio_rl import vector
from bio_rl.bench._report import Rounds, Shared, interleave, rounded
from bio_rl.networks import Blueprint
from bio_rl.training import api, config
from bio_rl.training.config import Experiment, Run
from bio_rl.training.runner import Runner

OURS = ("mlp", "spiking")
"""Networks that we are measured with."""


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
    times: dict[str, list[Phases]] = {network: [] for network in OURS}
    sides = {}
    for network, runner in runners.items():
        sides[network] = our_side(runner, settings.updates, times[network])
    forms = sb3_sides(settings)
    for of_form in forms.values():
        sides |= of_form
    tried = interleave(sides, settings.rounds)
    best = {form: tried.fastest(*of_form) for form, of_form in forms.items()}
    # each form of SB3 stands under its own name with the threads that suit it best
    fastest = {form: tried.speeds[side] for form, side in best.items()}
    measured = Rounds({**tried.speeds, **fastest})
    results = {}
    for network in OURS:
        # the first measurement was not counted
        results[network] = measured.figures(network, *forms) | median_phases(times[network][1:])
    for form, of_form in forms.items():
        results[form] = measured.figures(form)
        results[form]["threads"] = int(best[form].split()[1])
        results[form]["tried"] = {
            side.partition(" ")[2]: tried.figures(side)["steps_per_s"] for side in of_form
        }
    for runner in runners.values():
        runner.env.close()
    return results


def ours(network: str, settings: Settings) -> Runner:
    """Our PPO, started; its presets do not count, and the rest of its settings are defaults."""
    network_settings: dict[str, Any] = {"hidden": settings.hidden}
    if network == "spiking":
        network_settings["ticks"] = settings.ticks
    defaults = Blueprint.default(network).config
    experiment = Experiment(
        Run(env=settings.env, network=network, num_envs=settings.num_envs),
        config.fill(config.agents_module("ppo").Config(), agent_settings(settings), "ppo"),
        Blueprint(network, config.fill(defaults, network_settings, network)),
    )
    env = vector.make(settings.env, settings.num_envs)
    runner = Runner(api.make_agent(experiment, env), env)
    runner.start(seed=0)
    return runner


def agent_settings(settings: Settings) -> dict[str, Any]:
    """The settings of our PPO."""
    return {
        "update_every": settings.rollout,
        "minibatch": settings.minibatch,
        "epochs": settings.epochs,
        "normalise_obs": settings.normalise,
        "normalise_reward": settings.normalise,
    }


class Phases(NamedTuple):
    """s of the two phases of an update."""

    collect: float
    learn: float


def our_side(runner: Runner, updates: int, times: list[Phases]) -> Callable[[], float]:
    """A measurement: environment steps per second of `updates` rollouts and updates.

    The time of each phase is added to `times`.
    """

    def measure() -> float:
        steps = runner.seen
        collect_s = runner.collect_s
        learn_s = runner.learn_s
        began = time.perf_counter()
        with api.single_thread():
            for _ in range(updates):
                runner.step()
        elapsed = time.perf_counter() - began
        collect = (runner.collect_s - collect_s) / updates
        learn = (runner.learn_s - learn_s) / updates
        times.append(Phases(collect, learn))
        return (runner.seen - steps) / elapsed

    return measure


def median_phases(times: list[Phases]) -> dict[str, float]:
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
    # its own environments have the same name without ours before it
    gymnasiums = settings.env.rpartition("/")[2]
    envs = {
        "sb3": _sb3.dummy(gymnasiums, settings.num_envs),
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
