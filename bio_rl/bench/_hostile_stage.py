"""Where a hostile line is played: a folder of its own with trained runs in it, and this process as
it was before it.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

import bio_rl
from bio_rl.bench import _hostile_worlds
from bio_rl.training import checkpoint, evaluation

ROOT = Path(bio_rl.__file__).parents[1]
ENVIRONMENT = dict(os.environ)
"""Before any line was played in this process."""
ENDLESS = 400
"""Steps after which an evaluation gives up; as a user has it, 100,000 of them would take half a
minute a line.
"""
MEMORY = 6 * 2**30
"""Bytes that a line may take beyond what this process has."""
MODULES = (
    *("codes", "connections", "discovery", "kernels", "networks", "neurons", "plasticity"),
    *("testing", "vector", "rl.observations", "rl.replay", "machine.ram", "machine.trust"),
    *("training.checkpoint", "training.config", "training.evaluation", "training.metrics"),
    *("training.resilience", "training.runfolder", "training.api"),
)
"""What an expression finds under its name, beside bio_rl, np, torch, gym, Path and users_worlds."""
TRAINED = {
    "ppo": "TINY --eval-episodes 2",
    "dqn": "DQN",
    "spiking": "SPIKING",
    "local": "--agent three_factor --env CartPole-v1 --steps 64 --num-envs 2 --eval-episodes 0 --checkpoints 2",
    "users": "TINY --env users_worlds:Fine-v0",
}
"""{name of the run folder: the flags that train it}: the runs that every line finds in runs/."""


class Outcome(NamedTuple):
    """How a line ended."""

    code: int | None
    """Its exit status; None where it had not ended in time."""
    said: str
    """What it printed, to either stream."""
    raised: BaseException | None = None
    """What a call in Python raised."""


class TooLongError(BaseException):
    """The time of a line is over. No ordinary error, so that no handler takes it for one."""


class Edit:
    """What a line may do to its folder before it is played; paths are relative to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> dict[str, Callable[..., None]]:
        """The functions, by the names that the lines use."""
        public = (
            "write",
            "remove",
            "link",
            "config",
            "unset",
            "tree",
            "plain",
            "mode",
            "directory",
            "move",
        )
        return {name: getattr(self, name) for name in public}

    def write(self, path: str, content: str | bytes = b"") -> None:
        """Put `content` in place of the file."""
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        self.remove(path)
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(data)

    def remove(self, path: str) -> None:
        """Remove a file, a link or a folder, if it is there."""
        target = self.folder / path
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def move(self, path: str, to: str) -> None:
        """Rename a file or a folder."""
        (self.folder / path).rename(self.folder / to)

    def directory(self, path: str) -> None:
        """Put an empty folder in place of the file."""
        self.remove(path)
        (self.folder / path).mkdir(parents=True)

    def link(self, path: str, target: str) -> None:
        """Put a symlink in place of the file."""
        self.remove(path)
        (self.folder / path).symlink_to(target)

    def mode(self, path: str, bits: int) -> None:
        """Change the permissions."""
        (self.folder / path).chmod(bits)

    def config(self, where: str, value: Any, run: str = "ppo") -> None:
        """Set `run.steps`, say, in the run's config.json; an empty `where` stands for all of it."""
        self._configure(where, run, lambda at, key: at.__setitem__(key, value))

    def unset(self, where: str, run: str = "ppo") -> None:
        """Delete a field from the run's config.json."""
        self._configure(where, run, lambda at, key: at.__delitem__(key))

    def _configure(self, where: str, run: str, change: Callable[[Any, str], None]) -> None:
        path = self.folder / "runs" / run / "config.json"
        whole = {"": json.loads(path.read_text())}
        change(*_find(whole, ["", *where.split(".")] if where else [""]))
        path.write_text(json.dumps(whole[""]))

    def tree(self, where: str, value: Any, run: str = "ppo") -> None:
        """Set `agent/net.0.weight`, say, in every checkpoint of the run; "DELETE" deletes the
        entry.
        """
        for path in (self.folder / "runs" / run / "checkpoints").glob("*.pt"):
            whole = {"": checkpoint.load(path)}
            at, key = _find(whole, ["", *where.split("/")] if where else [""])
            if isinstance(value, str) and value == "DELETE":
                del at[key]
            else:
                at[key] = value
            whole = {"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "tree": whole[""]}
            torch.save(whole, path)

    def plain(self, path: str, value: Any) -> None:
        """Write `value` with torch.save, and nothing of ours around it."""
        torch.save(value, self.folder / path)


def _find(whole: Any, keys: Sequence[str]) -> tuple[Any, Any]:
    """The container and the key of the entry that `keys` lead to; lists are indexed by numbers."""
    for key in keys[:-1]:
        whole = whole[int(key)] if isinstance(whole, list | tuple) else whole[key]
    return whole, keys[-1]


def train_runs(stage: Path, words: Callable[[str], str], needed: str) -> None:
    """Write the user's module and the trained runs into `stage`, from which every line's folder is
    copied.

    needed: a text in which the runs are named that somebody asks for; ppo is always there.
    """
    stage.mkdir(parents=True)
    shutil.copy(str(_hostile_worlds.__file__), stage / "users_worlds.py")
    for name in [name for name in TRAINED if name == "ppo" or re.search(rf"\b{name}\b", needed)]:
        flags = TRAINED[name]
        done = in_process(stage, f"{words(flags)} --run-dir training".split(), seconds=120)
        if done.code != 0:
            raise RuntimeError(f"the run {name} could not be trained for the lines:\n{done.said}")
        made = (stage / "training" / "latest").resolve()
        (stage / "runs").mkdir(exist_ok=True)
        made.rename(stage / "runs" / name)
        shutil.rmtree(stage / "training")
    (stage / "runs" / "latest").symlink_to("ppo")


def copy(stage: Path, folder: Path, before: str) -> Edit:
    """The stage copied to `folder`, then changed by the statements `before`."""
    shutil.copytree(stage, folder, symlinks=True)
    edit = Edit(folder)
    exec(
        before, {**edit.names(), "np": np, "torch": torch, "folder": folder, "os": os, "json": json}
    )
    return edit


def in_process(folder: Path, arguments: Sequence[str], seconds: float) -> Outcome:
    """Play a command line through `main` in this process."""
    main = pkgutil.resolve_name(
        "bio_rl.__main__:main"
    )  # by name: the command line stands above the benches
    return _played(folder, lambda: main(list(arguments)), seconds)


def call(folder: Path, expression: str, seconds: float) -> Outcome:
    """Evaluate a Python expression in this process; `raised` is what it raised."""
    names: dict[str, Any] = {"np": np, "torch": torch, "gym": gym, "Path": Path, "bio_rl": bio_rl}
    names["users_worlds"] = _hostile_worlds
    for module in MODULES:
        names[module.rpartition(".")[2]] = pkgutil.resolve_name(f"bio_rl.{module}")
    raised: list[BaseException] = []

    def play() -> None:
        try:
            print(eval(expression, names))
        except Exception as error:
            raised.append(error)

    done = _played(folder, play, seconds)
    return done._replace(raised=raised[0] if raised else None)


def _played(folder: Path, play: Callable[[], None], seconds: float) -> Outcome:
    """Run `play` in `folder` with its output caught, its time bounded and its traces removed."""
    stream = io.TextIOWrapper(
        io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True
    )
    code: int | None = 0
    with _as_it_was(folder), redirect_stdout(stream), redirect_stderr(stream):
        try:
            with _timed(seconds):
                play()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except TooLongError:
            code = None
        except BaseException:
            traceback.print_exc(file=stream)
            code = 1
    stream.flush()
    return Outcome(code, stream.buffer.getvalue().decode("utf-8", "replace"))  # type: ignore[attr-defined]


@contextmanager
def _timed(seconds: float) -> Iterator[None]:
    """Raise TooLongError after so many seconds, and again every second in case somebody swallowed
    it.
    """

    def over(signum: int, frame: Any) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _as_it_was(folder: Path) -> Iterator[None]:
    """Work in `folder`; afterwards this process is as before: modules, worlds, paths, signals,
    generators, threads.
    """
    here, environment, path = Path.cwd(), dict(os.environ), list(sys.path)
    modules, registry = set(sys.modules), dict(gym.registry)
    handlers = {
        s: signal.getsignal(s)
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
    }
    state, legacy, threads = torch.get_rng_state(), random.getstate(), torch.get_num_threads()
    longest = evaluation.MAX_STEPS
    os.chdir(folder)
    sys.path.insert(0, str(folder))  # as `python -m bio_rl` has it
    evaluation.MAX_STEPS = ENDLESS
    _hostile_worlds.OneInstance.open_ones = 0
    try:
        with warnings.catch_warnings(), _little_memory():
            _usual_warnings()
            warnings.showwarning = _print_warning  # whatever the caller does with warnings
            yield
    finally:
        evaluation.MAX_STEPS = longest
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]
        gym.registry.clear()
        gym.registry.update(registry)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = path
        torch.set_rng_state(state)
        random.setstate(legacy)
        torch.set_num_threads(threads)
        os.chdir(here)
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _usual_warnings() -> None:
    """Show the warnings that Python shows where nobody has changed its filters."""
    warnings.simplefilter("default")
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)


