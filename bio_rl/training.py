"""A run from its first step to its evaluation: build, train, save, stop, resume, load."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bio_rl import checkpoint, config, runfolder, trust, vector
from bio_rl.checkpoint import CheckpointError, Checkpoints
from bio_rl.clock import Horizon
from bio_rl.config import Experiment, Run
from bio_rl.energy import Operations, operations
from bio_rl.evaluation import Evaluation, evaluate, record
from bio_rl.groups import blocks
from bio_rl.metrics import EpisodeStats, Means, MetricsLog
from bio_rl.networks import Blueprint
from bio_rl.panel import Panel
from bio_rl.runner import Life, Runner
from bio_rl.types import Metrics, Steps
from bio_rl.vector import FaultyEnvironmentError, SideBySide, Vector
from bio_rl.viz import curves

EVAL_SEED = 1_000_000
"""Of the greedy evaluations while training; `FINAL_SEED` of the one that is reported, on other start states."""
FINAL_SEED = 2_000_000
FINAL_EPISODES = 20
PICTURED = 32
"""Decisions of the raster on TensorBoard."""
MOST = 0.9
"""Share of a layer's neurons that may be silent, or fire always, before somebody is told."""


@dataclass
class Trained:
    """What a training run or `load` gives: the agent, its experiment and its folder."""

    experiment: Experiment
    agent: Any
    folder: Path
    steps: int
    """Environment steps trained so far."""
    evaluation: Evaluation | None = None
    """The greedy evaluation of the final weights; None when the run was interrupted."""
    seconds: float = 0.0
    """Wall time of the training in this process, evaluations and checkpoints included."""

    def learner(self, env: Vector, extra: int) -> Any:
        """A copy of the agent that will learn in `env` for `extra` more environment steps."""
        if not isinstance(self.agent.rollout, Steps):
            raise ValueError(
                f"--learn on: {self.experiment.run.agent} learns from whole episodes, not while it lives; leave it off"
            )
        agent = make_agent(config.replace_run(self.experiment, steps=self.steps + extra, episodes=0), env)
        agent.load_state_dict(self.agent.state_dict())
        return agent


