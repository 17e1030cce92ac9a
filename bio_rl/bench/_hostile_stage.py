"""The stage of a hostile line: a folder with trained runs, and this process or one of its own."""

from __future__ import annotations

import io
import json
import os
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

import bio_rl
from bio_rl.bench import _hostile_worlds
from bio_rl.bench._hostile_edit import Edit
from bio_rl.bench._hostile_isolation import TooLongError, as_it_was, hear_signals, timed
from bio_rl.training import runfolder

ROOT = Path(bio_rl.__file__).parents[1]
ENVIRONMENT = dict(os.environ)
"""The environment before any line was played in this process."""
MODULES = (
    *("codes", "connections", "discovery", "kernels", "networks", "neurons", "plasticity"),
    *("testing", "vector", "rl.observations", "rl.replay", "machine.ram", "machine.trust"),
    *("training.checkpoint", "training.config", "training.evaluation", "training.metrics"),
    *("training.resilience", "training.runfolder", "training.api"),
)
"""Modules of bio_rl that an expression has under their last names, beside those of `_names`."""
TRAINED = {
    "ppo": "TINY --eval-episodes 2",
    "dqn": "DQN",
    "spiking": "SPIKING",
    "local": "LOCAL",
    "users": "TINY --env users_worlds:Fine-v0",
}
"""{name of the run folder: the flags that train it}: the runs that every line finds in runs/."""
UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""A command under which permissions bind root as they bind everyone."""


class Outcome(NamedTuple):
    """How a line ended."""

    code: int | None
    """Its exit status; None where it had not ended in time."""
    said: str
    """The text that it printed, to either stream."""
    raised: BaseException | None = None
    """The error that a call in Python raised."""


# Folders


def train_runs(stage: Path, words: Callable[[str], str], needed: str) -> None:
    """Write the user's module and the trained runs into `stage`, which every line has a copy of.

    words: puts the long flags in place of short words. needed: a text in which the runs are named
    that somebody asks for; ppo is always there.
    """
    stage.mkdir(parents=True)
    shutil.copy(str(_hostile_worlds.__file__), stage / "users_worlds.py")
    (stage / "runs").mkdir()
    for name, flags in TRAINED.items():
        if name == "ppo" or re.search(rf"\b{name}\b", needed):
            _train_run(stage, name, f"{words(flags)} --run-dir training")
    (stage / "runs" / "latest").symlink_to("ppo")


def _train_run(stage: Path, name: str, flags: str) -> None:
    """Train one run and move it to runs/."""
    done = in_process(stage, flags.split(), seconds=120)
    if done.code != 0:
        raise RuntimeError(f"the run {name} could not be trained for the lines:\n{done.said}")
    trained = runfolder.resolve("latest", stage / "training")
    trained.rename(stage / "runs" / name)
    shutil.rmtree(stage / "training")


def copy(stage: Path, folder: Path, before: str) -> Edit:
    """The stage copied to `folder`, then changed by the statements `before`."""
    shutil.copytree(stage, folder, symlinks=True)
    edit = Edit(folder)
    modules = {"np": np, "torch": torch, "os": os, "json": json}
    exec(before, {**edit.names(), **modules, "folder": folder})
    return edit


def remove(folder: Path) -> None:
    """Remove a line's folder, whatever it did to the permissions in it."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


# Playing in this process


def in_process(folder: Path, arguments: Sequence[str], seconds: float) -> Outcome:
    """Play a command line through `main` in this process."""
    # The command line stands above the benches, so it is found by its name.
    main = pkgutil.resolve_name("bio_rl.__main__:main")
    return _played(folder, lambda: main(list(arguments)), seconds)


def call(folder: Path, expression: str, seconds: float) -> Outcome:
    """Evaluate a Python expression in this process; `raised` is the error that it raised."""
    names = _names()
    raised: list[BaseException] = []

    def play() -> None:
        try:
            print(eval(expression, names))
        except Exception as error:
            raised.append(error)

    outcome = _played(folder, play, seconds)
    return outcome._replace(raised=raised[0] if raised else None)


def _names() -> dict[str, Any]:
    """Everything that an expression finds under a name."""
    names: dict[str, Any] = {"np": np, "torch": torch, "gym": gym, "Path": Path, "bio_rl": bio_rl}
    names["users_worlds"] = _hostile_worlds
    for module in MODULES:
        names[module.rpartition(".")[2]] = pkgutil.resolve_name(f"bio_rl.{module}")
    return names


def _played(folder: Path, play: Callable[[], None], seconds: float) -> Outcome:
    """Run `play` in `folder` with its output caught, its time bounded and its traces removed."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(
        written, encoding="utf-8", errors="backslashreplace", write_through=True
    )
    code: int | None = 0
    with as_it_was(folder), redirect_stdout(stream), redirect_stderr(stream):
        try:
            with timed(seconds):
                play()
        except SystemExit as stop:
            # sys.exit with a text prints it and ends with 1, without anything with 0
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except TooLongError:
            code = None
        except BaseException:
            traceback.print_exc(file=stream)
            code = 1
    stream.flush()
    return Outcome(code, written.getvalue().decode("utf-8", "replace"))


# Playing in a process of its own


def process(folder: Path, command: str, seconds: float, ordinary: bool = False) -> Outcome:
    """Play a line of shell in a real process; `bio` is the command line.

    With `ordinary` permissions bind root too.
    """
    shell = f'set -o pipefail\nbio() {{ "{sys.executable}" -m bio_rl "$@"; }}\n{command}'
    bound = UNPRIVILEGED if ordinary and os.geteuid() == 0 else ()
    running = subprocess.Popen(
        [*bound, "bash", "-c", shell],
        cwd=folder,
        env={**ENVIRONMENT, **_environment(folder)},
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=hear_signals,
    )
    try:
        said, _ = running.communicate(timeout=seconds)
        code: int | None = running.returncode
    except subprocess.TimeoutExpired:
        said = b""
        code = None
    # The whole session, as the line may have started processes that outlive it.
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    if code is None:
        said, _ = running.communicate()
    return Outcome(code, said.decode("utf-8", "replace"))


def _environment(folder: Path) -> dict[str, str]:
    """The variables that differ from this process's."""
    return {
        "PYTHONPATH": str(ROOT),
        "PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
        "HOME": str(folder),
    }
