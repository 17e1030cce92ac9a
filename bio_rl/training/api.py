"""A run from its first step to its evaluation: train, resume, load, evaluate."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bio_rl import vector
from bio_rl.groups import blocks
from bio_rl.machine import trust
from bio_rl.machine.files import one_line, printable
from bio_rl.machine.signals import StopRequest
from bio_rl.training import checkpoint, config, runfolder
from bio_rl.training.build import (
    FINAL_EPISODES,
    FINAL_SEED,
    Trained,
    claimed,
    evaluate_trained,
    make_agent,
    make_env,
    open_env,
    operations_per_decision,
    pick_device,
    single_thread,
)
from bio_rl.training.checkpoint import CheckpointError, Checkpoints
from bio_rl.training.commands import expanded
from bio_rl.training.config import Experiment
from bio_rl.training.evaluation import Evaluation
from bio_rl.training.fitting import check_tree, fit_agent
from bio_rl.training.panel import Panel
from bio_rl.training.replay_files import add_rows
from bio_rl.training.runner import Life, Runner
from bio_rl.training.session import Session
from bio_rl.training.settings import as_texts
from bio_rl.vector import SideBySide

__all__ = [
    "FINAL_EPISODES", "FINAL_SEED", "Trained", "claimed", "evaluate_run", "load", "make_agent", "make_env",
    "operations_per_decision", "pick_device", "read_last", "resume", "run_experiment", "single_thread", "train",
]  # fmt: skip


def train(
    env: str = config.Run.env,
    *,
    agent: str = config.Run.agent,
    network: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Trained:
    """Train as `train.py` does and return the result: bio_rl.train("HalfCheetah-v5", steps=100_000,
    ppo={"gamma": 0.98}).

    env_kwargs: arguments of the environment's constructor. settings: fields of `config.Run`; and
    the agent's and the network's own, as dicts under their names.
    """
    if not isinstance(env, str):
        raise ValueError(
            f"env is {env!r:.80}, expected the name of an environment, such as HalfCheetah-v5"
        )
    if module := trust.module_of(env):
        trust.import_named(module)
    network = network or config.served(config.agents_module(agent))[0]
    own = {
        "agent_settings": settings.pop(agent, None),
        "network_settings": settings.pop(network, None),
    }
    if env_kwargs is not None:
        settings["env_arg"] = as_texts(env_kwargs)
    return run_experiment(config.experiment(env, agent, network, **own, **settings))


def run_experiment(experiment: Experiment) -> Trained:
    """Train from scratch in a new run folder; several seeds side by side, each in its own, of which
    the first is returned.
    """
    run = experiment.run
    if run.seeds > 1:
        return run_seeds(experiment)[0]
    with StopRequest() as stop, ExitStack() as stack:
        env = stack.enter_context(
            open_env(make_env(run, run.num_envs, pick_device(run.device), workers=run.workers))
        )
        agent = claimed(make_agent(experiment, env), run)
        vector.probe(env)
        start = Runner(agent, env)
        start.start(run.seed)
        session = Session(
            experiment, agent, env, stack.enter_context(_new_folder(experiment)), stop
        )
        session.runner.life = start.life
        return session.learn()


def run_seeds(experiment: Experiment) -> list[Trained]:
    """Train the seeds of a run side by side, each in a new run folder as if it had been trained
    alone.
    """
    run, device = experiment.run, pick_device(experiment.run.device)
    alone = [config.replace_run(experiment, seed=run.seed + i, seeds=1) for i in range(run.seeds)]
    with StopRequest() as stop, ExitStack() as stack:
        env = SideBySide([make_env(run, run.num_envs, device, workers=run.workers) for _ in alone])
        stack.enter_context(open_env(env))
        group = Runner(claimed(make_agent(experiment, env), run), env)
        for one in env.vectors:
            vector.probe(one)
        group.start(run.seed)
        sessions = []
        for i, (one, vector_env) in enumerate(zip(alone, env.vectors, strict=True)):
            folder = stack.enter_context(_new_folder(one))
            sessions.append(
                Session(one, group.agent.member(i), vector_env, folder, stop, alone=False)
            )
            _hand_over(group, sessions[-1].runner, i, run.seeds)
            _sync(group, sessions[-1].runner, i, run.seeds)
        return learn_together(group, sessions)


@contextmanager
def _new_folder(experiment: Experiment) -> Iterator[Path]:
    """A locked run folder with its config.json; a start that fails before its first checkpoint
    leaves none behind.
    """
    run = experiment.run
    folder = runfolder.create(run.run_dir, run.env, run.agent, run.network, run.seed)
    try:
        with runfolder.lock(folder):
            runfolder.write_config(folder, experiment.as_dict())
            yield folder
    except BaseException:
        if not any(folder.glob("checkpoints/step_*.pt")):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def resume(
    run: str | Path,
    *,
    steps: int | None = None,
    episodes: int | None = None,
    device: str | None = None,
    run_dir: str | Path = config.Run.run_dir,
    trust: tuple[str, ...] = (),
) -> Trained:
    """Continue a run from its last checkpoint, to `steps` or `episodes` in all if given (the
    schedules stretch).

    device: another one than before, where the machine is another one. trust: modules that may be
    imported for the world.
    """
    folder, experiment = _read(run, run_dir, trust)
    changes = {
        "steps": steps,
        "episodes": episodes if steps is None else episodes or 0,
        "device": device,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    experiment = config.changed_run(experiment, **changes)
    planned = experiment.run
    with runfolder.lock(folder), StopRequest() as stop, ExitStack() as stack:
        env = make_env(
            planned, planned.num_envs, pick_device(planned.device), workers=planned.workers
        )
        stack.enter_context(open_env(env))
        session = Session(experiment, _rebuilt(experiment, env, folder), env, folder, stop)
        session.checkpoints.prepare()
        tree = read_last(folder, rows=True)
        if steps is not None and planned.steps < tree["runner"]["seen"]:
            raise ValueError(
                f"--steps is {steps:,}, but the run is at step {tree['runner']['seen']:,} already"
            )
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

    trust: modules that may be imported for the run's world.
    """
    folder, experiment = _read(run, run_dir, trust)
    with open_env(make_env(experiment.run, 1)) as env:
        agent = _rebuilt(experiment, env, folder)
    tree = read_best(folder) if best else read_last(folder)
    fit_agent(agent, tree["agent"], folder / "checkpoints")
    return Trained(experiment, agent, folder, tree["runner"]["seen"], rows=tree.get("replay"))


