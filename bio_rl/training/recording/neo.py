"""A recording as a `neo.Block`, which Elephant and other tools of electrophysiology take.

Garcia et al. 2014, Front. Neuroinform. 8:10.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bio_rl.training.recording import timeline
from bio_rl.training.recording.align import event_names, events
from bio_rl.training.recording.data import Recording


def block(recording: Recording) -> Any:
    """A block with one segment: a spike train for each neuron, an analog signal for each series,
    events, and an epoch for each episode. Raises ValueError where the extra `neo` is missing.
    """
    try:
        import neo
    except ImportError as error:
        raise ValueError("Neo needs the extra `neo`: pip install 'bio-rl[neo]'") from error
    clock = timeline.clock(recording)
    segment = neo.Segment(name="recording")
    for line in timeline.lines(recording):
        segment.analogsignals.append(_signal(neo, line))
    for layer in range(1, recording.layers + 1):
        for neuron, times in enumerate(timeline.spike_times(recording, layer)):
            where: Any = {"layer": layer, "neuron": neuron}
            stop = len(recording) * clock.dt
            segment.spiketrains.append(neo.SpikeTrain(times, units="s", t_stop=stop, **where))
    for name in event_names(recording):
        times = events(recording, name) * clock.dt
        segment.events.append(neo.Event(times, [name] * len(times), units="s", name=name))
    segment.epochs.append(_episodes(neo, recording, clock.dt))
    whole = neo.Block(name="bio_rl", times=clock.words, **recording.about)
    whole.segments.append(segment)
    return whole


def _signal(neo: Any, line: timeline.Line) -> Any:
    """A series as a signal; its unit is in words, as most are none of physics."""
    import quantities as pq

    values = np.asarray(line.values, float).reshape(len(line.values), -1)
    return neo.AnalogSignal(
        values,
        units="dimensionless",
        t_start=line.start * pq.s,
        sampling_rate=pq.Hz / line.dt,
        name=line.name,
        unit=line.unit,
    )


def _episodes(neo: Any, recording: Recording, dt: float) -> Any:
    """The episodes as epochs."""
    spans = timeline.episodes(recording)
    starts = [first * dt for first, _ in spans]
    lengths = [(last - first) * dt for first, last in spans]
    labels = [f"episode {i}" for i in range(len(spans))]
    return neo.Epoch(starts, lengths, labels, units="s", name="episodes")
