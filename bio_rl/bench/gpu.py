"""Everything that runs on a GPU, checked and timed: kernels, acting in a CUDA graph, training.

Triton's kernels are held against torch and SpikingJelly. Nothing here has a meaning on the CPU:
without a CUDA device it says so and measures nothing. A part that fails is reported in its place,
and the others are measured all the same.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bio_rl import vector
from bio_rl.bench._gpu_parity import neurons, parity
from bio_rl.bench._gpu_speed import LIF_SHAPE, acting, multi_step
from bio_rl.bench._report import Shared, rounded
from bio_rl.networks import Blueprint
from bio_rl.training import api, config
from bio_rl.training.runner import Runner

ENV = "CartPole-v1"
"""The world of the trainings."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Check and time everything that runs on a GPU, in one command of at most eight minutes."""

    minutes: float = 7.0
    """No further part is begun after this time."""
    rounds: int = 11
    """Measurements of each side, in turn."""
    num_envs: int = 4096
    """Environments that the acting part steps."""
    updates: int = 3
    """Rollouts and updates of each training."""

    def __post_init__(self) -> None:
        if min(self.minutes, self.rounds, self.num_envs, self.updates) <= 0:
            raise ValueError(
                "--minutes, --rounds, --num-envs and --updates: expected positive numbers"
            )


def run(settings: Settings) -> dict[str, Any]:
    """Figures of each part; empty without a CUDA device."""
    # no error: the same command may be typed on any machine
    if not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no CUDA device: nothing was measured")
        return {}
    device = torch.device("cuda")
    parts: dict[str, Callable[[], dict[str, Any]]] = {}
    for name in neurons(1):
        parts[f"kernel/{name}"] = functools.partial(parity, name, device)
    parts["lif"] = functools.partial(multi_step, LIF_SHAPE, settings.rounds, device)
    parts["acting"] = functools.partial(acting, settings.num_envs, settings.rounds, device)
    for name in ("spiking", "mlp"):
        parts[f"ppo/{name}"] = functools.partial(ppo, name, settings.updates)
    for name in config.network_names():
        # a network that looks at pictures has nothing to see in a CartPole
        if not Blueprint.default(name).image:
            parts[f"train/{name}"] = functools.partial(train, name, settings.updates)
    return in_time(parts, 60.0 * settings.minutes)


def in_time(parts: Mapping[str, Callable[[], dict[str, Any]]], seconds: float) -> dict[str, Any]:
    """The figures of each part that was begun within `seconds`; {"error": …} of one that failed."""
    began = time.perf_counter()
    results: dict[str, Any] = {}
    for name, measure in parts.items():
        if time.perf_counter() - began > seconds:
            results[name] = {"error": f"not begun within {seconds:.0f} s"}
            continue
        try:
            results[name] = measure()
        # one part's failure must not cost the figures of a machine that is seldom at hand
        except Exception as error:
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}"
            results[name] = {"error": text.splitlines()[0]}
        elapsed = time.perf_counter() - began
        print(f"[{elapsed:4.0f} s] {name}: {results[name]}", flush=True)
    return results


# Training


def ppo(network: str, updates: int, device: str = "cuda") -> dict[str, Any]:
    """PPO on CartPole-v1 with its preset: updates, gradient steps and steps per second.

    The first update is not counted.
    """
    experiment = config.experiment(ENV, "ppo", network, device=device)
    env = vector.make(ENV, experiment.run.num_envs, device=api.pick_device(device))
    runner = Runner(api.make_agent(experiment, env), env)
    runner.start(seed=0)
    with api.single_thread():
        runner.step()
        before = (runner.seen, runner.collect_s, runner.learn_s)
        for _ in range(updates):
            runner.step()
    env.close()
    steps = runner.seen - before[0]
    collect = runner.collect_s - before[1]
    learn = runner.learn_s - before[2]
    ppo = experiment.agent
    batches = ppo.epochs * math.ceil(ppo.update_every * experiment.run.num_envs / ppo.minibatch)
    return {
        "updates_per_s": rounded(updates / learn),
        "gradient_steps_per_s": rounded(updates * batches / learn),
        "steps_per_s": rounded(steps / (collect + learn)),
    }


def train(network: str, updates: int, device: str = "cuda") -> dict[str, Any]:
    """A whole run on CartPole-v1 of a few updates, with compilation and evaluation.

    Its folder is thrown away.
    """
    experiment = config.experiment(
        ENV, "ppo", network, device=device, checkpoints=1, eval_episodes=0
    )
    steps = updates * experiment.agent.update_every * experiment.run.num_envs
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        experiment = config.replace_run(experiment, steps=steps, run_dir=Path(folder))
        trained = api.run_experiment(experiment)
    figures = {
        "steps_per_s": rounded(trained.steps / trained.seconds),
        "seconds": rounded(trained.seconds),
    }
    if trained.evaluation is not None:
        figures["final_return"] = rounded(trained.evaluation.mean)
    return figures