def _read(
    run: str | Path, run_dir: str | Path, trusted: tuple[str, ...]
) -> tuple[Path, Experiment]:
    """The folder of a run and its experiment, with the modules imported that the user trusts."""
    if not isinstance(run, str | Path):
        raise ValueError(f"run is {run!r:.80}, expected a run folder, its name, or latest")
    folder = runfolder.resolve(str(expanded(run)) if str(run) else "", expanded(run_dir))
    for module in trusted:
        trust.import_named(module, run_folder=folder)
    return folder, config.read(folder)


def _rebuilt(experiment: Experiment, env: Any, folder: Path) -> Any:
    """The agent that the config.json in `folder` describes, untrained. Raises ValueError where it
    describes none.
    """
    try:
        return make_agent(experiment, env)
    except Exception as error:  # torch and numpy raise what they like over sizes that nothing has
        raise ValueError(
            f"{printable(folder / runfolder.CONFIG)} describes no agent that can be built: {one_line(error)}"
        ) from error


def evaluate_run(
    trained: Trained | str | Path = "latest",
    episodes: int = FINAL_EPISODES,
    seed: int = FINAL_SEED,
    **where: Any,
) -> Evaluation:
    """Greedy evaluation of a run over `episodes` start states that `seed` fixes. where: arguments
    of `load`.
    """
    if not isinstance(episodes, int) or not 1 <= episodes <= config.MOST["eval_episodes"]:
        most = config.MOST["eval_episodes"]
        raise ValueError(f"--episodes is {episodes!r}, expected a whole number from 1 to {most:,}")
    trained = trained if isinstance(trained, Trained) else load(trained, **where)
    return evaluate_trained(trained, episodes, seed)


def read_last(folder: Path, rows: bool = False) -> dict[str, Any]:
    """The newest checkpoint of a run that can be read; with `rows` its replay, too, where it has
    one.

    Warns of each that it passes. Raises CheckpointError where there is none.
    """
    checkpoints, fault = Checkpoints(folder / "checkpoints"), None
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
    path = folder / "checkpoints" / "best.pt"
    tree = checkpoint.load(path)
    check_tree(tree, path)
    return tree


def learn_together(group: Runner, sessions: list[Session]) -> list[Trained]:
    """Train the seeds of a group to the last step, or until a signal asks for a stop, which saves
    all; evaluate each.
    """
    first, began = sessions[0], time.perf_counter()
    run, n, stop = first.experiment.run, len(sessions), first.stop
    first.announce(n)
    title = f"{run.agent} · {run.network} · {run.env} · {n} seeds"
    try:
        with (
            first.reported(),
            stop.gently(),
            single_thread(),
            Panel(run.steps, title, first.folder) as panel,
        ):
            for session in sessions:
                session.open()
            while first.share() < 1.0 and not stop.asked:
                together = group.step()
                for i, session in enumerate(sessions):
                    _hand_over(group, session.runner, i, n)
                    metrics = {name: x[i] for name, x in together.items()}
                    session.after(
                        metrics,
                        panel if i == 0 else None,
                        partial(_sync, group, session.runner, i, n),
                    )
            for i, session in enumerate(sessions):
                _sync(group, session.runner, i, n)
                session.close()
    finally:
        for session in sessions:
            session.close_log()
    seconds = time.perf_counter() - began
    return [session.finish(seconds) for session in sessions]


def _hand_over(group: Runner, one: Runner, i: int, n: int) -> None:
    """The counters and episodes of the i-th of n seeds."""
    each = one.env.num_envs
    one.seen, one.updates = group.seen // n, group.updates
    one.collect_s, one.learn_s = group.collect_s / n, group.learn_s / n
    one.episodes = [e._replace(row=e.row % each) for e in group.episodes if e.row // each == i]


def _sync(group: Runner, one: Runner, i: int, n: int) -> None:
    """The agent and the life of the i-th of n seeds, as they are now."""
    one.agent = group.agent.member(i)
    one.life = Life(
        *blocks(tuple(group.life[:2]), n)[i],
        None if group.life.junk is None else group.life.junk.chunk(n)[i],
    )
