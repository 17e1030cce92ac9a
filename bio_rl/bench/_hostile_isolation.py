"""Bounds on a hostile line: its time, its memory, and a process that is as before afterwards."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import torch

from bio_rl.bench import _hostile_worlds
from bio_rl.training import evaluation

ENDLESS = 400
"""Steps after which an evaluation gives up: 100,000 as a user has it take half a minute a line."""
MEMORY = 6 * 2**30
"""Bytes that a line may take beyond what this process has."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


class TooLongError(BaseException):
    """The time of a line is over. No ordinary error, so that no handler takes it for one."""


@contextmanager
def timed(seconds: float) -> Iterator[None]:
    """Raise TooLongError after so many seconds, and every second from then on.

    It is raised again because somebody may have swallowed it.
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
def as_it_was(folder: Path) -> Iterator[None]:
    """Work in `folder`; afterwards this process is as before.

    That is: its modules, worlds, paths, environment, signals, generators and threads.
    """
    with ExitStack() as afterwards:
        _restore_process(afterwards, folder)
        os.chdir(folder)
        sys.path.insert(0, str(folder))  # as `python -m bio_rl` has it
        evaluation.MAX_STEPS = ENDLESS
        _hostile_worlds.OneInstance.open_ones = 0
        # pytest, say, turns warnings into errors; a user has neither
        with warnings.catch_warnings(), _little_memory():
            _usual_warnings()
            warnings.showwarning = _print_warning  # whatever the caller does with warnings
            yield


def _restore_process(afterwards: ExitStack, folder: Path) -> None:
    """Note what this process is now, to be put back afterwards; what is noted last comes first."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            afterwards.callback(signal.signal, number, signal.getsignal(number))
    afterwards.callback(os.chdir, Path.cwd())
    afterwards.callback(torch.set_num_threads, torch.get_num_threads())
    afterwards.callback(random.setstate, random.getstate())
    afterwards.callback(torch.set_rng_state, torch.get_rng_state())
    afterwards.callback(sys.path.__setitem__, slice(None), list(sys.path))
    afterwards.callback(_refill, os.environ, dict(os.environ))
    afterwards.callback(_refill, gym.registry, dict(gym.registry))
    afterwards.callback(_forget_modules, set(sys.modules), folder)
    afterwards.callback(_end_children)
    afterwards.callback(setattr, evaluation, "MAX_STEPS", evaluation.MAX_STEPS)


def _refill(table: Any, before: Mapping[Any, Any]) -> None:
    """Give a table its former entries again."""
    # in place, as others hold it too
    table.clear()
    table.update(before)


def _forget_modules(before: set[str], folder: Path) -> None:
    """Forget the modules that a line has imported from its folder."""
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        # Built-in modules have no file, and what somebody puts into sys.modules may be no module.
        file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        if str(file or "").startswith(str(folder)):
            del sys.modules[name]


def _end_children() -> None:
    """End the processes that a line has left behind."""
    for child in multiprocessing.active_children():
        child.kill()
        child.join()


def _usual_warnings() -> None:
    """Show the warnings that Python shows where nobody has changed its filters."""
    warnings.simplefilter("default")
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)


def _print_warning(
    message: Any, category: type[Warning], filename: str, lineno: int, *where: Any
) -> None:
    """Print a warning as Python does."""
    text = warnings.formatwarning(message, category, filename, lineno)
    print(text, end="", file=sys.stderr)


@contextmanager
def _little_memory() -> Iterator[None]:
    """Bound this process's memory to what it has and what a desktop has beside it.

    A line that asks for more gets a MemoryError, not this machine's last page.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_used_memory() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _used_memory() -> int:
    """Bytes of address space that this process has; 0 where the system does not say."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def hear_signals() -> None:
    """Hear the signals that nohup and background shells hand down as ignored."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
