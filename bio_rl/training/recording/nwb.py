"""A recording as a file of Neurodata Without Borders, which the tools of neuroscience read.

Episodes are trials, neurons are units with a `layer` and a `neuron`, all else is a TimeSeries.
Rübel et al. 2022, eLife 11:e78362.
"""

from __future__ import annotations

import io
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bio_rl.machine.files import replacing
from bio_rl.training.recording import timeline
from bio_rl.training.recording.align import event_names, events
from bio_rl.training.recording.data import Recording
from bio_rl.training.recording.timeline import Line

OF_WORLD = ("observations", "actions", "rewards")
"""Series that stand among what was acquired; others were worked out by the brain."""


def write(recording: Recording, path: Path) -> None:
    """Write a recording. Raises ValueError where the extra `nwb` is missing, and OSError."""
    try:
        import h5py
        import pynwb
    except ImportError as error:
        raise ValueError("NWB needs the extra `nwb`: pip install 'bio-rl[nwb]'") from error
    session = _session(pynwb, recording)
    _add_trials(session, recording)
    _add_units(session, recording)
    for line in timeline.lines(recording):
        _add(session, _series(pynwb, recording, line), line.name)
    _add_events(pynwb, session, recording)
    _add_weights(pynwb, session, recording)
    # HDF5 reads what it writes, which a file that will replace another does not allow.
    whole = io.BytesIO()
    with h5py.File(whole, "w") as hdf5:
        output: Any = pynwb.NWBHDF5IO(file=hdf5, mode="w")
        output.write(session)
    with replacing(path) as file:
        file.write(whole.getbuffer())


def _session(pynwb: Any, recording: Recording) -> Any:
    """The file as it is before anything is in it."""
    about = dict(recording.about)
    words = timeline.clock(recording).words
    session = pynwb.NWBFile(
        session_description=f"{about.get('agent', 'an agent')} in {about.get('env', 'a world')}, "
        "simulated by bio_rl",
        identifier=str(uuid.uuid4()),
        session_start_time=datetime.now(UTC),
        keywords=[str(about[key]) for key in ("env", "agent", "network") if key in about],
        notes=json.dumps({**about, "first": recording.first, "times": words}),
    )
    session.create_processing_module("brain", "What the network and its learning report")
    return session


def _add(session: Any, series: Any, name: str) -> None:
    """Put a series among what was acquired, or what was worked out from it."""
    if name in OF_WORLD:
        session.add_acquisition(series)
    else:
        session.processing["brain"].add(series)


def _series(pynwb: Any, recording: Recording, line: Line) -> Any:
    """A line as a TimeSeries; its comment names its columns where they have names."""
    names = {"observations": recording.names.channels, "actions": recording.names.actions}
    comment = json.dumps(names[line.name]) if line.name in names else "no comments"
    return pynwb.TimeSeries(
        name=plain(line.name),
        data=line.values,
        unit=line.unit,
        starting_time=line.start,
        rate=1.0 / line.dt,
        description=line.name,
        comments=comment,
    )


def _add_trials(session: Any, recording: Recording) -> None:
    """Add each episode, or what is recorded of it, as a trial."""
    dt = timeline.clock(recording).dt
    session.add_trial_column("total_reward", "Sum of the rewards that were recorded of it")
    session.add_trial_column("terminated", "Whether it ended by itself")
    session.add_trial_column("truncated", "Whether a time limit cut it")
    for first, last in timeline.episodes(recording):
        session.add_trial(
            start_time=first * dt,
            stop_time=last * dt,
            total_reward=float(recording.rewards[first:last].sum()),
            terminated=bool(recording.terminated[last - 1]),
            truncated=bool(recording.truncated[last - 1]),
        )


def _add_units(session: Any, recording: Recording) -> None:
    """Add each neuron as a unit with the times of its spikes."""
    if not recording.layers:
        return
    session.add_unit_column("layer", "Its layer, from 1 on")
    session.add_unit_column("neuron", "Its place in the layer, from 0 on")
    whole = [[0.0, len(recording) * timeline.clock(recording).dt]]
    for layer in range(1, recording.layers + 1):
        for neuron, times in enumerate(timeline.spike_times(recording, layer)):
            session.add_unit(spike_times=times, obs_intervals=whole, layer=layer, neuron=neuron)


def _add_events(pynwb: Any, session: Any, recording: Recording) -> None:
    """Add the events of all names in the order of their times."""
    dt = timeline.clock(recording).dt
    happened = [(int(e), name) for name in event_names(recording) for e in events(recording, name)]
    table = pynwb.epoch.TimeIntervals(
        name="events",
        description="Ends of episodes, rewards, and channels and infos that rise above zero",
    )
    table.add_column("event", "Its name")
    # Moments are intervals without a length: tables of events are younger than most tools.
    for edge, name in sorted(happened):
        table.add_interval(start_time=edge * dt, stop_time=edge * dt, event=name)
    session.add_time_intervals(table)


def _add_weights(pynwb: Any, session: Any, recording: Recording) -> None:
    """Add the weights that learning changed, and the network's clock."""
    dt = timeline.clock(recording).dt
    brain = session.processing["brain"]
    for name, values in recording.weights.items():
        times = recording.weights_at * dt
        at = {"timestamps": times, "unit": "1", "description": name}
        brain.add(pynwb.TimeSeries(name=f"weights_{plain(name)}", data=values, **at))
    edges = np.arange(len(recording) + 1) * dt
    at = {"timestamps": edges, "unit": "ms", "description": "The network's own time"}
    brain.add(pynwb.TimeSeries(name="network_ms", data=recording.network_ms, **at))


def plain(name: str) -> str:
    """A name that the format allows: it has no path in it."""
    return name.replace("/", "_").replace(":", "_")
