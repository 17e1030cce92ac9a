"""What can go wrong between an agent and its world, and whose fault it is."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import gymnasium

_HERE = Path(__file__).parent
NOT_THE_USERS = tuple(
    f"{folder}{os.sep}" for folder in (_HERE, _HERE.parent / "envs", _HERE.parent / "agents", Path(gymnasium.__file__).parent)
)
"""Folders whose code is not a user's own: this project's and Gymnasium's."""


class FaultyEnvironmentError(RuntimeError):
    """An environment returned what its space or Gymnasium's interface does not allow, NaN say; or its worker failed."""


class EnvironmentCrashedError(FaultyEnvironmentError):
    """An environment raised an error of its own, which is this one's cause.

    The cause's traceback shows the user's file and line.
    """


class DivergedError(RuntimeError):
    """Weights, losses or actions became NaN or infinite: the agent diverged, and the world is not to blame."""


def users_traceback(error: EnvironmentCrashedError) -> str:
    """The traceback of what an environment raised, as text; empty where no line of the user's own is in it.

    Such an error is one of form: a constructor that lacks an argument, say. A worker's traceback is in the error's words.
    """
    cause = error.__cause__
    if cause is None or "Traceback" in str(error):
        return ""
    while cause.__context__ is not None and not _has_users_line(cause):
        cause = cause.__context__  # Gymnasium adds words to a TypeError and raises it anew
    return "".join(traceback.format_exception(cause, chain=False)) if _has_users_line(cause) else ""


def _has_users_line(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return any(not frame.filename.startswith(NOT_THE_USERS) for frame in frames)
