"""Panels of what a brain met, did and how its neurons answered, for `viz.raster`.

A panel draws on (axis, recording, edges): decision d lasts from edges[d] to edges[d + 1], in ticks.
Names of channels and actions are the world's own; where there are too many rows some are left out,
which the panel says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from bio_rl.training.recording import Recording
from bio_rl.viz import dopamine
from bio_rl.viz.curves import COLOURS
from bio_rl.viz.dopamine import Panel

MEMBRANES = 4
"""Neurons whose membrane is drawn: those of the last layer that fire most."""
CROWDED = 800
"""Ticks from which on half as many are drawn, in thinner lines."""
ROWS = 128
"""Rows of a panel at most: more would be a black rectangle."""
LABELS = 20
"""Names beside a panel at most."""
LINES = 3
"""Numbers of an action that are drawn as lines; more are rows of their own."""
CHANGED = 6
"""Weights that are drawn: those that changed most."""
TRACES = 2
"""Tensors of weights that are drawn at most."""


def of_brain(recording: Recording) -> list[Panel]:
    """Panels of observations, input, the spikes of each layer and the membranes of the last one.

    Only what the recording has gets one.
    """
    records = recording.probe.records
    panels: list[Panel] = []
    if recording.observations.size:
        # in inches, so that the names beside it can be read
        rows = min(recording.observations.shape[1], LABELS)
        panels.append((max(0.5, 0.14 * rows), observations))
    if "input" in records and recording.layers:
        panels.append((1.2, inputs))
    for depth in range(1, recording.layers + 1):
        panels.append((2.2, partial(spikes, depth=depth)))
    if f"membrane/{recording.layers}" in records:
        panels.append((1.4, membranes))
    return panels


def of_body(recording: Recording) -> list[Panel]:
    """Panels of the actions, as the world received them, and of the rewards."""
    names = recording.names.actions
    rows = min(len(names), LABELS) if len(names) > LINES else 4
    height = max(0.9, 0.16 * rows)
    return [(height, actions), (0.8, rewards)]


def of_weights(recording: Recording) -> list[Panel]:
    """Panels of the weights that learning changed; none where it did not learn."""
    moved = {name: float(np.ptp(x, axis=0).max()) for name, x in recording.weights.items()}
    most = sorted(moved, key=lambda name: -moved[name])[:TRACES]
    return [(1.2, partial(weights, name=name)) for name in most if moved[name] > 0]


def observations(axis: Any, recording: Recording, edges: np.ndarray) -> None:
    """Draw each channel as a row, white at its least and black at its most."""
    values = recording.observations
    kept = thinned(values.shape[1])
    shown = values[:, kept]
    low = shown.min(0)
    # a channel that never changes is white
    reach = np.where(np.ptp(shown, axis=0) > 0, np.ptp(shown, axis=0), 1.0)
    heat(axis, ((shown - low) / reach).T, edges, cmap="Greys", vmin=0.0, vmax=1.0)
    axis.set_ylabel("observation")
    name_rows(axis, [recording.names.channels[i] for i in kept] if _named(recording) else [])
    note(axis, f"each from its least (white) to its most (black){left_out(values.shape[1])}")


def _named(recording: Recording) -> bool:
    """Whether each channel of the recording has a name."""
    return len(recording.names.channels) == recording.observations.shape[1]


def inputs(axis: Any, recording: Recording, edges: np.ndarray) -> None:
    """Draw the input of every cell in grey: the observation in the network's code."""
    values = recording.train("input")
    shown = values[:, thinned(values.shape[1])]
    heat(axis, shown.T, edges, cmap="Greys")
    axis.set_yticks([])
    axis.set_ylabel("input\ncells")
    note(axis, f"the observation in {values.shape[1]} cells{left_out(values.shape[1])}")


def spikes(axis: Any, recording: Recording, edges: np.ndarray, depth: int) -> None:
    """Draw a mark for every spike, at the end of its tick."""
    train = recording.train(f"spikes/{depth}")
    count = train.shape[1]
    kept = thinned(count)
    ticks, rows = train[:, kept].nonzero()
    axis.scatter(ticks + 1, kept[rows], s=4, marker="|", linewidths=0.8, color="black")
    axis.set_ylim(-1, count)
    axis.set_ylabel(f"neuron,\nlayer {depth}")
    note(axis, f"{train.mean():.0%} of {count} neurons fire in a tick{left_out(count)}")


def membranes(axis: Any, recording: Recording, edges: np.ndarray) -> None:
    """Draw the potentials of the neurons that fire most, with their spikes as dots above."""
    potentials = recording.train(f"membrane/{recording.layers}")
    train = recording.train(f"spikes/{recording.layers}")
    top = max(float(potentials.max()), 0.0) + 0.05 * float(np.ptp(potentials))
    crowded = len(potentials) > CROWDED
    count = MEMBRANES // 2 if crowded else MEMBRANES
    width = 0.5 if crowded else 0.9
    # a potential is that after its tick
    times = np.arange(1, len(potentials) + 1)
    # the most active cells first
    cells = np.argsort(-train.sum(0))[:count]
    for colour, cell in zip(COLOURS, cells, strict=False):
        label = f"neuron {cell}"
        axis.plot(times, potentials[:, cell], color=colour, linewidth=width, label=label)
        fired = train[:, cell].nonzero()[0] + 1
        axis.plot(fired, np.full(len(fired), top), ".", color=colour, markersize=3)
    axis.set_ylabel("membrane")
    dopamine.legend(axis, MEMBRANES)


