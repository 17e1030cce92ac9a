"""The command line with one fault built in: `python tests/training/faulty_run.py ACTION PHASE AFTER
FILE train.py's arguments`.

At the first moment of PHASE after AFTER steps of training ACTION is done, once, and the number of
steps until then is written to FILE. The phases are start (a world is made), collect, update,
evaluate, save (before a checkpoint takes its place) and saved (after it). Everything but the fault
is as users have it.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

LENGTH = 20
"""Steps of an episode."""
YEAR = 365 * 24 * 3600.0


class Plan:
    """What is to happen when, and what has happened."""

    phase = ""
    after = 0
    file = Path()
    action: Callable[[], None] | None = None
    collected = 0
    """Steps of training in this process."""

    @classmethod
    def reach(cls, phase: str) -> None:
        """A moment of `phase` has come: the action is due, or not."""
        if cls.action is None or phase != cls.phase or cls.collected < cls.after:
            return
        action, cls.action = cls.action, None
        cls.file.write_text(str(cls.collected))
        action()


class World(gym.Env):
    """A world of a user, which tells the plan what is done with it."""

    observation_space, action_space = Box(-9.0, 9.0, (2,), np.float32), Discrete(2)

    def __init__(self) -> None:
        self.t = 0
        Plan.reach("start")

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        if called_from("probe", "factory.py"):
            pass  # the step before a run that finds what a world does wrong is no step of training
        elif called_from("evaluate", "evaluation.py"):
            Plan.reach("evaluate")
        else:
            Plan.collected += 1
            Plan.reach("worker" if multiprocessing.parent_process() is not None else "collect")
        obs = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return obs, float(action), False, self.t >= LENGTH, {}


def called_from(function: str, file: str) -> bool:
    """Whether a function of that name in a file of that name asks for this step."""
    frame = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_name == function and code.co_filename.endswith(file):
            return True
        frame = frame.f_back
    return False


def sends(number: int) -> Callable[[], None]:
    """An action that sends this process a signal."""
    return lambda: os.kill(os.getpid(), number)


def fill_disk() -> None:
    """From now on no file can grow."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def crash() -> None:
    """Raise an error of the world's own."""
    raise RuntimeError("the judge is ill")


def turns_clock(seconds: float) -> Callable[[], None]:
    """An action that sets the clock on, or back."""
    before = time.time

    def turn() -> None:
        time.time = lambda: before() + seconds

    return turn


def delete_run() -> None:
    """Remove the folder of the newest run."""
    from bio_rl.training import runfolder

    shutil.rmtree(runfolder.resolve("latest", Plan.file.parent / "runs"))


def hold() -> None:
    """Wait until somebody writes the file `go` beside the plan's."""
    for _ in range(1200):
        if Plan.file.with_name("go").exists():
            return
        time.sleep(0.05)


ACTIONS = {
    "INT": sends(signal.SIGINT),
    "TERM": sends(signal.SIGTERM),
    "HUP": sends(signal.SIGHUP),
    "KILL": sends(signal.SIGKILL),
    "full": fill_disk,
    "raise": crash,
    "later": turns_clock(YEAR),
    "earlier": turns_clock(-YEAR),
    "delete": delete_run,
    "hold": hold,
    "nothing": lambda: None,
}


def install() -> None:
    """Let updates and saves tell the plan that they happen."""
    backward, replace = torch.Tensor.backward, os.replace

    def told_backward(self: torch.Tensor, *arguments: Any, **named: Any) -> None:
        Plan.reach("update")
        backward(self, *arguments, **named)

    def told_replace(source: Any, target: Any, **named: Any) -> None:
        checkpoint = str(target).endswith(".pt")
        if checkpoint:
            Plan.reach("save")
        replace(source, target, **named)
        if checkpoint:
            Plan.reach("saved")

    torch.Tensor.backward, os.replace = told_backward, told_replace


gym.register("Faulty-v0", entry_point=World, disable_env_checker=True)

if __name__ == "__main__":
    action, Plan.phase, after, file = sys.argv[1:5]
    Plan.action, Plan.after, Plan.file = ACTIONS[action], int(after), Path(file)
    sys.modules["faulty_run"] = sys.modules["__main__"]
    install()
    from bio_rl.__main__ import main

    main(sys.argv[5:])
