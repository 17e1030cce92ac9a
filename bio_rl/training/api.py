"""A run from its first step to its evaluation: train, resume, load, evaluate."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bio_rl import vector
from bio_rl.contracts import Agent
from bio_rl.machine import trust as trusted_modules
from bio_rl.machine.files import one_line, printable
from bio_rl.machine.signals import StopRequest
from bio_rl.training import checkpoint, config, runfolder, users
from bio_rl.training.build import (
    FINAL_EPISODES,
    FINAL_SEED,
    Trained,
    check_room,
    evaluate_trained,
    make_agent,
    make_env,
    open_env,
    pick_device,
    single_thread,
)
from bio_rl.training.checkpoint import CheckpointError, Checkpoints
from bio_rl.training.commands import expanded
from bio_rl.training.config import Experiment
from bio_rl.training.evaluation import Evaluation
from bio_rl.training.fitting import check_tree, fit_agent
from bio_rl.training.metering import operations_per_decision
from bio_rl.training.progress import Callback
from bio_rl.training.replay_files import add_rows
from bio_rl.training.runner import Runner
from bio_rl.training.saving import BEST, new_folder
from bio_rl.training.seeds import run_seeds
from bio_rl.training.session import Session
from bio_rl.training.settings import as_texts
from bio_rl.training.voice import ALOUD, Voice
from bio_rl.vector import TensorVectorEnv

__all__ = [
    "FINAL_EPISODES",
    "FINAL_SEED",
    "Trained",
    "evaluate_run",
    "load",
    "make_agent",
    "make_env",
    "operations_per_decision",
    "pick_device",
    "read_last",
    "resume",
    "run_experiment",
    "run_seeds",
    "single_thread",
    "train",
]


def train(
    env: str = config.Run.env,
    *,
    agent: str = config.Run.agent,
    network: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    voice: Voice = ALOUD,
    **settings: Any,
) -> Trained:
    """Train as `train.py` does and return the result: bio_rl.train("HalfCheetah-v5", steps=100_000,
    ppo={"gamma": 0.98}).

    env, agent, network: names, or `my_module:Name` for your own, whose module is imported.
    env_kwargs: arguments of the environment's constructor. settings: fields of `config.Run`; the
    agent's and the network's own, as dicts under the words with which their flags begin; `preset`,
    a file of presets of your own. callback: called at each row of the log with the `Progress` of
    the run, which it stops by returning True or raising `StopTraining`; a run of one seed has one.
    voice: whether and how the training speaks.
    """
    if not isinstance(env, str):
        raise ValueError(
            f"env is {env!r:.80}, expected the name of an environment, such as HalfCheetah-v5"
        )
    # What is written in a program is as good as typed: it may be imported.
    if module := trusted_modules.module_of(env):
        trusted_modules.import_named(module)
    _import_parts([agent, network])
    network = network or config.served(config.agents_module(agent))[0]
    agent_prefix, network_prefix = config.prefixes(agent, network)
    agent_settings = settings.pop(agent_prefix, None)
    network_settings = settings.pop(network_prefix, None)
    _import_parts([agent_settings, network_settings])
    if env_kwargs is not None:
        settings["env_arg"] = as_texts(env_kwargs)
    experiment = config.experiment(
        env,
        agent,
        network,
        agent_settings=agent_settings,
        network_settings=network_settings,
        **settings,
    )
    return run_experiment(experiment, callback, voice)


def _import_parts(values: Iterable[Any]) -> None:
    """Import the modules of parts of the user's own that these texts and settings name."""
    for module in users.modules_of(values):
        trusted_modules.import_named(module)


def run_experiment(
    experiment: Experiment, callback: Callback | None = None, voice: Voice = ALOUD
) -> Trained:
    """Train from scratch in a new run folder; several seeds side by side, each in its own, of which
    the first is returned. callback, voice: see `train`. Raises ValueError for a callback of several
    seeds.
    """
    run = experiment.run
    if run.seeds > 1:
        if callback is not None:
            raise ValueError(f"callback: a run of {run.seeds} seeds has none, expected seeds=1")
        return run_seeds(experiment, voice)[0]
    with StopRequest() as stop, ExitStack() as stack:
        device = pick_device(run.device)
        env = stack.enter_context(
            open_env(make_env(run, run.num_envs, device, workers=run.workers))
        )
        agent = make_agent(experiment, env)
        check_room(agent, run)
        vector.probe(env)
        # A world that cannot begin must fail before there is a folder of a run.
        start = Runner(agent, env)
        start.start(run.seed)
        folder = stack.enter_context(new_folder(experiment))
        session = Session(experiment, agent, env, folder, stop, callback=callback, voice=voice)
        session.runner.life = start.life
        return session.learn()


