"""Faults between an agent and its world, by whose fault they are."""

from __future__ import annotations

import importlib
import os
import traceback
from pathlib import Path
from types import TracebackType

import gymnasium

_HERE = Path(__file__).parent
NOT_THE_USERS = tuple(
    f"{folder}{os.sep}"
    for folder in (
        _HERE,
        _HERE.parent / "envs",
        _HERE.parent / "agents",
        Path(gymnasium.__file__).parent,
    )
)
"""Folders whose code is not a user's own: this project's and Gymnasium's."""


class FaultyEnvironmentError(RuntimeError):
    """An environment returned what its space or Gymnasium's interface does not allow, NaN say; or
    its worker failed.
    """


class EnvironmentCrashedError(FaultyEnvironmentError):
    """An environment raised an error of its own, which is this one's cause.

    The cause's traceback shows the user's file and line.
    """


class DivergedError(RuntimeError):
    """Weights, losses or actions became NaN or infinite: the agent diverged, and the world is not
    to blame.
    """


class SeedDivergedError(DivergedError):
    """One of several seeds that are trained side by side diverged."""

    def __init__(self, index: int, reason: str) -> None:
        """index: the seed's place among them, from 0."""
        super().__init__(reason)
        self.index = index


def users_traceback(error: EnvironmentCrashedError) -> str:
    """The traceback of what an environment raised, as text, from the first line of the user's own
    on.

    It is empty where there is none: an error of form, a constructor that lacks an argument, say. A
    worker's traceback is in the error's words.
    """
    cause = error.__cause__
    if cause is None or "Traceback" in str(error):
        return ""
    while cause.__context__ is not None and _users_frames(cause) is None:
        cause = cause.__context__  # Gymnasium adds words to a TypeError and raises it anew
    frames = _users_frames(cause)
    return (
        ""
        if frames is None
        else "".join(traceback.format_exception(type(cause), cause, frames, chain=False))
    )


def _users_frames(error: BaseException) -> TracebackType | None:
    """The traceback from its first line on that is the user's own; None where no line is."""
    frames = error.__traceback__
    while frames is not None:
        name = frames.tb_frame.f_code.co_filename
        if not name.startswith((*NOT_THE_USERS, "<frozen ")) and name != importlib.__file__:
            return frames
        frames = frames.tb_next
    return None
