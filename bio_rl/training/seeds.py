"""Several seeds of a run in one program: N ordinary run folders, each as if it were trained alone.

    rows of a batch    0 … B-1 | B … 2B-1 | …        blocks, one seed after the other
    folders            seed    | seed + 1 | …        each with checkpoints, a log and a result

One runner plays and learns for all of them, and each has a session that logs, saves and evaluates
its block. A seed that has reached its own end is saved and evaluated there and then; its block
stays in the batch, its world stands still, and nobody looks at its numbers any more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from bio_rl import vector
from bio_rl.faults import DivergedError, SeedDivergedError
from bio_rl.groups import block
from bio_rl.machine.signals import StopRequest
from bio_rl.training.build import (
    Trained,
    check_room,
    make_agent,
    make_env,
    open_env,
    pick_device,
    single_thread,
)
from bio_rl.training.config import Experiment, replace_run
from bio_rl.training.panel import Panel
from bio_rl.training.reporting import cure
from bio_rl.training.runner import CHECK_EVERY_ON_GPU, Life, Runner, divergence
from bio_rl.training.saving import new_folder
from bio_rl.training.session import Session
from bio_rl.training.voice import ALOUD, Voice
from bio_rl.vector import SideBySide


def run_seeds(experiment: Experiment, voice: Voice = ALOUD) -> list[Trained]:
    """Train the seeds of a run side by side, each in a new run folder as if it had been trained
    alone. voice: whether and how they speak.

    Raises ValueError for an agent that cannot have several seeds.
    """
    run = experiment.run
    device = pick_device(run.device)
    alone = [replace_run(experiment, seed=run.seed + i, seeds=1) for i in range(run.seeds)]
    with StopRequest() as stop, ExitStack() as stack:
        # A world of its own for each: their random numbers never mix.
        vectors = [make_env(run, run.num_envs, device, workers=run.workers) for _ in alone]
        env = stack.enter_context(open_env(SideBySide(vectors)))
        agent = make_agent(experiment, env)
        check_room(agent, run)
        for one in vectors:
            vector.probe(one)
        # Worlds are seeded by their places: the i-th begins as it would alone with seed + i.
        group = GroupRunner(agent, env, seeds=run.seeds)
        group.start(run.seed)
        sessions = []
        for i, (one, own_env) in enumerate(zip(alone, vectors, strict=True)):
            folder = stack.enter_context(new_folder(one))
            session = Session(one, agent.member(i), own_env, folder, stop, alone=False, voice=voice)
            group.hand_over(i, session.runner)
            group.sync(i, session.runner)
            sessions.append(session)
        return learn_together(group, env, sessions)


@dataclass
class GroupRunner(Runner):
    """Plays and learns for several seeds at once, and counts for each."""

    seeds: int = 1
    """How many."""
    running: list[int] = field(default_factory=list)
    """The places of those that have not reached their end, in their order."""
    steps_of: list[int] = field(default_factory=list)
    """Environment steps of each seed that counted."""
    spoilt: bool = False
    """Whether a seed that has reached its end has diverged since."""

    def __post_init__(self) -> None:
        self.running = list(range(self.seeds))
        self.steps_of = [0] * self.seeds

    def _count(self, valid: Tensor) -> None:
        """Add the steps of a rollout that counted, `valid` [T, G·B], to those of each seed."""
        super()._count(valid)
        # Junk rows differ from seed to seed where worlds reset in a step of their own.
        counts = valid.view(len(valid), self.seeds, -1).sum((0, 2)).tolist()
        self.steps_of = [before + new for before, new in zip(self.steps_of, counts, strict=True)]

    def check(self) -> None:
        """Do nothing: who trains several seeds asks for `problems`, seed by seed."""

    def problems(self) -> dict[int, str]:
        """The faults of the weights of seeds that have diverged, in words, by their place."""
        # A seed that has ended may spoil the sum over all; then each is looked at, now and then.
        on_gpu = self.env.device.type != "cpu"
        if (on_gpu or self.spoilt) and self.updates % CHECK_EVERY_ON_GPU:
            return {}
        # One pass over all weights, as for a single seed; the seeds are told apart only then.
        if not divergence(self.agent):
            return {}
        reasons = {i: divergence(self.agent.member(i)) for i in self.running}
        self.spoilt = not any(reasons.values())
        said = f"the agent diverged: after update {self.updates:,}"
        return {i: f"{said} {reason}" for i, reason in reasons.items() if reason}

    def hand_over(self, i: int, one: Runner) -> None:
        """Give the runner of the i-th seed its counters and its episodes."""
        n = self.seeds
        rows = one.env.num_envs
        one.seen = self.steps_of[i]
        one.updates = self.updates
        one.collect_s = self.collect_s / n
        one.learn_s = self.learn_s / n
        # Row r of the batch is row r % B of seed r // B.
        ends = [end for end in self.episodes if end.row // rows == i]
        one.episodes = [end._replace(row=end.row % rows) for end in ends]

    def sync(self, i: int, one: Runner) -> None:
        """Give the runner of the i-th seed its agent and its life, as they are now."""
        percept, state, junk = self.life
        # Views of the batch: a checkpoint copies what it keeps of them.
        own_percept, own_state = block((percept, state), i, self.seeds)
        own_junk = None if junk is None else junk.chunk(self.seeds)[i]
        one.agent = self.agent.member(i)
        one.life = Life(own_percept, own_state, own_junk)


def learn_together(group: GroupRunner, env: SideBySide, sessions: list[Session]) -> list[Trained]:
    """Train the seeds of a group until each has reached its end, or until a signal asks for a stop,
    which saves all; evaluate each.

    Raises DivergedError that names the seed where one diverges; the others are saved before.
    """
    first = sessions[0]
    run = first.experiment.run
    began = time.perf_counter()
    first.announce(len(sessions))
    title = f"{run.agent} · {run.network} · {run.env} · {len(sessions)} seeds"
    panel = Panel(run.steps, title, first.folder, console=first.voice.console())
    results: dict[int, Trained] = {}
    try:
        with _reported(sessions), first.stop.gently(), single_thread(), panel:
            for session in sessions:
                session.open()
            while group.running and not first.stop.asked:
                _step(group, sessions, panel)
                over = [i for i in group.running if sessions[i].share() >= 1.0]
                group.running = [i for i in group.running if i not in over]
                for i in over:
                    env.stop(i)
                    if group.running:  # the last ones are evaluated when the panel is closed
                        results[i] = _finish(i, sessions[i], began)
            for i in group.running:
                group.sync(i, sessions[i].runner)
                sessions[i].close()
    finally:
        for session in sessions:
            session.close_log()
    for i, session in enumerate(sessions):
        if i not in results:
            results[i] = _finish(i, session, began)
    return [results[i] for i in range(len(sessions))]


def _finish(i: int, session: Session, began: float) -> Trained:
    """The trained agent of the i-th seed, evaluated, its log closed."""
    session.close_log()
    with _named(i):
        return session.finish(time.perf_counter() - began)


def _step(group: GroupRunner, sessions: list[Session], panel: Panel) -> None:
    """Play and learn once, and do for each running seed what follows an update.

    Raises SeedDivergedError for one that diverged, when all others are saved.
    """
    reports: dict[str, Any] = group.step()
    problems = group.problems()
    # One panel for all: it shows the first that still trains.
    shown = group.running[0]
    for i in group.running:
        if i in problems:
            continue
        runner = sessions[i].runner
        group.hand_over(i, runner)
        metrics = {name: values[i] for name, values in reports.items()}
        sync = partial(group.sync, i, runner)
        try:
            sessions[i].after(metrics, panel if i == shown else None, sync)
        except DivergedError as error:
            problems[i] = str(error)
    if problems:
        # Their update is over and sound: nothing of it needs to be lost.
        healthy = [i for i in group.running if i not in problems]
        _save(group, sessions, healthy)
        raise SeedDivergedError(*next(iter(problems.items())))


def _save(group: GroupRunner, sessions: list[Session], places: list[int]) -> None:
    """Save the seeds at these places as they are now, where that is not done already."""
    for i in places:
        keeper = sessions[i].keeper
        if keeper.saved != sessions[i].runner.seen:
            group.sync(i, sessions[i].runner)
            keeper.save()


@contextmanager
def _named(i: int) -> Iterator[None]:
    """A block whose DivergedError is that of the i-th seed."""
    try:
        yield
    except SeedDivergedError:
        raise
    except DivergedError as error:
        raise SeedDivergedError(i, str(error)) from error


@contextmanager
def _reported(sessions: list[Session]) -> Iterator[None]:
    """A block whose faults are raised with the seed that they are about, what is kept of it, and
    how to go on with the others.
    """
    try:
        yield
    except SeedDivergedError as error:
        # Its own folder is where its last good weights are.
        session = sessions[error.index]
        others = [other for other in sessions if other is not session]
        folders = ", ".join(str(other.folder) for other in others)
        raise DivergedError(
            f"seed {session.experiment.run.seed}: {error}; {cure(session.experiment)}; "
            f"{session.kept()}; the other seeds can be resumed one by one: {folders}"
        ) from error
    except BaseException:
        # Another fault is about all of them; the words of the first stand for those of each.
        with sessions[0].reported():
            raise
