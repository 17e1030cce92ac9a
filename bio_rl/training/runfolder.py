"""Run folders: `PARENT/<env>_<agent>_<network>_s<seed>_<time>/` with `config.json`, metrics and
`checkpoints/`.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bio_rl.machine.files import printable, read_json, replacing
from bio_rl.machine.lock import lock

__all__ = ["lock", "replacing"]

LATEST = "latest"
CONFIG = "config.json"
PROVENANCE = ("versions", "commit", "history")
"""Entries of config.json that say who ran it, not how."""

CODE = (":(top)", ":(top,exclude)docs", ":(top,exclude)*.json")
"""Files of a checkout, in git's words, whose changes make it another program."""


class RunNotFoundError(ValueError):
    """There is no such run; the message names the nearest ones and how to make one."""


def create(parent: Path, env: str, agent: str, network: str, seed: int) -> Path:
    """A new run folder with an empty `checkpoints/`. Unique if many start at once."""
    parent.mkdir(parents=True, exist_ok=True)
    # my_module:Id-v0 has a colon, which Windows takes for a drive.
    stem = "_".join(_sanitised(part) for part in (env, agent, network))
    stem += f"_s{seed}_{time.strftime('%Y%m%d-%H%M%S')}"
    copy = 1
    while True:
        folder = parent / (stem if copy == 1 else f"{stem}-{copy}")
        try:
            folder.mkdir()
            break
        except FileExistsError:
            copy += 1
    (folder / "checkpoints").mkdir()
    return folder


def _sanitised(part: str) -> str:
    """`part` as it may stand in a file name on every system: '/' and ':' (and their like) become
    '-'.
    """
    return re.sub(r'[/\\:*?"<>|\s]+', "-", part).strip("-.") or "none"


def point_latest(folder: Path) -> None:
    """Let `latest` beside a run folder stand for it, in one step: a text file with its name.

    A link would be taken for a run of its own by TensorBoard, which follows links. One that an
    earlier version made is replaced, and is followed until then.
    """
    latest = folder.parent / LATEST
    try:
        with replacing(latest) as file:
            file.write(folder.name.encode())
    except OSError as cause:  # a real folder called latest, say: the run itself is fine
        warnings.warn(
            f"{latest} still points to an older run: {cause}", RuntimeWarning, stacklevel=3
        )


def runs(parent: Path) -> list[Path]:
    """The run folders under `parent`, newest first."""
    if not parent.is_dir():
        return []
    # A symlink, such as `latest` once was, is another name of a run that is there already.
    found = [p for p in parent.iterdir() if not p.is_symlink() and _is_run(p)]
    return sorted(found, key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True)


def _is_run(folder: Path) -> bool:
    # os.path's answer False to names that no system can hold; pathlib's raise
    return os.path.isfile(folder / CONFIG) or os.path.isdir(folder / "checkpoints")


def _follow(path: Path) -> Path:
    """The folder that a `latest` (symlink or text file) stands for now; any other path as it is.

    Raises RunNotFoundError where it leads anywhere but to a folder beside it: what is resumed is
    written to, and a folder of runs may come from somebody else.
    """
    if path.name != LATEST or not (path.is_symlink() or path.is_file()):
        return path
    try:
        name = os.readlink(path) if path.is_symlink() else _text_of(path)
        target = (path.parent / name).resolve()
        beside = bool(name) and target.parent == path.parent.resolve() and target.name != LATEST
        beside &= target.name.isprintable()  # it is printed as the name of the run
    except (OSError, RuntimeError, ValueError):  # a circle of links, bytes that are no text, a NUL
        beside = False
    if not beside:
        raise RunNotFoundError(
            f"{printable(path)} does not name a folder beside it; give the run's own folder instead"
        )
    return path.parent / target.name


def _text_of(path: Path) -> str:
    """The beginning of a text file, longer than any file name."""
    with open(path, "rb") as file:
        return file.read(4096).decode("utf-8").strip()


