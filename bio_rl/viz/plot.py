"""`train.py plot`: which runs are one curve, and what tells the curves apart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bio_rl import discovery
from bio_rl.machine.files import printable
from bio_rl.training import config, runfolder
from bio_rl.training.metrics import read_rows
from bio_rl.viz import curves

SUFFIXES = (".png", ".svg", ".pdf")
SEEDLIKE = ("env", "seed", "run-dir", "device", "workers", "checkpoints", "eval-episodes")
"""Settings that do not make another curve: the environment makes another panel, the rest changes no
learning.
"""


class Kind(NamedTuple):
    """What the runs of one curve have in common."""

    env: str
    agent: str
    network: str
    settings: tuple[tuple[str, str], ...]
    """All others but those of SEEDLIKE, under the names of their flags, with their values as text."""


def draw(runs: Sequence[str], run_dir: Path, out: Path | None, key: str = curves.RETURN) -> Path:
    """Write the learning curves of `runs` and return the path: `out`, or learning_curves.png in the
    folder of them all.

    Raises ValueError for an unknown run, a quantity that none of them has logged, another kind of
    file, or where the extra `plots` is missing.
    """
    if out is not None and out.suffix not in SUFFIXES:
        raise ValueError(f"--out is {out}, expected a file that ends in {', '.join(SUFFIXES)}")
    folders = logged(find(runs, run_dir), key)
    out = out or Path(os.path.commonpath(folders)) / "learning_curves.png"
    try:
        return curves.draw(panels(folders), out, key)
    except ImportError as error:
        raise ValueError(str(error)) from error


def find(runs: Sequence[str], run_dir: Path) -> list[Path]:
    """Run folders, each once, in the order given: those named, and for a parent folder the runs in
    it, by name.
    """
    found: list[Path] = []
    for run in runs:
        parent = next((p for p in (run_dir / run, Path(run)) if runfolder.runs(p)), None)
        found += sorted(runfolder.runs(parent)) if parent else [runfolder.resolve(run, run_dir)]
    return list({folder.resolve(): folder for folder in found}.values())


def logged(folders: Sequence[Path], key: str) -> list[Path]:
    """The runs that have logged `key`; says which have not. Raises ValueError with the nearest keys
    where none has.
    """
    kept = [folder for folder in folders if len(curves.read(folder, key)[0])]
    if not kept:
        known = {
            printable(name)
            for folder in folders
            for row in read_rows(folder / "metrics.jsonl")
            for name in row
        }
        known -= {"step", "time"}
        if not known:
            raise ValueError(f"nothing is logged yet in {', '.join(map(printable, folders))}")
        raise ValueError(f"no run has logged {key!r}; {discovery.suggestion(key, known)}")
    for folder in folders:
        if folder not in kept:
            print(f"{printable(folder.name)} is left out: it has not logged {key}")
    return kept


def panels(folders: Sequence[Path]) -> dict[str, dict[str, list[Path]]]:
    """{environment: {label: runs of one kind}}; a label says in what its curve differs from the
    others of its panel.

    A run of another version, whose settings this one cannot read, is left out, and that is said.
    Raises ValueError when none is left.
    """
    kinds: dict[Kind, list[Path]] = {}
    faults = []
    for folder in folders:
        try:
            kinds.setdefault(kind(folder), []).append(folder)
        except ValueError as error:
            faults.append(f"{printable(folder.name)} is left out: {error}")
    if not kinds:
        raise ValueError("; ".join(faults))
    for fault in faults:
        print(fault)
    found: dict[str, dict[str, list[Path]]] = {}
    for env in dict.fromkeys(k.env for k in kinds):
        mine = [k for k in kinds if k.env == env]
        found[env] = {text: kinds[k] for text, k in zip(labels(mine), mine, strict=True)}
    return found


def kind(folder: Path) -> Kind:
    """Of a run, from its config.json. Raises ValueError where that cannot be read."""
    experiment = config.read(folder)
    run = experiment.run
    settings = tuple(
        (name, str(value)) for name, value in experiment.settings().items() if name not in SEEDLIKE
    )
    return Kind(run.env.removeprefix("bio_rl/"), run.agent, run.network, settings)


def labels(kinds: Sequence[Kind]) -> list[str]:
    """ "ppo spiking, ticks 8": agent and network, and what the curves of the same two do not have in
    common.
    """
    found = []
    for k in kinds:
        alike = [
            dict(other.settings)
            for other in kinds
            if (other.agent, other.network) == (k.agent, k.network)
        ]
        differ = [
            (name, value)
            for name, value in k.settings
            if any(other[name] != value for other in alike)
        ]
        texts = [f"{name.removeprefix(f'{k.network}.')} {value}" for name, value in differ]
        found.append(", ".join([f"{k.agent} {k.network}", *texts]))
    return found
