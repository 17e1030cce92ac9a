"""Checks of the actions that a world receives, so that a wrong one is refused before it acts."""

import math

import gymnasium as gym
import numpy as np

SHOWN = 4  # values of a refused action in an error


def check_actions(actions: np.ndarray, space: gym.Space) -> None:
    """Raise ValueError where actions [N, *action] hold fractions of a choice, NaN, infinity or no
    numbers at all.

    space: that of one environment. Numbers beyond the bounds of a Box are the world's to clip, as
    in Gymnasium's own worlds.
    """
    kind = actions.dtype.kind
    if isinstance(space, gym.spaces.Discrete):
        check_choices(actions, int(space.n))
    elif kind == "f":
        # One pass over the numbers. It overflows for very large finite ones too, which
        # check_finite then lets pass.
        if not math.isfinite(np.vdot(actions, actions)):
            check_finite(actions)
    elif kind not in "iub":
        raise ValueError(
            f"actions have dtype {actions.dtype}, expected numbers, {space.dtype} as the action "
            "space has it"
        )


def check_choices(actions: np.ndarray, n: int) -> None:
    """Raise ValueError where actions [N] are not integers from 0 to n - 1."""
    if actions.dtype.kind not in "iu":
        raise ValueError(
            f"actions are {shown(actions)} of dtype {actions.dtype}, expected integers from 0 to "
            f"{n - 1}: round, or take the argmax, before the step"
        )
    known = (actions >= 0) & (actions < n)
    if not known.all():
        rows = np.flatnonzero(~known).tolist()
        raise ValueError(
            f"actions are {actions[~known].tolist()} in rows {rows}, expected integers from 0 to "
            f"{n - 1}"
        )


def check_finite(actions: np.ndarray) -> None:
    """Raise ValueError where a row of actions [N, *action] holds NaN or infinity."""
    bad = ~np.isfinite(actions).reshape(len(actions), -1).all(1)
    if not bad.any():
        return
    row = int(bad.argmax())
    fault = "NaN" if np.isnan(actions[row]).any() else "infinite"
    count = int(bad.sum())
    raise ValueError(
        f"action of environment {row} is {fault} ({shown(actions[row])}; {count} of "
        f"{len(actions)} environments), expected finite numbers; the policy that chose it has "
        "probably diverged"
    )


def shown(values: np.ndarray) -> str:
    """The first few values as text."""
    flat = values.ravel().tolist()
    first = ", ".join(str(value) for value in flat[:SHOWN])
    return f"[{first}, …]" if len(flat) > SHOWN else f"[{first}]"