def actions(axis: Any, recording: Recording, edges: np.ndarray) -> None:
    """Draw what was done, as the world received it: a choice, a few lines, or a row each."""
    values = recording.actions
    names = recording.names.actions
    axis.set_ylabel("action")
    if values.shape[1] == 1 and len(names) > 1:
        _choices(axis, values[:, 0], edges, names)
    elif values.shape[1] <= LINES:
        _lines(axis, values, edges, names)
    else:
        _rows(axis, values, edges, names)


def _choices(axis: Any, chosen: np.ndarray, edges: np.ndarray, names: Sequence[str]) -> None:
    """Draw a bar in the row of each choice."""
    axis.hlines(chosen, edges[:-1], edges[1:], color="black", linewidth=4)
    # a space may begin to count elsewhere than at zero, which its names would not tell
    if chosen.min() >= 0 and chosen.max() < len(names):
        every = thinned(len(names), LABELS)
        axis.set_yticks(every, [names[i] for i in every], fontsize=7)
        axis.set_ylim(len(names) - 0.4, -0.6)


def _lines(axis: Any, values: np.ndarray, edges: np.ndarray, names: Sequence[str]) -> None:
    """Draw a line for each number of the actions."""
    labels = names if len(names) == values.shape[1] else [""] * values.shape[1]
    for x, colour, label in zip(values.T, COLOURS, labels, strict=False):
        axis.stairs(x, edges, baseline=None, color=colour, linewidth=1.0, label=label)
    if any(labels):
        dopamine.legend(axis, LINES)


def _rows(axis: Any, values: np.ndarray, edges: np.ndarray, names: Sequence[str]) -> None:
    """Draw a row for each number of the actions, red above zero and blue below."""
    most = float(np.abs(values).max()) or 1.0
    kept = thinned(values.shape[1])
    heat(axis, values[:, kept].T, edges, cmap="RdBu_r", vmin=-most, vmax=most)
    name_rows(axis, [names[i] for i in kept] if len(names) == values.shape[1] else [])
    note(axis, f"red {most:.2g}, white 0, blue {-most:.2g}{left_out(values.shape[1])}")


def rewards(axis: Any, recording: Recording, edges: np.ndarray) -> None:
    """Draw the rewards."""
    axis.stairs(recording.rewards, edges, baseline=None, color="black", linewidth=1.0)
    axis.set_ylabel("reward")


def weights(axis: Any, recording: Recording, edges: np.ndarray, name: str) -> None:
    """Draw how the weights that changed most did so, from what they were at first."""
    # [S, weights] at S edges
    values = recording.weights[name]
    flat = values.reshape(len(values), -1)
    moved = np.ptp(flat, axis=0)
    times = edges[recording.weights_at]
    for colour, i in zip(COLOURS, np.argsort(-moved)[:CHANGED], strict=False):
        place = np.unravel_index(i, values.shape[1:])
        label = "[" + ", ".join(map(str, place)) + "]"
        # a weight stays what it is from one decision to the next
        change = flat[:, i] - flat[0, i]
        axis.step(times, change, where="post", color=colour, linewidth=1.1, label=label)
    axis.axhline(0.0, color="black", linewidth=0.5)
    axis.set_ylabel("weights\nw - w₀")
    # the names of the weights stand at the right
    axis.set_title(f"{name}: those of {flat.shape[1]} that change most", loc="left", fontsize=8)
    dopamine.legend(axis, CHANGED)


# ---------------------------------- rows, their names and notes


def thinned(count: int, most: int = ROWS) -> np.ndarray:
    """Numbers of the rows that are drawn: every so many, so that there are no more than `most`."""
    return np.arange(0, count, every(count, most))


def every(count: int, most: int = ROWS) -> int:
    """The step from one row that is drawn to the next."""
    return max(1, math.ceil(count / most))


def left_out(count: int) -> str:
    """The words for rows that are not drawn; "" where all are."""
    step = every(count)
    return "" if step == 1 else f"; 1 in {step} of {count} drawn"


def heat(axis: Any, values: np.ndarray, edges: np.ndarray, **settings: Any) -> None:
    """Draw values [rows, D or ticks] as shades over the time that they cover."""
    axis.imshow(
        values,
        aspect="auto",
        interpolation="nearest",
        extent=(edges[0], edges[-1], len(values) - 0.5, -0.5),
        **settings,
    )


def name_rows(axis: Any, names: Sequence[str]) -> None:
    """Write names beside the rows of a panel, some of them where there are too many."""
    if not names:
        return
    kept = thinned(len(names), LABELS)
    axis.set_yticks(kept, [names[i] for i in kept], fontsize=7)


def note(axis: Any, text: str) -> None:
    """Write a few words above a panel, at its right."""
    place = {"transform": axis.transAxes, "ha": "right", "va": "bottom"}
    axis.text(1.0, 1.01, text, fontsize=7, color="#444444", **place)