def resolve(run: str, parent: Path) -> Path:
    """The folder of a run given as a path, as a name under `parent`, or as `latest` (the folder it
    stands for now).

    Raises RunNotFoundError, a ValueError.
    """
    # A name is looked for among the runs first, then as a path of its own.
    candidates = [_follow(path) for path in (parent / run, Path(run))] if run else []
    for folder in candidates:
        if _is_run(folder):
            return folder
    known = [printable(p.name) for p in runs(parent)]
    near = difflib.get_close_matches(run, [*known, LATEST], n=3) if known else []
    message = f"no run {run!r} in {printable(parent)}/"
    if candidates and candidates[0].name != Path(run).name:
        message += f": it stands for {printable(candidates[0].name)}, which is gone"
    elif closed := [
        x for x in candidates if os.path.isdir(x) and not os.access(x, os.R_OK | os.X_OK)
    ]:
        message += f": you may not read {printable(closed[0])} (permission denied)"
    elif any(os.path.isdir(folder) for folder in candidates):
        message += ": that folder holds neither config.json nor checkpoints/"
    message += f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    message += f"; newest runs: {', '.join(known[:5])};" if known else "; there are no runs yet:"
    raise RunNotFoundError(message + " `python train.py` makes one")


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write `config.json`: `config` (JSON values and paths) with the `versions` and the `commit`
    that run now.

    Where there is one already, those that began the run stay, and so does the history of resumes.
    """
    written: dict[str, Any] = {}
    if (folder / CONFIG).is_file():
        with suppress(ValueError):
            written = read_config(folder)
    kept = {name: written[name] for name in PROVENANCE if name in written}
    # A run that goes on keeps who began it.
    began = {} if "versions" in kept else {"versions": versions(), "commit": commit()}
    write_json(folder / CONFIG, {**config, **began, **kept})


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON values and paths to `path`, atomically. Raises OSError that says what is left."""
    text = json.dumps(values, indent=2, default=_path_text, ensure_ascii=False) + "\n"
    try:
        with replacing(path) as file:
            file.write(
                text.encode("utf-8", "backslashreplace")
            )  # a path's odd bytes, as JSON escapes them
    except OSError as cause:
        left = "the one before is untouched" if path.exists() else "there is none yet"
        raise OSError(
            f"could not write {printable(path)}: {cause.strerror or cause}; {left}"
        ) from cause


def _path_text(value: object) -> str:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(
        f"JSON cannot hold a {type(value).__name__}: {value!r}; give numbers, strings, lists, dicts"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The values that `write_config` wrote. Raises ValueError, one printable line, when they are
    missing or damaged.
    """
    path = folder / CONFIG
    try:
        config = read_json(path)
    except ValueError as cause:
        raise ValueError(f"{cause}; is {printable(folder)} a run folder?") from cause
    if not isinstance(config, dict):
        raise ValueError(
            f"{printable(path)} holds a {type(config).__name__}, expected an object; is "
            f"{printable(folder)} a run folder?"
        )
    return config


def note_resume(folder: Path, step: int) -> list[str]:
    """The differences between what runs now and what began the run, in words; what runs now is
    added to the `history` in config.json.

    Each entry of the history is {versions, commit, step, time}: who went on from which step, when.
    """
    config = read_config(folder)
    history = config.get("history")
    now = {
        "versions": versions(),
        "commit": commit(),
        "step": step,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    # A file that somebody has changed may hold anything there.
    config["history"] = [*(history if isinstance(history, list) else []), now]
    write_json(folder / CONFIG, config)
    return _differences(config, now)


def _differences(began: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """ "torch 2.6.0 when it began, 2.7.1 now" for each version, and the commit, that is not the
    same.
    """
    before, after = began.get("versions"), now["versions"]
    if not isinstance(before, dict):
        return ["the versions that began this run are not recorded"]
    found = [
        f"{name} {_shown(before.get(name))} when it began, {_shown(after[name])} now"
        for name in after
        if before.get(name) != after[name]
    ]
    old, new = _commit_text(began.get("commit")), _commit_text(now["commit"])
    if old != new:
        found.append(f"commit {old} when it began, {new} now")
    return found


def _shown(version: object) -> str:
    return "not installed" if version is None else printable(version)


def _commit_text(found: object) -> str:
    """The first digits of a commit, with a remark where files had changed since."""
    if not isinstance(found, dict):
        return "unknown"
    # A commit alone would say too much of what has run.
    changed = " with uncommitted changes" if found.get("dirty") else ""
    return printable(str(found.get("hash"))[:12]) + changed


def versions() -> dict[str, str | None]:
    """Versions of what decides a run's numbers; None for a package that is not installed."""
    from bio_rl import __version__

    found: dict[str, str | None] = {"python": platform.python_version(), "bio_rl": __version__}
    for package in ("torch", "numpy", "gymnasium", "mujoco"):
        found[package] = None
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return {**found, "platform": platform.platform()}


def commit(package: Path = Path(__file__).parents[1]) -> dict[str, Any] | None:
    """{"hash", "dirty"} of the git checkout that tracks `package`, None without one; never raises.

    Untracked files count as dirty: a new agent is a new file. Pages and results do not (`docs/`,
    JSON): no number hangs on them, and a bench that writes one must not spoil the next. A package
    that merely lies inside somebody's repository (a virtual environment) is not tracked by it,
    hence None.
    """

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(package), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        changed = git("status", "--porcelain", "--", *CODE)
        return {"hash": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