def _print_warning(
    message: Any, category: type[Warning], filename: str, lineno: int, *where: Any
) -> None:
    """Print a warning as Python does."""
    print(warnings.formatwarning(message, category, filename, lineno), end="", file=sys.stderr)


@contextmanager
def _little_memory() -> Iterator[None]:
    """A line that asks for more memory than a desktop has gets a MemoryError, not this machine's
    last page.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = 0
    with suppress(OSError):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _hears_signals() -> None:
    """Undo what nohup and background shells hand down: a process that ignores the signals it is to
    be sent.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def process(folder: Path, command: str, seconds: float, ordinary: bool = False) -> Outcome:
    """Play a line of shell in a real process; `bio` is the command line. With `ordinary`
    permissions bind root too.
    """
    shell = f'set -o pipefail\nbio() {{ "{sys.executable}" -m bio_rl "$@"; }}\n{command}'
    own = {
        "PYTHONPATH": str(ROOT),
        "PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
        "HOME": str(folder),
    }
    bound = (
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        if ordinary and os.geteuid() == 0
        else []
    )
    running = subprocess.Popen(
        [*bound, "bash", "-c", shell], cwd=folder, env={**ENVIRONMENT, **own}, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=_hears_signals,
    )  # fmt: skip
    try:
        said, _ = running.communicate(timeout=seconds)
        code: int | None = running.returncode
    except subprocess.TimeoutExpired:
        code, said = None, b""
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    if code is None:
        said, _ = running.communicate()
    return Outcome(code, said.decode("utf-8", "replace"))


def remove(folder: Path) -> None:
    """Remove a line's folder, whatever it did to the permissions in it."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
