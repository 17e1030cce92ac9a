"""A recording on one time axis in seconds, for file formats that have no other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bio_rl.training.recording.align import series, series_names
from bio_rl.training.recording.data import TICK, Recording

UNITS = {
    "rewards": "reward",
    "dopamine": "reward",
    "membrane": "in units in which the threshold of the neurons is given",
    "plasticity": "1",
}
"""Units by the first part of a name; "1" for what has none, or one that its world alone knows."""


class Clock(NamedTuple):
    """The seconds of the time axis."""

    dt: float
    """s of a decision."""
    words: str
    """The kind of time that these seconds are."""


class Line(NamedTuple):
    """One series on the time axis."""

    name: str
    values: np.ndarray
    """[T] or [T, n]."""
    start: float
    """s of the first value."""
    dt: float
    """s from one value to the next."""
    unit: str


def clock(recording: Recording) -> Clock:
    """The world's time where it knows one, else the network's, else a second a decision."""
    if recording.names.dt is not None:
        return Clock(recording.names.dt, "seconds of the world's time")
    if recording.layers:
        return Clock(recording.ticks * TICK / 1000, "seconds of the network's own time")
    return Clock(1.0, "decisions: neither the world nor the network knows a time")


def unit(name: str) -> str:
    """The unit of a series."""
    return UNITS.get(name.partition("/")[0], "1")


def lines(recording: Recording) -> Iterator[Line]:
    """All series but the spikes, which have times of their own; observations without channels are
    left out.
    """
    dt = clock(recording).dt
    for name in series_names(recording):
        one = series(recording, name)
        if name.startswith("spikes/") or not one.values.size:
            continue
        tick = dt / one.ticks
        # A membrane is that at the end of its tick, as a spike is.
        start = dt if one.late else (tick if one.ticks > 1 else 0.0)
        yield Line(name, one.values, start, tick, unit(name))


def spike_times(recording: Recording, layer: int) -> list[np.ndarray]:
    """s at which each neuron of a layer fired, from 1 on: the ends of its ticks."""
    spikes = recording.train(f"spikes/{layer}")
    tick = clock(recording).dt / recording.ticks
    return [(train.nonzero()[0] + 1) * tick for train in spikes.T]


def episodes(recording: Recording) -> list[tuple[int, int]]:
    """(first edge, last edge) of each episode, or of what is recorded of it."""
    ends = [*(recording.ended.nonzero()[0] + 1), len(recording)]
    # an episode may end with the record
    edges = [0, *dict.fromkeys(map(int, ends))]
    return list(pairwise(edges))
