"""From a run's settings to what it is made of: device, environments, agent; and a trained agent
with its evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bio_rl import seeding, vector
from bio_rl.contracts import Steps
from bio_rl.energy import Operations, operations
from bio_rl.faults import EnvironmentCrashedError
from bio_rl.machine import trust
from bio_rl.networks import Blueprint
from bio_rl.training import config
from bio_rl.training.config import Experiment, Run
from bio_rl.training.evaluation import Evaluation, evaluate, evaluate_in_rounds, record
from bio_rl.training.replay_files import add_rows, claim_disk, saved_apart, state_without_rows
from bio_rl.vector import SideBySide, Vector

FINAL_SEED = 2_000_000
"""Seed of the start states of the evaluation that is reported."""
FINAL_EPISODES = 20


@dataclass
class Trained:
    """What a training run or `load` gives: the agent, its experiment and its folder."""

    experiment: Experiment
    agent: Any
    folder: Path
    steps: int
    """Environment steps trained so far."""
    evaluation: Evaluation | None = None
    """The greedy evaluation of the final weights; None when the run was interrupted or the
    evaluation failed.
    """
    seconds: float = 0.0
    """Wall time of the training in this process, evaluations and checkpoints included."""
    rows: str | None = None
    """The id of the replay's files that belong to these weights, where `load` has left them on the
    disk.
    """
    stopped: int | None = None
    """The number of the signal that stopped the run; None where it finished."""

    def learner(self, env: Vector, extra: int) -> Any:
        """A copy of the agent that will learn in `env` for `extra` more environment steps."""
        if not isinstance(self.agent.rollout, Steps):
            raise ValueError(
                f"--learn on: {self.experiment.run.agent} learns from whole episodes, not while it lives; leave it off"
            )
        agent = make_agent(
            config.replace_run(self.experiment, steps=self.steps + extra, episodes=0), env
        )
        replay = saved_apart(self.agent)
        if self.rows is None or replay is None or replay.size:
            agent.load_state_dict(self.agent.state_dict())
        else:  # they were not read to evaluate, but learning goes on from them
            tree = {
                "agent": state_without_rows(self.agent),
                "runner": {"seen": self.steps},
                "replay": self.rows,
            }
            add_rows(tree, self.folder / "checkpoints")
            agent.load_state_dict(tree["agent"])
        return agent


def pick_device(name: str) -> torch.device:
    """The device that `--device` means. Raises ValueError for cuda without CUDA."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "--device cuda, but torch sees no CUDA device; go on with --device cpu, or install a CUDA build of torch "
            f"and check the driver (nvidia-smi); this is torch {torch.__version__}"
        )
    return torch.device("cpu" if name == "auto" else name)


def make_env(
    run: Run, num_envs: int, device: torch.device | str = "cpu", **settings: Any
) -> Vector:
    """`num_envs` environments of a run, perturbed as it says. settings: those of `vector.make`."""
    trust.check_named(run.env)  # it may come from a stranger's config.json
    return vector.make(
        run.env, num_envs, device=device, **{**run.env_kwargs, "perturb": run.perturb, **settings}
    )


def make_agent(experiment: Experiment, env: Vector | SideBySide) -> Any:
    """A fresh agent for the spaces of `env`, of several seeds where the run has them.

    Raises ValueError for a space that it cannot serve, or several seeds where it cannot train them
    side by side.
    """
    run = experiment.run
    module = config.agents_module(run.agent)
    if run.seeds > 1 and not hasattr(module.Agent, "member"):
        raise ValueError(
            f"--seeds {run.seeds}: {run.agent} trains one seed at a time; start it with --seed 0, 1, … in turn"
        )
    try:
        with seeding.drawing_from(
            run.seed
        ):  # no other thread draws meanwhile, whatever a network draws from
            return module.Agent(
                experiment.agent,
                experiment.network,
                env.observation_space,
                env.action_space,
                horizon=run.horizon,
                seed=run.seed if run.seeds == 1 else range(run.seed, run.seed + run.seeds),
                device=env.device,
            )
    except (ValueError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        reason = (
            "its networks do not fit into memory"
            if not isinstance(error, ValueError)
            else " ".join(str(error).split())
        )
        raise ValueError(
            f"{run.agent} with {run.network} cannot learn {run.env}: {reason}"
        ) from error


def claimed(agent: Any, run: Run) -> Any:
    """The agent, if the memory and the disk that it will take are there; else a ValueError, before
    anything is written.
    """
    if hasattr(agent, "claim"):
        agent.claim()
    claim_disk(agent, run.run_dir, run.steps, run.checkpoints, run.seeds)
    return agent


@contextmanager
def open_env(env: Vector | SideBySide) -> Iterator[Any]:
    """Close the environment at the end; an error while it closes does not hide the one that ended
    the block.
    """
    try:
        yield env
    except BaseException:
        with suppress(Exception):
            env.close()
        raise
    env.close()


def evaluate_trained(
    trained: Trained, episodes: int = FINAL_EPISODES, seed: int = FINAL_SEED
) -> Evaluation:
    """Greedy evaluation of a trained agent over `episodes` start states that `seed` fixes.

    A world of which only one instance can be made plays them one after the other.
    """
    run, device = trained.experiment.run, trained.agent.device
    try:
        env = make_env(run, episodes, device)
    except EnvironmentCrashedError:
        with open_env(make_env(run, 1, device)) as env, single_thread():
            return evaluate_in_rounds(trained.agent, env, episodes, seed)
    with open_env(env), single_thread():
        return evaluate(trained.agent, env, seed)


def operations_per_decision(trained: Trained, decisions: int = 100) -> dict[str, Operations]:
    """The synaptic operations of a run's network and of an MLP of the default sizes for the same
    task, by network.

    Means over the first `decisions` greedy decisions of one episode.
    """
    experiment = trained.experiment
    counts = {}
    with open_env(make_env(experiment.run, 1, trained.agent.device)) as env:
        counts[experiment.run.network] = operations(
            record(trained.agent, env, FINAL_SEED, decisions).probe, 1
        )
        if experiment.run.network != "mlp" and not experiment.network.image:
            plain = replace(
                config.experiment(experiment.run.env, network="mlp"),
                network=Blueprint.default("mlp"),
            )
            counts["mlp"] = operations(record(make_agent(plain, env), env, FINAL_SEED, 1).probe, 1)
    return counts


@contextmanager
def single_thread() -> Iterator[None]:
    """Torch on one thread: small matrices are faster so, and the second core belongs to the
    physics.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
