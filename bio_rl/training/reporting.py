"""Texts of a training for its user: what begins, what it finds, what is kept when it stops."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bio_rl import vector
from bio_rl.contracts import Agent
from bio_rl.faults import DivergedError, FaultyEnvironmentError
from bio_rl.machine.signals import Interrupted
from bio_rl.training import commands
from bio_rl.training.build import Trained
from bio_rl.training.config import Experiment
from bio_rl.training.evaluation import Evaluation
from bio_rl.training.voice import Voice

MOST = 0.9
"""Share of a layer's neurons that may be silent, or fire always, before somebody is told."""
NOT_A_CHANGE = ("env", "seed", "run-dir", "device")
"""Settings that are told elsewhere, or are nothing that makes a run another kind of run."""


class Notes:
    """Sentences that are printed once."""

    def __init__(self, say: Callable[[str], object] = print) -> None:
        """say: prints a note."""
        self.said: set[str] = set()
        self._say = say

    def say(self, text: str) -> None:
        """Print a note, the first time it is said."""
        self.once(text, f"note: {text}", self._say)

    def once(self, topic: str, text: str, say: Callable[[str], object]) -> None:
        """Say a text by `say`, unless something was said on its topic already."""
        # A note at every evaluation would hide what else is said.
        if topic not in self.said:
            self.said.add(topic)
            say(text)


def settings_table(experiment: Experiment) -> str:
    """The settings of a run as a table in Markdown."""
    rows = [f"| {name} | {flag_text(value)} |" for name, value in experiment.settings().items()]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def announce(
    experiment: Experiment,
    agent: Agent,
    device: torch.device,
    folder: Path,
    seeds: int = 1,
    say: Callable[[str], object] = print,
) -> None:
    """Say what will be trained, and where it is kept."""
    run = experiment.run
    count = sum(weights.numel() for weights in agent.trained_tensors())
    # The user typed a short name: the id says which of two worlds of that name it is.
    env_id = vector.find_id(run.env)
    is_native = env_id != run.env and env_id.startswith("bio_rl/")
    native = f" ({env_id}, natively vectorised)" if is_native else ""
    say(f"{run.agent} · {run.network} ({count:,} weights) on {run.env} x {run.num_envs}{native}")
    say(_differences(experiment))
    memory = agent.check_memory()
    if memory:
        say(memory)
    spare_gpu = torch.cuda.is_available() and device.type == "cpu"
    hint = "; a GPU is at hand: --device cuda" if spare_gpu else ""
    several = f"seeds {run.seed} to {run.seed + seeds - 1} side by side"
    which = several if seeds > 1 else f"seed {run.seed}"
    more = ", …" if seeds > 1 else ""
    say(f"{run.horizon}, {which}, on {device}{hint}; files in {folder}{more}")


def _differences(experiment: Experiment) -> str:
    """Which presets were applied, and what differs from the defaults."""
    preset = ", ".join(experiment.preset)
    presets = f"preset {preset}" if preset else "no preset for this task"
    changes = [
        f"{name} {flag_text(value)}"
        for name, value in experiment.changed().items()
        if name not in NOT_A_CHANGE
    ]
    return f"{presets}; differs from the defaults in: {', '.join(changes) or 'nothing'}"


def warn_of_idle_layers(
    values: Mapping[str, float], network: str, notes: Notes, say: Callable[[str], object]
) -> None:
    """Say once of each layer that most of its neurons never fire, or always.

    network: the word with which its flags begin.
    """
    for name, value in values.items():
        layer, _, figure = name.rpartition("_")
        # spikes/2_dead is the share of layer 2 that never fires.
        if figure not in ("dead", "saturated") or not value > MOST:
            continue
        never = "never fire" if figure == "dead" else "fire at every tick"
        way = "higher" if figure == "dead" else "lower"
        text = (
            f"note: {value:.0%} of the neurons of layer {layer.rpartition('/')[2]} {never}; "
            f"a {way} --{network}.gain or a --{network}.target-rate helps"
        )
        notes.once(layer, text, say)


