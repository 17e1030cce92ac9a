"""From a run's settings to its device, environments and agent; and a trained agent's evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from bio_rl import seeding, vector
from bio_rl.contracts import Agent, Steps
from bio_rl.faults import EnvironmentCrashedError
from bio_rl.machine import trust
from bio_rl.rl.base import Spec
from bio_rl.rl.one_by_one import of_seeds
from bio_rl.training import config
from bio_rl.training.config import Experiment, Run
from bio_rl.training.evaluation import Evaluation, evaluate, evaluate_in_rounds
from bio_rl.training.replay_files import add_rows, check_disk
from bio_rl.vector import TensorVectorEnv, Vector

FINAL_SEED = 2_000_000
"""Seed of the start states of the evaluation that is reported."""
FINAL_EPISODES = 20
"""Episodes of that evaluation."""

Env = TypeVar("Env", bound=TensorVectorEnv)


@dataclass
class Trained:
    """The result of a training run or of `load`: the agent, its experiment and its folder."""

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
    """The number of the signal that stopped the run, that of Ctrl-C for a callback; None where it
    finished.
    """

    def learner(self, env: TensorVectorEnv, extra: int) -> Any:
        """A copy of the agent that will learn in `env` for `extra` more environment steps."""
        if not isinstance(self.agent.rollout, Steps):
            raise ValueError(
                f"--learn on: {self.experiment.run.agent} learns from whole episodes, "
                "not while it lives; leave it off"
            )
        # Schedules are stretched over what it will live, as a resume to more steps does.
        longer = config.replace_run(self.experiment, steps=self.steps + extra, episodes=0)
        agent = make_agent(longer, env)
        agent.load_state_dict(self._state())
        return agent

    def _state(self) -> dict[str, Any]:
        """All that the agent learns on from; rows that `load` left on the disk are read now."""
        replay = self.agent.replay
        if self.rows is None or replay is None or replay.size:
            return self.agent.state_dict()
        state = self.agent.learned_state()
        # The form of a checkpoint, which is what knows how to find its rows.
        tree = {"agent": state, "runner": {"seen": self.steps}, "replay": self.rows}
        add_rows(tree, self.folder / "checkpoints")
        return tree["agent"]


def pick_device(name: str) -> torch.device:
    """The device that `--device` means. Raises ValueError for cuda without CUDA."""
    # Refused here, in words, and not by torch at the first tensor.
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "--device cuda, but torch sees no CUDA device; go on with --device cpu, or install a "
            "CUDA build of torch and check the driver (nvidia-smi); "
            f"this is torch {torch.__version__}"
        )
    return torch.device("cpu" if name == "auto" else name)


def make_env(
    run: Run, num_envs: int, device: torch.device | str = "cpu", **settings: Any
) -> Vector:
    """`num_envs` environments of a run, perturbed as it says. settings: those of `vector.make`."""
    # The name may come from a stranger's config.json.
    trust.check_named(run.env)
    # Settings given here win over those of the run: more faults, or a camera.
    arguments = {**run.env_kwargs, "perturb": run.perturb, **settings}
    return vector.make(run.env, num_envs, device=device, **arguments)


def make_agent(experiment: Experiment, env: TensorVectorEnv) -> Any:
    """A fresh agent for the spaces of `env`, of several seeds where the run has them.

    Raises ValueError for a space that it cannot serve, for several seeds where it cannot train them
    side by side, and where its networks do not fit into memory.
    """
    run = experiment.run
    spec = Spec(experiment.agent, experiment.network, env.observation_space, env.action_space)
    seeds = range(run.seed, run.seed + run.seeds)
    kind = config.agents_module(run.agent).Agent
    try:
        # No other thread draws meanwhile, whatever a network draws from.
        with seeding.drawing_from(run.seed):
            return of_seeds(kind, spec, horizon=run.horizon, seeds=seeds, device=env.device)
    except ValueError as error:
        raise _cannot_learn(run, " ".join(str(error).split())) from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        raise _cannot_learn(run, "its networks do not fit into memory") from error


def _cannot_learn(run: Run, reason: str) -> ValueError:
    # One seed is what everybody has: it needs no word.
    several = f" with {run.seeds} seeds" if run.seeds > 1 else ""
    return ValueError(f"{run.agent} with {run.network} cannot learn {run.env}{several}: {reason}")


def check_room(agent: Agent, run: Run) -> None:
    """Raise ValueError, before anything is written, where memory or disk have no room for a run."""
    agent.check_memory()
    check_disk(agent, run.run_dir, run.steps, run.checkpoints, run.seeds)


@contextmanager
def open_env(env: Env) -> Iterator[Env]:
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
    trained: Trained,
    episodes: int = FINAL_EPISODES,
    seed: int = FINAL_SEED,
    sample: bool = False,
) -> Evaluation:
    """Greedy evaluation of a trained agent over `episodes` start states that `seed` fixes.

    sample: actions are drawn as in training instead, by a copy of the agent, so that the same call
    gives the same returns. A world of which only one instance can be made plays them one after the
    other.
    """
    run = trained.experiment.run
    agent = deepcopy(trained.agent) if sample else trained.agent
    device = agent.device
    try:
        env = make_env(run, episodes, device)
    except EnvironmentCrashedError:
        with open_env(make_env(run, 1, device)) as env, single_thread():
            return evaluate_in_rounds(agent, env, episodes, seed, sample)
    with open_env(env), single_thread():
        return evaluate(agent, env, seed, sample)


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
