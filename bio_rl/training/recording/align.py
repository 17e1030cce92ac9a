"""Events of a recording, and what its values did around them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bio_rl.discovery import suggestion
from bio_rl.training.recording.data import Recording

SHORT = {
    "dopamine": "dopamine/rpe",
    "value": "dopamine/value",
    "eligibility": "plasticity/eligibility",
    "change": "plasticity/change",
}
"""Short forms of reports."""
OF_TICKS = ("input", "spikes/", "membrane/")
"""How the names of what a network reports tick by tick begin."""


class Series(NamedTuple):
    """The values of one name."""

    values: np.ndarray
    """[D, ...], or [D·K, ...] of ticks."""
    late: bool
    """Whether the value of a decision comes at the edge at which it ends."""
    ticks: int = 1
    """Values to a decision."""


def series_names(recording: Recording) -> tuple[str, ...]:
    """The names of all that a recording has, channels apart."""
    ticks = [name for name in recording.probe.records if name.startswith(OF_TICKS)]
    own = ("observations", "actions", "rewards")
    return (*own, *recording.reported, *recording.infos, *ticks)


def series(recording: Recording, name: str) -> Series:
    """The values of a name. Raises ValueError for a name that nothing has."""
    full = SHORT.get(name, name)
    if full in recording.reported:
        # The value is what was expected when the decision was taken; other reports come after it.
        return Series(recording.reported[full], late=full != SHORT["value"])
    if name == "observations":
        return Series(recording.observations, late=False)
    if name == "actions":
        return Series(recording.actions, late=False)
    if name == "rewards":
        return Series(recording.rewards, late=True)
    if name in recording.infos:
        return Series(recording.infos[name], late=True)
    if name in recording.probe.records and name.startswith(OF_TICKS):
        return Series(recording.train(name), False, recording.ticks)
    if name in recording.names.channels:
        channel = recording.names.channels.index(name)
        return Series(recording.observations[:, channel], late=False)
    known = (*series_names(recording), *SHORT, *recording.names.channels)
    raise ValueError(f"the recording has no {name!r}; {suggestion(name, known)}")


def event_names(recording: Recording) -> tuple[str, ...]:
    """The names of events."""
    scalar = [name for name, values in recording.infos.items() if values.ndim == 1]
    own = ("start", "end", "terminated", "truncated", "reward")
    return (*own, *recording.names.channels, *scalar)


def events(recording: Recording, name: str) -> np.ndarray:
    """Edges, in their order, at which something happened. Raises ValueError for a name that nothing
    has.
    """
    # decision d ends at edge d + 1
    at_end = {
        "end": recording.ended,
        "terminated": recording.terminated,
        "truncated": recording.truncated,
        "reward": recording.rewards > 0,
    }
    if name == "start":
        return recording.begins.nonzero()[0]
    if name in at_end:
        return at_end[name].nonzero()[0] + 1
    known = event_names(recording)
    matches = [other for other in known if other == name]
    # a first word stands for all that have it, as "cue" for "cue A" and "cue B"
    matches = matches or [other for other in known if other.startswith(f"{name} ")]
    if not matches:
        raise ValueError(f"the recording has no event {name!r}; {suggestion(name, known)}")
    found = [_rises(recording, series(recording, match)) for match in matches]
    return np.unique(np.concatenate(found))


def _rises(recording: Recording, one: Series) -> np.ndarray:
    """Edges at which a value [D] is above zero and was not, one decision before, in its episode."""
    above = one.values > 0
    before = np.concatenate([[False], above[:-1]])
    # nothing is known of the time before the record, unless an episode begins with it
    if len(before) and not recording.begins[0]:
        before[0] = True
    before[recording.begins] = False
    return (above & ~before).nonzero()[0] + int(one.late)


def around(recording: Recording, name: str, at: np.ndarray, before: int, after: int) -> np.ndarray:
    """[events, (before + after)·K, ...] values of `name` around the edges `at`, K to a decision;
    see `Recording.around`. Raises ValueError for windows without a length.
    """
    if before < 0 or after < 0 or before + after < 1:
        raise ValueError(
            f"before is {before} and after is {after}, expected whole numbers of decisions, "
            "0 or more, that are not both 0"
        )
    one = series(recording, name)
    values = one.values.reshape(len(recording), one.ticks, *one.values.shape[1:])
    edges = np.asarray(at, int).reshape(-1, 1)
    # Of what comes at the end of a decision, the one before an edge belongs to it.
    decisions = edges + np.arange(-before, after) - int(one.late)
    inside = (decisions >= 0) & (decisions < len(recording))
    windows = values[np.where(inside, decisions, 0)].astype(float)
    windows[~inside] = np.nan
    # ticks one after the other
    return windows.reshape(len(edges), -1, *one.values.shape[1:])
