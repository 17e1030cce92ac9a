"""Learning curves: mean training return against environment steps, one line per kind of run, a band over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bio_rl.metrics import read_rows

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe & Ito 2008: told apart by colour-blind eyes


def read(folder: Path, name: str = "rollout/ep_rew_mean") -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) of one logged quantity of a run."""
    rows = [r for r in read_rows(folder / "metrics.jsonl") if r.get(name) is not None]
    return np.array([r["step"] for r in rows], float), np.array([r[name] for r in rows], float)


def draw(panels: Mapping[str, Mapping[str, Sequence[Path]]], path: Path) -> Path:
    """Write a figure with one panel per title and one line per label: the median over the runs, their range as a band.

    panels: {title: {label: run folders}}. Raises ImportError where matplotlib (the extra `plots`) is missing.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.2), squeeze=False, layout="constrained")
    for axis, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for colour, (label, folders) in zip(COLOURS, lines.items(), strict=False):
            curves = [curve for folder in folders if len((curve := read(folder))[0])]
            if not curves:
                continue
            steps = np.linspace(max(c[0][0] for c in curves), min(c[0][-1] for c in curves), 200)
            values = np.stack([np.interp(steps, *c) for c in curves])
            axis.plot(steps, np.median(values, 0), color=colour, label=label)
            axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.18, linewidth=0)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("environment steps")
        axis.xaxis.set_major_formatter(lambda x, _: f"{x / 1e6:g}M" if x >= 1e6 else f"{x / 1e3:g}k" if x else "0")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=9, loc="upper left")
    axes[0][0].set_ylabel("return of training episodes")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
    return path