def resume(
    run: str | Path,
    *,
    steps: int | None = None,
    episodes: int | None = None,
    device: str | None = None,
    run_dir: str | Path = config.Run.run_dir,
    trust: tuple[str, ...] = (),
    callback: Callback | None = None,
    voice: Voice = ALOUD,
) -> Trained:
    """Continue a run from its last checkpoint, to `steps` or `episodes` in all if given (the
    schedules stretch).

    device: another one than before, where the machine is another one. trust: modules that may be
    imported for what the run has of somebody's own. callback, voice: see `train`.
    """
    folder, experiment = _read(run, run_dir, trust)
    bounds = {"steps": steps, "episodes": episodes if steps is None else episodes or 0}
    # Steps alone lift the bound by episodes: who asks for more steps means all of them.
    asked = {**bounds, "device": device}
    changes = {name: value for name, value in asked.items() if value is not None}
    experiment = config.changed_run(experiment, **changes)
    planned = experiment.run
    with runfolder.lock(folder), StopRequest() as stop, ExitStack() as stack:
        on = pick_device(planned.device)
        env = stack.enter_context(
            open_env(make_env(planned, planned.num_envs, on, workers=planned.workers))
        )
        agent = _rebuilt(experiment, env, folder)
        session = Session(experiment, agent, env, folder, stop, callback=callback, voice=voice)
        session.keeper.checkpoints.prepare()
        tree = read_last(folder, rows=True)
        seen = tree["runner"]["seen"]
        if steps is not None and planned.steps < seen:
            raise ValueError(f"--steps is {steps:,}, but the run is at step {seen:,} already")
        session.restore(tree)
        if changes:
            runfolder.write_config(folder, experiment.as_dict())
        return session.learn()


def load(
    run: str | Path = "latest",
    *,
    best: bool = False,
    run_dir: str | Path = config.Run.run_dir,
    trust: tuple[str, ...] = (),
) -> Trained:
    """The trained agent of a run, on the CPU: its last weights, or with `best` those that evaluated
    best.

    trust: modules that may be imported for what the run has of somebody's own.
    """
    folder, experiment = _read(run, run_dir, trust)
    with open_env(make_env(experiment.run, 1)) as env:
        agent = _rebuilt(experiment, env, folder)
    # The replay stays on the disk: to evaluate needs none, and to learn on reads it.
    tree = read_best(folder) if best else read_last(folder)
    fit_agent(agent, tree["agent"], folder / "checkpoints")
    return Trained(experiment, agent, folder, tree["runner"]["seen"], rows=tree.get("replay"))


def _read(
    run: str | Path, run_dir: str | Path, trusted: tuple[str, ...]
) -> tuple[Path, Experiment]:
    """The folder of a run and its experiment, with the modules imported that the user trusts."""
    if not isinstance(run, str | Path):
        raise ValueError(f"run is {run!r:.80}, expected a run folder, its name, or latest")
    # A path with ~ is meant as a path, a plain text as a name below run_dir.
    folder = runfolder.resolve(str(expanded(run)) if str(run) else "", expanded(run_dir))
    for module in trusted:
        trusted_modules.import_named(module, run_folder=folder)
    return folder, config.read(folder)


def _rebuilt(experiment: Experiment, env: TensorVectorEnv, folder: Path) -> Agent:
    """The agent that the config.json in `folder` describes, untrained. Raises ValueError where it
    describes none.
    """
    try:
        return make_agent(experiment, env)
    # torch and numpy raise what they like over sizes that nothing has
    except Exception as error:
        raise ValueError(
            f"{printable(folder / runfolder.CONFIG)} describes no agent that can be built: "
            f"{one_line(error)}"
        ) from error


def evaluate_run(
    trained: Trained | str | Path = "latest",
    episodes: int = FINAL_EPISODES,
    seed: int = FINAL_SEED,
    sample: bool = False,
    **where: Any,
) -> Evaluation:
    """Greedy evaluation of a run over `episodes` start states that `seed` fixes; with `sample` its
    actions are drawn as in training instead. where: arguments of `load`.
    """
    if not isinstance(episodes, int) or not 1 <= episodes <= config.MOST["eval_episodes"]:
        most = config.MOST["eval_episodes"]
        raise ValueError(f"--episodes is {episodes!r}, expected a whole number from 1 to {most:,}")
    # A name or a folder stands for the run in it.
    trained = trained if isinstance(trained, Trained) else load(trained, **where)
    return evaluate_trained(trained, episodes, seed, sample)


def read_last(folder: Path, rows: bool = False) -> dict[str, Any]:
    """The newest checkpoint of a run that can be read; with `rows` its replay, too, where it has
    one.

    Warns of each that it passes. Raises CheckpointError where there is none.
    """
    # A crash may have torn the newest one: the one before it is as good a start.
    checkpoints = Checkpoints(folder / "checkpoints")
    fault = None
    for step, path in checkpoints.newest_first():
        try:
            tree = checkpoint.load(path)
            check_tree(tree, path, step)
            if rows:
                add_rows(tree, checkpoints.folder)
            return tree
        except CheckpointError as error:
            fault = error
            warnings.warn(f"skipping {path.name}: {error}", RuntimeWarning, stacklevel=2)
    if fault is not None:
        raise CheckpointError(f"{printable(folder)} has no readable checkpoint: {fault}")
    raise CheckpointError(
        f"{printable(folder)} has no readable checkpoint yet; train it anew with train.py"
    )


def read_best(folder: Path) -> dict[str, Any]:
    """The checkpoint of a run that evaluated best; it has no replay. Raises CheckpointError."""
    path = folder / "checkpoints" / BEST
    tree = checkpoint.load(path)
    check_tree(tree, path)
    return tree
