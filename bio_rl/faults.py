"""What can go wrong between an agent and its world, and whose fault it is."""

from __future__ import annotations


class FaultyEnvironmentError(RuntimeError):
    """An environment returned what its space or Gymnasium's interface does not allow, NaN say; or its worker failed."""


class EnvironmentCrashedError(FaultyEnvironmentError):
    """An environment raised an error of its own, which is this one's cause.

    The cause's traceback shows the user's file and line.
    """


class DivergedError(RuntimeError):
    """Weights, losses or actions became NaN or infinite: the agent diverged, and the world is not to blame."""
