"""Writes the settings of an experiment as a preset, which `--preset FILE` reads."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bio_rl.machine.files import replacing
from bio_rl.training import config, presets
from bio_rl.training.config import Experiment

OF_A_RUN = ("seed", "seeds", "run-dir", "device")
"""Settings that say which run it is, and not how it learns."""


def write(path: Path, found: Experiment, comment: Sequence[str]) -> None:
    """Write a preset that makes an experiment of the usual settings of its task."""
    written = text(found, comment)
    with replacing(path) as file:
        file.write(written.encode())


def text(found: Experiment, comment: Sequence[str]) -> str:
    """The preset of an experiment, in TOML. Raises ValueError for a value that TOML cannot hold."""
    run = found.run
    # The presets that the agent has are beneath: only what differs from them is written.
    plain = config.experiment(run.env, run.agent, run.network)
    section = f"{presets.task(run.env)}/{run.network}"
    lines = [f"# {line}" for line in comment]
    lines += [f"agent = {json.dumps(run.agent)}"]
    pairs = {
        "run": (plain.run, run),
        "agent": (plain.agent, found.agent),
        "network": (plain.network.config, found.network.config),
    }
    for part, (before, after) in pairs.items():
        changed = _changed(before, after)
        if part == "run":
            # Always there: a preset of the usual settings must be no empty one.
            changed["steps"] = run.steps
        if changed:
            lines += ["", f"[{json.dumps(section)}.{part}]"]
            lines += [f"{name} = {_toml(x)}" for name, x in changed.items()]
    return "\n".join(lines) + "\n"


def _changed(before: Any, after: Any) -> dict[str, Any]:
    """The settings in which two configurations of one kind differ, but for those of one run."""
    old = dataclasses.asdict(before)
    kept = (*OF_A_RUN, "run_dir", "env")
    return {
        name: x
        for name, x in dataclasses.asdict(after).items()
        if name not in kept and old[name] != x
    }


def _toml(x: Any) -> str:
    """A value of a setting in TOML, which writes numbers, texts and lists as JSON does."""
    # TOML knows no null, and an infinity is none that a setting accepts.
    if x is None or (isinstance(x, float) and not math.isfinite(x)):
        raise ValueError(f"a preset cannot hold {x}; begin with a setting that has a value")
    return json.dumps(x, ensure_ascii=False)