def pick_device(name: str) -> torch.device:
    """The device that `--device` means. Raises ValueError for cuda without CUDA."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "--device cuda, but torch sees no CUDA device; go on with --device cpu, or install a CUDA build of torch "
            f"and check the driver (nvidia-smi); this is torch {torch.__version__}"
        )
    return torch.device("cpu" if name == "auto" else name)


def make_env(run: Run, num_envs: int, device: torch.device | str = "cpu", **settings: Any) -> Vector:
    """`num_envs` environments of a run, perturbed as it says. settings: those of `vector.make`."""
    return vector.make(run.env, num_envs, device=device, **{"perturb": run.perturb, **settings})


def make_agent(experiment: Experiment, env: Vector | SideBySide) -> Any:
    """A fresh agent for the spaces of `env`, of several seeds where the run has them. Raises ValueError for a space that it
    cannot serve, or several seeds where it cannot train them side by side."""
    run = experiment.run
    module = config.agents_module(run.agent)
    if run.seeds > 1 and not hasattr(module.Agent, "member"):
        raise ValueError(f"--seeds {run.seeds}: {run.agent} trains one seed at a time; start it with --seed 0, 1, … in turn")
    try:
        with single_thread():  # orthogonal weights differ in their last bits with the number of threads
            return module.Agent(
                experiment.agent,
                experiment.network,
                env.observation_space,
                env.action_space,
                horizon=run.horizon,
                seed=run.seed if run.seeds == 1 else range(run.seed, run.seed + run.seeds),
                device=env.device,
            )
    except ValueError as error:
        raise ValueError(f"{run.agent} with {run.network} cannot learn {run.env}: {error}") from error


def claimed(agent: Any) -> Any:
    """The agent, if the memory that it will take is there; else its ValueError, before anything is written."""
    if hasattr(agent, "claim"):
        agent.claim()
    return agent


def train(env: str = config.Run.env, *, agent: str = config.Run.agent, network: str | None = None, **settings: Any) -> Trained:
    """Train as `train.py` does and return the result: bio_rl.train("HalfCheetah-v5", steps=100_000, ppo={"gamma": 0.98}).

    settings: fields of `config.Run`; and the agent's and the network's own, as dicts under their names.
    """
    if module := trust.module_of(env):
        trust.import_named(module)
    network = network or config.served(config.agents_module(agent))[0]
    own = {"agent_settings": settings.pop(agent, None), "network_settings": settings.pop(network, None)}
    return run_experiment(config.experiment(env, agent, network, **own, **settings))


def run_experiment(experiment: Experiment) -> Trained:
    """Train from scratch in a new run folder; several seeds side by side, each in its own, of which the first is returned."""
    run = experiment.run
    if run.seeds > 1:
        return run_seeds(experiment)[0]
    env = make_env(run, run.num_envs, pick_device(run.device), workers=run.workers)
    agent = claimed(make_agent(experiment, env))
    folder = runfolder.create(run.run_dir, run.env, run.agent, run.network, run.seed)
    runfolder.write_config(folder, experiment.as_dict())
    session = Session(experiment, agent, env, folder)
    session.runner.start(run.seed)
    return session.learn()


def run_seeds(experiment: Experiment) -> list[Trained]:
    """Train the seeds of a run side by side, each in a new run folder as if it had been trained alone."""
    run, device = experiment.run, pick_device(experiment.run.device)
    alone = [config.replace_run(experiment, seed=run.seed + i, seeds=1) for i in range(run.seeds)]
    env = SideBySide([make_env(run, run.num_envs, device, workers=run.workers) for _ in alone])
    group = Runner(claimed(make_agent(experiment, env)), env)
    sessions = []
    for i, (one, vector_env) in enumerate(zip(alone, env.vectors, strict=True)):
        folder = runfolder.create(run.run_dir, run.env, run.agent, run.network, one.run.seed)
        runfolder.write_config(folder, one.as_dict())
        sessions.append(Session(one, group.agent.member(i), vector_env, folder))
    group.start(run.seed)
    return learn_together(group, sessions)


def resume(
    run: str | Path, *, steps: int | None = None, episodes: int | None = None, run_dir: Path = config.Run.run_dir
) -> Trained:
    """Continue a run from its last checkpoint, to `steps` or `episodes` in all if given (the schedules stretch)."""
    folder = runfolder.resolve(str(run), run_dir)
    experiment = Experiment.from_dict(runfolder.read_config(folder))
    longer = steps is not None or episodes is not None
    if longer:
        experiment = config.replace_run(experiment, steps=steps or experiment.run.steps, episodes=episodes or 0)
    planned = experiment.run
    env = make_env(planned, planned.num_envs, pick_device(planned.device), workers=planned.workers)
    session = Session(experiment, make_agent(experiment, env), env, folder)
    tree = read_last(folder)
    if steps is not None and steps < tree["runner"]["seen"]:
        raise ValueError(f"--steps is {steps:,}, but the run is at step {tree['runner']['seen']:,} already")
    session.restore(tree)
    if longer:
        runfolder.write_config(folder, experiment.as_dict())
    return session.learn()


def load(run: str | Path = "latest", *, best: bool = False, run_dir: Path = config.Run.run_dir) -> Trained:
    """The trained agent of a run, on the CPU: its last weights, or with `best` those that evaluated best in training."""
    folder = runfolder.resolve(str(run), run_dir)
    experiment = Experiment.from_dict(runfolder.read_config(folder))
    env = make_env(experiment.run, 1)
    agent = make_agent(experiment, env)
    env.close()
    tree = checkpoint.load(folder / "checkpoints" / "best.pt") if best else read_last(folder)
    _fit(agent, tree, folder)
    return Trained(experiment, agent, folder, tree["runner"]["seen"])


def evaluate_run(
    trained: Trained | str | Path = "latest", episodes: int = FINAL_EPISODES, seed: int = FINAL_SEED, **where: Any
) -> Evaluation:
    """Greedy evaluation of a run over `episodes` fixed start states: `seed`, `seed + 1`, …"""
    if episodes < 1:
        raise ValueError(f"--episodes is {episodes}, expected at least 1")
    trained = trained if isinstance(trained, Trained) else load(trained, **where)
    env = make_env(trained.experiment.run, episodes, trained.agent.device)
    with closing(env), single_thread():
        return evaluate(trained.agent, env, seed)


def operations_per_decision(trained: Trained, decisions: int = 100) -> dict[str, Operations]:
    """The synaptic operations of a run's network and of an MLP of the default sizes for the same task, by network.

    Means over the first `decisions` greedy decisions of one episode.
    """
    experiment = trained.experiment
    counts = {}
    env = make_env(experiment.run, 1, trained.agent.device)
    try:
        counts[experiment.run.network] = operations(record(trained.agent, env, FINAL_SEED, decisions).probe, 1)
        if experiment.run.network != "mlp" and not experiment.network.image:
            plain = replace(config.experiment(experiment.run.env, network="mlp"), network=Blueprint.default("mlp"))
            counts["mlp"] = operations(record(make_agent(plain, env), env, FINAL_SEED, 1).probe, 1)
    finally:
        env.close()
    return counts


def read_last(folder: Path) -> dict[str, Any]:
    """The newest readable checkpoint of a run. Raises CheckpointError where there is none."""
    path = Checkpoints(folder / "checkpoints").last()
    if path is None:
        raise CheckpointError(f"{folder} has no readable checkpoint yet; train it anew with train.py")
    return checkpoint.load(path)


def _fit(agent: Any, tree: dict[str, Any], folder: Path) -> None:
    try:
        agent.load_state_dict(tree["agent"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        detail = str(error).splitlines()[0]
        raise CheckpointError(f"the checkpoint of {folder} does not fit the agent in its config.json: {detail}") from error


class Session:
    """One process's share of a run: the loop with its logs, checkpoints, evaluations and signals."""

    def __init__(self, experiment: Experiment, agent: Any, env: Vector, folder: Path) -> None:
        self.experiment, self.folder = experiment, folder
        self.runner = Runner(agent, env)
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.stats, self.means = EpisodeStats(), Means()
        self.best = -float("inf")
        self.saved = 0
        self.elapsed = 0.0
        self.stop = False
        self.evaluation: Evaluation | None = None
        self.warned: set[str] = set()

    def restore(self, tree: dict[str, Any]) -> None:
        """Take up the run where a checkpoint left it, and say what is and what is not as it was."""
        run = self.experiment.run
        _fit(self.runner.agent, tree, self.folder)
        self.runner.load_state_dict(tree["runner"])
        self.stats.load_state_dict(tree["stats"])
        self.best, self.saved, self.elapsed = tree["best"], self.runner.seen, tree["elapsed"]
        print(f"resuming {self.folder} at step {self.saved:,} of {run.steps:,}")
        if not self.runner.env.exact:
            print(f"{run.env} cannot save its physics: its episodes start anew (weights, optimiser, generators are exact)")
        if (before := Horizon(*tree["horizon"])) != run.horizon:
            print(
                f"horizon {before} -> {run.horizon}: schedules that run over the horizon "
                "(the learning rate) continue as if the run had always been this long"
            )

    def learn(self) -> Trained:
        """Train to the last step, or to Ctrl-C, which saves; then evaluate the final weights."""
        run, runner = self.experiment.run, self.runner
        began, seen = time.perf_counter(), runner.seen
        self._announce()
        title = f"{run.agent} · {run.network} · {run.env}"
        try:
            with single_thread(), catch_signals(self), Panel(run.steps, title, self.folder, start=seen) as panel:
                self.open()
                while self.share() < 1.0 and not self.stop:
                    self.after(runner.step(), panel)
                self.close()
        except FaultyEnvironmentError as fault:
            raise FaultyEnvironmentError(f"{fault}; last checkpoint: step {self.saved:,} in {self.folder}") from fault
        finally:
            self.log.close()
        seconds = time.perf_counter() - began
        evaluation = None if self.stop else self._finish(seconds)
        runner.env.close()
        return Trained(self.experiment, runner.agent, self.folder, runner.seen, evaluation, seconds)

    def open(self) -> None:
        """Begin to log."""
        self.began, self.before = time.perf_counter(), self.elapsed
        self.logged, self.marked = self.runner.seen, self.share()
        self.log = MetricsLog(self.folder, resume_step=self.runner.seen or None)
        rows = [f"| {name} | {_flag_text(value)} |" for name, value in self.experiment.settings().items()]
        self.log.text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]))

    def after(self, metrics: Metrics, panel: Panel | None, sync: Callable[[], None] = lambda: None) -> None:
        """What follows an update: statistics, a log row, and where they are due an evaluation and a checkpoint.

        sync: brings the runner's agent and life up to date, before they are evaluated or saved.
        """
        run, runner = self.experiment.run, self.runner
        self.means.add(metrics)
        self.stats.add([e.ret for e in runner.episodes], [e.length for e in runner.episodes])
        self.elapsed = self.before + time.perf_counter() - self.began
        values = {**self._rollout_values(), **metrics}
        share = self.share()
        due = int(share * run.checkpoints) > int(self.marked * run.checkpoints)
        if due:
            sync()
        if due and run.eval_episodes:
            values["eval/mean_reward"] = self._evaluate()
        if due or runner.seen - self.logged >= max(1, run.steps // 500):
            self.logged = runner.seen
            values = self.log.write(runner.seen, values | self.means.take())
            self._warn(values, panel)
        if panel is not None:
            panel.update(runner.seen, values | {"eval/best": self.best} if self.best > -float("inf") else values, share)
        if due:
            self.marked = share
            self._save(values.get("eval/mean_reward"))
            if run.eval_episodes and "spikes/1_rate" in metrics:
                self._picture(self.log)

    def close(self) -> None:
        """Save where it was stopped."""
        if self.stop:
            self._save(None)

    def share(self) -> float:
        """Of the training that is over."""
        return self.experiment.run.horizon.lived(self.runner.seen, self.stats.count)

    def _rollout_values(self) -> dict[str, Any]:
        """SB3's names for how the run goes."""
        runner = self.runner
        values = {
            "time/fps": runner.speed(),
            "time/collect": runner.collect_s,
            "time/learn": runner.learn_s,
        }
        if self.stats.count:
            values |= {"rollout/ep_rew_mean": self.stats.mean_return, "rollout/ep_len_mean": self.stats.mean_length}
        return values

    def _evaluate(self) -> float:
        run, agent = self.experiment.run, self.runner.agent
        env = make_env(run, run.eval_episodes, self.runner.env.device)
        try:
            return evaluate(agent, env, EVAL_SEED).mean
        finally:
            env.close()

    def _picture(self, log: MetricsLog) -> None:
        """The spikes of a few greedy decisions on TensorBoard: neurons down, ticks across."""
        env = make_env(self.experiment.run, 1, self.runner.env.device)
        try:
            seen = record(self.runner.agent, env, EVAL_SEED, PICTURED)
        finally:
            env.close()
        if seen.layers:
            spikes = np.concatenate([seen.train(f"spikes/{i + 1}") for i in range(seen.layers)], 1)
            log.image("spikes/raster", 1.0 - spikes.T, self.runner.seen)

    def _warn(self, values: Mapping[str, float], panel: Panel | None) -> None:
        """Say once of each layer that most of its neurons never fire, or always."""
        for name, value in values.items():
            layer, _, figure = name.rpartition("_")
            if figure in ("dead", "saturated") and value > MOST and layer not in self.warned:
                self.warned.add(layer)
                never = "never fire" if figure == "dead" else "fire at every tick"
                way = "higher" if figure == "dead" else "lower"
                say = print if panel is None else panel.print
                say(
                    f"note: {value:.0%} of the neurons of layer {layer.rpartition('/')[2]} {never}; "
                    f"a {way} --{self.experiment.run.network}.gain or a --{self.experiment.run.network}.target-rate helps"
                )

    def _save(self, score: float | None) -> None:
        """Checkpoint everything that an exact continuation needs; keep it as the best where `score` beats the others."""
        runner = self.runner
        better = score is not None and score > self.best
        self.best = max(self.best, score) if score is not None else self.best
        tree = {
            "agent": runner.agent.state_dict(),
            "runner": runner.state_dict(),
            "stats": self.stats.state_dict(),
            "best": self.best,
            "elapsed": self.elapsed,
            "horizon": list(self.experiment.run.horizon),
        }
        self.checkpoints.save(runner.seen, tree)
        if better:
            self.checkpoints.save_best(tree)
        self.saved = runner.seen

    def _announce(self, seeds: int = 1) -> None:
        run, agent = self.experiment.run, self.runner.agent
        count = sum(p.numel() for p in agent.parameters()) if hasattr(agent, "parameters") else 0
        env_id = vector.find_id(run.env)
        native = f" ({env_id}, natively vectorised)" if env_id != run.env and env_id.startswith("bio_rl/") else ""
        print(f"{run.agent} · {run.network} ({count:,} parameters) on {run.env} x {run.num_envs}{native}")
        presets = f"preset {', '.join(self.experiment.preset)}" if self.experiment.preset else "no preset for this task"
        hidden = ("env", "seed", "run-dir", "device")
        changed = [f"{name} {_flag_text(x)}" for name, x in self.experiment.changed().items() if name not in hidden]
        print(f"{presets}; differs from the defaults in: {', '.join(changed) or 'nothing'}")
        device = self.runner.env.device
        spare = "; a GPU is at hand: --device cuda" if torch.cuda.is_available() and device.type == "cpu" else ""
        if hasattr(agent, "claim"):
            print(agent.claim())
        which = f"seed {run.seed}" if seeds == 1 else f"seeds {run.seed} to {run.seed + seeds - 1} side by side"
        print(f"{run.horizon}, {which}, on {device}{spare}; files in {self.folder}{', …' if seeds > 1 else ''}")

    def _finish(self, seconds: float) -> Evaluation:
        run = self.experiment.run
        trained = Trained(self.experiment, self.runner.agent, self.folder, self.runner.seen)
        evaluation = evaluate_run(trained)
        record = {
            "steps": self.runner.seen,
            "seconds": self.elapsed,
            "best_eval": self.best if math.isfinite(self.best) else None,
            **evaluation.as_dict(),
        }
        runfolder.write_json(self.folder / "result.json", record)
        with suppress(ImportError):  # the extra `plots`
            curves.draw({run.env: {f"{run.agent} {run.network}": [self.folder]}}, self.folder / "learning_curve.png")
        print(f"\ngreedy evaluation of {run.env}: {evaluation}")
        print(f"trained {self.runner.seen:,} steps in {seconds:.0f} s; saved in {self.folder}\nnext:")
        for line in (f"eval {self.folder}", f"play {self.folder}", f"resume {self.folder} --steps {2 * run.steps}"):
            print(f"  python train.py {line}")
        print(f"  tensorboard --logdir {run.run_dir}")
        return evaluation


def learn_together(group: Runner, sessions: list[Session]) -> list[Trained]:
    """Train the seeds of a group to the last step, or to Ctrl-C, which saves all; then evaluate each."""
    first, began = sessions[0], time.perf_counter()
    run, n = first.experiment.run, len(sessions)
    first._announce(n)
    title = f"{run.agent} · {run.network} · {run.env} · {n} seeds"
    try:
        with single_thread(), catch_signals(*sessions), Panel(run.steps, title, first.folder) as panel:
            for session in sessions:
                session.open()
            while first.share() < 1.0 and not first.stop:
                together = group.step()
                for i, session in enumerate(sessions):
                    _hand_over(group, session.runner, i, n)
                    metrics = {name: x[i] for name, x in together.items()}
                    session.after(metrics, panel if i == 0 else None, partial(_sync, group, session.runner, i, n))
            for i, session in enumerate(sessions):
                _sync(group, session.runner, i, n)
                session.close()
    except FaultyEnvironmentError as fault:
        raise FaultyEnvironmentError(f"{fault}; last checkpoints: step {first.saved:,} of every seed") from fault
    finally:
        for session in sessions:
            session.log.close()
    seconds = time.perf_counter() - began
    for session in sessions:
        session.evaluation = None if session.stop else session._finish(seconds)
    group.env.close()
    return [Trained(s.experiment, s.runner.agent, s.folder, s.runner.seen, s.evaluation, seconds) for s in sessions]


def _hand_over(group: Runner, one: Runner, i: int, n: int) -> None:
    """The counters and episodes of the i-th of n seeds."""
    each = one.env.num_envs
    one.seen, one.updates = group.seen // n, group.updates
    one.collect_s, one.learn_s = group.collect_s / n, group.learn_s / n
    one.episodes = [e._replace(row=e.row % each) for e in group.episodes if e.row // each == i]


def _sync(group: Runner, one: Runner, i: int, n: int) -> None:
    """The agent and the life of the i-th of n seeds, as they are now."""
    one.agent = group.agent.member(i)
    one.life = Life(*blocks(tuple(group.life[:2]), n)[i], None if group.life.junk is None else group.life.junk.chunk(n)[i])


def _flag_text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@contextmanager
def single_thread() -> Iterator[None]:
    """Torch on one thread: small matrices are faster so, and the second core belongs to the physics."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def catch_signals(*sessions: Session) -> Iterator[None]:
    """Ctrl-C or a termination request finishes the update at hand and saves; a second Ctrl-C stops at once."""

    def ask(signum: int, frame: Any) -> None:
        if sessions[0].stop:
            raise KeyboardInterrupt
        for session in sessions:
            session.stop = True

    try:
        before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the caller handles signals
        yield
        return
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
    if sessions[0].stop:
        runs = "".join(f"\n  python train.py resume {session.folder}" for session in sessions)
        print(f"\nstopped at step {sessions[0].runner.seen:,}, saved; go on with{runs}")
