"""A recording as a file: .npz with all of it, .csv as tables, .nwb for neuroscience's tools."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np

from bio_rl.machine.files import replacing
from bio_rl.training.commands import expanded
from bio_rl.training.recording.align import OF_TICKS, series
from bio_rl.training.recording.data import TICK, Recording
from bio_rl.training.recording.timeline import unit

SUFFIXES = (".npz", ".csv", ".nwb")


def save(recording: Recording, path: str | Path) -> Path:
    """Write a recording to `path`, which is there, or changes, only when the file is whole.

    Raises ValueError for another ending, for a place where nothing can be written, and for .nwb
    without the extra `nwb`.
    """
    path = check(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _save(recording, path)
    except OSError as error:
        raise ValueError(f"the recording {path} cannot be written: {error}") from error
    return path


def check(path: str | Path) -> Path:
    """The path of a recording to be. Raises ValueError for an ending of another kind of file."""
    path = expanded(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"--save is {path}, expected a file that ends in {', '.join(SUFFIXES)}")
    return path


def _save(recording: Recording, path: Path) -> None:
    if path.suffix == ".csv":
        _write_table(path, decisions(recording))
        _write_table(spikes_path(path), spikes(recording))
    elif path.suffix == ".npz":
        with replacing(path) as file:
            np.savez_compressed(file, **arrays(recording))  # pyright: ignore[reportArgumentType]
    else:
        # Read only where it is asked for: the package is an extra.
        from bio_rl.training.recording import nwb

        nwb.write(recording, path)


def arrays(recording: Recording) -> dict[str, np.ndarray]:
    """All of a recording as arrays by name, without objects: reports and ticks under their own
    names, info/NAME, weights/NAME, both clocks, and as texts the names, the units and, as JSON,
    facts about the run.
    """
    ticks = [name for name in recording.probe.records if name.startswith(OF_TICKS)]
    of_ticks = {name: _small(name, recording.train(name)) for name in ticks}
    named = {
        "observations": recording.observations,
        "actions": recording.actions,
        "rewards": recording.rewards,
        "terminated": recording.terminated,
        "truncated": recording.truncated,
        "begins": recording.begins,
        "episode": recording.episode,
        "network_ms": recording.network_ms,
        "world_s": recording.world_s,
        **recording.reported,
        **{f"info/{name}": values for name, values in recording.infos.items()},
        **of_ticks,
        **{f"weights/{name}": values for name, values in recording.weights.items()},
        "weights_at": recording.weights_at,
        "names/channels": np.array(recording.names.channels, str),
        "names/actions": np.array(recording.names.actions, str),
    }
    units = {"network_ms": "ms", "world_s": "s"}
    units |= {name: unit(name) for name in named if unit(name) != "1"}
    about = {**recording.about, "first": recording.first, "ticks": recording.ticks, "units": units}
    return {**named, "about": np.array(json.dumps(about))}


def _small(name: str, values: np.ndarray) -> np.ndarray:
    """Spikes as bits; where they are graded, and for others, as they are."""
    is_bits = name.startswith("spikes/") and np.isin(values, (0, 1)).all()
    return values.astype(bool) if is_bits else values


# ---------------------------------- tables


def decisions(recording: Recording) -> dict[str, np.ndarray]:
    """The columns of a table with a row for each decision; of the spikes of a layer their number.

    Times are those at which it begins; rewards, infos and dopamine are what it brought.
    """
    count = len(recording)
    columns = {
        "decision": recording.first + np.arange(count),
        "episode": recording.episode,
        "world_s": recording.world_s[:-1],
        "network_ms": recording.network_ms[:-1],
        "begins": recording.begins.astype(int),
        "reward": recording.rewards,
        "terminated": recording.terminated.astype(int),
        "truncated": recording.truncated.astype(int),
    }
    named = zip(recording.names.channels, recording.observations.T, strict=False)
    columns |= {f"obs: {name}": values for name, values in named}
    columns |= _actions(recording)
    columns |= recording.reported
    for name, values in recording.infos.items():
        columns |= _spread(f"info: {name}", values)
    for layer in range(1, recording.layers + 1):
        trains = series(recording, f"spikes/{layer}").values
        columns[f"spikes/{layer}"] = trains.reshape(count, -1).sum(1)
    return columns


def _actions(recording: Recording) -> dict[str, np.ndarray]:
    """A column for each number of an action, and for a choice one with its name beside it."""
    names = recording.names.actions
    size = recording.actions.shape[1]
    if size == len(names) and size > 1:
        return {f"action: {x}": v for x, v in zip(names, recording.actions.T, strict=True)}
    return _spread("action", recording.actions)


def _spread(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """[D, n] as n columns."""
    if values.ndim == 1 or values.shape[1] == 1:
        return {name: values.reshape(len(values))}
    return {f"{name} {i}": column for i, column in enumerate(values.T)}


def spikes(recording: Recording) -> dict[str, np.ndarray]:
    """The columns of a table with a row for each spike."""
    layers, neurons, ticks = [], [], []
    for layer in range(1, recording.layers + 1):
        tick, neuron = recording.train(f"spikes/{layer}").nonzero()
        layers.append(np.full(len(tick), layer))
        neurons.append(neuron)
        ticks.append(tick)
    none = np.zeros(0, int)
    tick = np.concatenate([none, *ticks])
    return {
        "layer": np.concatenate([none, *layers]),
        "neuron": np.concatenate([none, *neurons]),
        "decision": recording.first + tick // recording.ticks,
        "network_ms": TICK * (tick + 1),
    }


def spikes_path(path: Path) -> Path:
    """The table of spikes beside the table of decisions."""
    return path.with_name(f"{path.stem}_spikes{path.suffix}")


def _write_table(path: Path, columns: dict[str, np.ndarray]) -> None:
    with replacing(path) as file:
        # The writer of the standard library wants texts, the file bytes.
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        rows = csv.writer(text)
        rows.writerow(columns)
        rows.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
        text.detach()
