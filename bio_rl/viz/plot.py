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
from bio_rl.viz import curves, scores

SUFFIXES = (".png", ".svg", ".pdf")
RESULTS = ".json"
"""The ending of a file of results."""
SEEDLIKE = ("env", "seed", "run-dir", "device", "workers", "checkpoints", "eval-episodes")
"""Settings that make no other curve: an environment has its panel, the rest changes no learning."""


class Kind(NamedTuple):
    """The settings that the runs of one curve have in common."""

    env: str
    """The id without its namespace."""
    agent: str
    network: str
    settings: tuple[tuple[str, str], ...]
    """All others but those of SEEDLIKE, as names of flags and texts of values."""


def draw(runs: Sequence[str], run_dir: Path, out: Path | None, key: str = curves.RETURN) -> Path:
    """Write the learning curves of `runs`, or the scores of result files (.json); returns the path.

    That is `out`; else learning_curves.png in the folder that all runs share, or the name of the
    first file with .png. Raises ValueError for an unknown run, a quantity that none of them has
    logged, files among runs, another kind of file, or where the extra `plots` is missing.
    """
    if out is not None and out.suffix not in SUFFIXES:
        raise ValueError(f"--out is {out}, expected a file that ends in {', '.join(SUFFIXES)}")
    files = [Path(run) for run in runs if run.endswith(RESULTS)]
    if files and len(files) < len(runs):
        raise ValueError(
            f"{printable(files[0])} is a file of results, which has a picture of its own: give "
            "files or runs"
        )
    try:
        if files:
            return scores.draw(files, out or files[0].with_suffix(".png"))
        folders = logged(find(runs, run_dir), key)
        out = out or Path(os.path.commonpath(folders)) / "learning_curves.png"
        return curves.draw(panels(folders), out, key)
    except ImportError as error:
        raise ValueError(str(error)) from error


def find(runs: Sequence[str], run_dir: Path) -> list[Path]:
    """Run folders, each once, in the order of their names; for a parent folder the runs in it."""
    folders: list[Path] = []
    for run in runs:
        parents = [found for path in (run_dir / run, Path(run)) if (found := below(path))]
        if parents:
            folders += parents[0]
        else:
            folders.append(runfolder.resolve(run, run_dir))
    # the same run may have been named twice, or by a link
    by_place = {folder.resolve(): folder for folder in folders}
    return list(by_place.values())


def below(parent: Path) -> list[Path]:
    """The runs in a folder, in the order of their names; where there are none those in its folders,
    as `bench learning --run-dir` and `compare` leave them, a folder for each case.
    """
    direct = sorted(runfolder.runs(parent))
    if direct or not parent.is_dir():
        return direct
    deeper = [runfolder.runs(folder) for folder in sorted(parent.iterdir()) if folder.is_dir()]
    return [run for runs in deeper for run in sorted(runs)]


def logged(folders: Sequence[Path], key: str) -> list[Path]:
    """The runs that have logged `key`; the others are named as left out.

    Raises ValueError with the nearest keys where none has.
    """
    chosen = [folder for folder in folders if len(curves.read(folder, key)[0])]
    if not chosen:
        known = logged_keys(folders)
        if not known:
            raise ValueError(f"nothing is logged yet in {', '.join(map(printable, folders))}")
        raise ValueError(f"no run has logged {key!r}; {discovery.suggestion(key, known)}")
    for folder in folders:
        if folder not in chosen:
            print(f"{printable(folder.name)} is left out: it has not logged {key}")
    return chosen


def logged_keys(folders: Sequence[Path]) -> set[str]:
    """Everything that some runs have logged, fit to be printed."""
    keys = set()
    for folder in folders:
        for row in read_rows(folder / "metrics.jsonl"):
            keys |= {printable(name) for name in row}
    return keys - {"step", "time"}


def panels(folders: Sequence[Path]) -> dict[str, dict[str, list[Path]]]:
    """{environment: {label: runs of one kind}}.

    A label says in what its curve differs from the others of its panel. A run of another version,
    whose settings this one cannot read, is left out, and that is said. Raises ValueError when none
    is left.
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
    by_env: dict[str, dict[str, list[Path]]] = {}
    # a dict keeps the order in which the environments were met
    for env in dict.fromkeys(kind.env for kind in kinds):
        of_panel = [kind for kind in kinds if kind.env == env]
        pairs = zip(labels(of_panel), of_panel, strict=True)
        by_env[env] = {label: kinds[kind] for label, kind in pairs}
    return by_env


def kind(folder: Path) -> Kind:
    """The kind of a run, from its config.json. Raises ValueError where that cannot be read."""
    experiment = config.read(folder)
    run = experiment.run
    settings = []
    for name, value in experiment.settings().items():
        # as text, since a setting may be a list, by which nothing can be grouped
        if name not in SEEDLIKE:
            settings.append((name, str(value)))
    env = run.env.removeprefix("bio_rl/")
    return Kind(env, run.agent, run.network, tuple(settings))


def labels(kinds: Sequence[Kind]) -> list[str]:
    """ "ppo spiking, ticks 8": agent, network, and the settings that tell their curves apart."""
    return [label(kind, kinds) for kind in kinds]


def label(kind: Kind, kinds: Sequence[Kind]) -> str:
    """The label of one curve among those of its panel."""
    names = (kind.agent, kind.network)
    # others of the same agent and network have settings of the same names
    alike = [dict(other.settings) for other in kinds if (other.agent, other.network) == names]
    texts = [" ".join(names)]
    for name, value in kind.settings:
        if any(other[name] != value for other in alike):
            texts.append(f"{name.removeprefix(f'{kind.network}.')} {value}")
    return ", ".join(texts)