def say_result(
    trained: Trained,
    last: Evaluation | None,
    best: Evaluation | None,
    best_step: int | None,
    voice: Voice,
) -> None:
    """Print the evaluations of the last and of the best weights, and what to do next."""
    experiment = trained.experiment
    run = experiment.run
    voice.say(f"\ngreedy evaluation of {run.env}: {last if last is not None else 'none'}")
    if best_step is not None and best_step != trained.steps and best is not None:
        best_of = f"the best weights are of step {best_step:,}: {best}"
        voice.say(f"{best_of}; {'load(best=True)' if voice.python else 'eval --best'} takes them")
    voice.say(
        f"trained {trained.steps:,} steps in {trained.seconds:.0f} s; saved in {trained.folder}\n"
        "next:"
    )
    # A run with parts of the user's own needs them in every command.
    hints = commands.Hints(trained.folder, tuple(experiment.modules()), voice.python)
    voice.say(f"  {hints.evaluate()}")
    voice.say(f"  {hints.play()}")
    voice.say(f"  {hints.resume(2 * run.steps)}")
    voice.say(f"  {commands.tensorboard(run.run_dir)}")


class Forecast:
    """Tells once, within the first seconds, how long a run will take that takes long."""

    SETTLED = 5.0
    """Seconds after which speed is looked at: kernels are compiled and caches warm."""
    MEASURED = 10.0
    """Seconds over which it is measured."""
    LONG = 3600.0
    """Seconds from which on a run is called long."""

    def __init__(self, steps: int) -> None:
        """steps: the horizon of the run."""
        self.steps = steps
        self._began = time.monotonic()
        self._first: tuple[float, float] | None = None
        """When the speed began to be measured, and the share of the run that was over."""
        self._told = False

    def note(self, share: float) -> str:
        """The words for a run of which `share` is over; "" before they are due, and ever after."""
        now = time.monotonic()
        if self._told or now - self._began < self.SETTLED:
            return ""
        if self._first is None:
            self._first = (now, share)
        since, before = self._first
        if now - since < self.MEASURED or share <= before:
            return ""
        self._told = True
        whole = (now - since) / (share - before)
        left = (1.0 - share) * whole
        if left < self.LONG:
            return ""
        # Two digits: the speed of ten seconds knows no more.
        in_an_hour = float(f"{self.steps * self.LONG / whole:.1e}")
        return (
            f"note: at this speed the run takes {left / 3600:.1f} more hours, evaluations not "
            f"counted; Ctrl-C saves it, `resume` goes on; --steps {in_an_hour:,.0f} takes an hour"
        )


class Reported:
    """A context manager around a training: faults leave it with the last checkpoint and the way to
    go on in their words.
    """

    def __init__(
        self,
        experiment: Experiment,
        kept: Callable[[], str],
        say: Callable[[str], object] = print,
    ) -> None:
        """kept: says what is kept, and how to go on from it. say: prints that."""
        self.experiment = experiment
        self.kept = kept
        self._say = say

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        # It goes on as what it is: only words are added.
        if isinstance(error, Interrupted):
            self._say(f"\nstopped at once; {self.kept()}")
        elif isinstance(error, DivergedError):
            raise DivergedError(f"{error}; {cure(self.experiment)}; {self.kept()}") from error
        elif isinstance(error, FaultyEnvironmentError):
            raise type(error)(f"{error}; {self.kept()}") from error.__cause__


def cure(experiment: Experiment) -> str:
    """The settings that most likely made an agent diverge, with what they are now."""
    owner = experiment.prefixes[0].replace("_", "-")
    flags = []
    for field in dataclasses.fields(experiment.agent):
        value = getattr(experiment.agent, field.name)
        # No list of names: an agent of a user's own has rates as well.
        is_rate = field.name == "lr" or field.name.endswith(("_lr", "learning_rate"))
        if is_rate and value:
            flags.append(f"--{owner}.{field.name.replace('_', '-')} (now {value:g})")
    return f"a lower learning rate is the usual cure: {', '.join(flags)}"


def reason(error: Exception) -> str:
    """An error in one line, with the file and line where it was raised if it is not ours."""
    is_users = isinstance(error, FaultyEnvironmentError) and error.__cause__ is not None
    cause = error.__cause__ if is_users and error.__cause__ is not None else error
    text = f"{type(cause).__name__}: {cause}".splitlines()[0]
    # The last frame is where it was raised, in the user's file.
    frames = traceback.extract_tb(cause.__traceback__)
    if cause is error or not frames:
        return text
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def flag_text(value: Any) -> str:
    """A setting as it is typed."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
