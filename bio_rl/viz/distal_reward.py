"""The distal reward problem in one picture: the rewarded synapse over an hour, and one reward."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bio_rl.viz.curves import COLOURS, blank, save

BLUE, RED, GREEN, PINK = COLOURS[:4]
GREY = "#777777"


class Zoom(NamedTuple):
    """A few seconds around one reward, at ticks of 1 ms; times in s from its beginning."""

    start: float
    """s, its beginning in the whole run."""
    n1: np.ndarray
    """Times of the spikes of the presynaptic neuron."""
    n2: np.ndarray
    """Times of the spikes of the postsynaptic neuron."""
    pair: float
    """The time at which n2 followed n1."""
    reward: float
    """The time at which that was rewarded."""
    eligibility: np.ndarray
    """[T]"""
    dopamine: np.ndarray
    """[T]"""
    weight: np.ndarray
    """[T] mV"""


def draw(
    rewarded: np.ndarray,
    shuffled: np.ndarray,
    others: np.ndarray,
    zoom: Zoom,
    path: Path,
    w_max: float,
) -> Path:
    """Write the figure.

    rewarded, shuffled: [S, minutes] mV, the synapse in S seeds; others: [S, minutes], the mean of
    the rest. Raises ImportError where matplotlib is missing.
    """
    figure = blank((11, 5.6))
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.2), wspace=0.04)
    lines = {
        "synapse n1→n2, rewarded": (rewarded, BLUE),
        "the same, dopamine shuffled in time": (shuffled, RED),
        "mean of all other synapses": (others, GREY),
    }
    _hour(left.subplots(), lines, w_max)
    _moment(right, zoom)
    return save(figure, path)


def _hour(axis: Any, lines: Mapping[str, tuple[np.ndarray, str]], w_max: float) -> None:
    """Draw the weights over the whole run: {label: (weights [S, minutes], colour)}."""
    first, _ = next(iter(lines.values()))
    seeds, length = first.shape
    # each value is the mean of a minute
    minutes = np.arange(length) + 0.5
    for label, (values, colour) in lines.items():
        axis.plot(minutes, values.T, color=colour, linewidth=0.5, alpha=0.3)
        axis.plot(minutes, np.median(values, 0), color=colour, linewidth=2.2, label=label)
    axis.axhline(w_max, color="black", linewidth=0.8, linestyle=":")
    axis.text(0.0, w_max, "maximum", fontsize=8, va="bottom")
    axis.set(
        xlabel="minutes of model time",
        ylabel="weight, mV",
        xlim=(0, length),
        ylim=(0, 1.08 * w_max),
    )
    axis.set_title(f"One synapse of 80,000 · {seeds} seeds, thick: median", fontsize=10, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(
        frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.0, -0.12), labelspacing=0.3
    )


def _moment(figure: Any, zoom: Zoom) -> None:
    """Draw the spikes, the eligibility, the dopamine and the weight around one reward."""
    axes = figure.subplots(4, 1, sharex=True, height_ratios=(0.8, 1, 1, 1))
    seconds = np.arange(len(zoom.weight)) / 1000.0
    _pairing(axes[0], zoom)
    traces = (
        ("eligibility", zoom.eligibility, GREEN),
        ("dopamine", zoom.dopamine, RED),
        ("weight, mV", zoom.weight, BLUE),
    )
    for axis, (label, values, colour) in zip(axes[1:], traces, strict=True):
        axis.plot(seconds, values, color=colour, linewidth=1.6)
        axis.set_ylabel(label)
    axes[1].axhline(0.0, color="black", linewidth=0.5)
    # both moments run through all panels, so that cause and effect can be read off
    for axis in axes:
        axis.axvline(zoom.pair, color="black", linewidth=0.8, linestyle=":")
        axis.axvline(zoom.reward, color=RED, linewidth=0.8, linestyle=":")
        axis.spines[["top", "right"]].set_visible(False)
    begin = f"{int(zoom.start // 60)} min {zoom.start % 60:.0f} s"
    axes[-1].set(xlabel=f"s, from {begin} on", xlim=(0, seconds[-1]))
    figure.align_ylabels(axes)


def _pairing(axis: Any, zoom: Zoom) -> None:
    """Draw the spikes of both neurons, and name the pairing and its reward above them."""
    axis.eventplot(
        [zoom.n2, zoom.n1], colors=[PINK, BLUE], lineoffsets=[0, 1], linelengths=0.8, linewidths=1.6
    )
    axis.set(yticks=[0, 1], yticklabels=["n2", "n1"], ylim=(-0.6, 1.6), ylabel="spikes")
    gap = zoom.pair - zoom.n1[zoom.n1 < zoom.pair][-1]
    _name(axis, zoom.pair, f"n2 {1000 * gap:.0f} ms after n1", "black")
    _name(axis, zoom.reward, "reward", RED)
    # an empty second line leaves room for the names
    axis.set_title("How one reward finds it\n", fontsize=10, loc="left")


def _name(axis: Any, time: float, label: str, colour: str) -> None:
    """Write a label above a moment."""
    axis.annotate(
        label,
        (time, 1.6),
        fontsize=8,
        color=colour,
        ha="center",
        va="bottom",
        annotation_clip=False,
    )
