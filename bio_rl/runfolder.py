"""Run folders: `PARENT/<env>_<agent>_<network>_s<seed>_<time>/` with `config.json`, metrics and `checkpoints/`."""

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

LATEST = "latest"


class RunNotFoundError(ValueError):
    """There is no such run; the message names the nearest ones and how to make one."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends: readers see the old file or the new, whole one.

    Whatever is raised inside, `path` stays as it was and the temporary file is removed. Raises OSError.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a renaming survive a power cut, on systems that can open a folder; the file's content is safe already."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        with suppress(OSError):
            os.fsync(handle)
        os.close(handle)


def create(parent: Path, env: str, agent: str, network: str, seed: int) -> Path:
    """A new run folder with an empty `checkpoints/`; `parent/latest` points to it. Unique if many start at once."""
    parent.mkdir(parents=True, exist_ok=True)
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
    _point_latest(parent, folder.name)
    return folder


def _sanitised(part: str) -> str:
    """`part` as it may stand in a file name on every system: '/' and ':' (and their like) become '-'."""
    return re.sub(r'[/\\:*?"<>|\s]+', "-", part).strip("-.") or "none"


def _point_latest(parent: Path, name: str) -> None:
    """Re-point `parent/latest` in one step: a symlink or, where that is not possible, a text file with the name."""
    temporary = parent / f"{LATEST}.{os.getpid()}.tmp"
    try:
        try:
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(name, target_is_directory=True)
            os.replace(temporary, parent / LATEST)
        except (OSError, NotImplementedError):
            with replacing(parent / LATEST) as file:
                file.write(name.encode())
    except OSError as cause:  # a real folder called latest, say: the run itself is fine
        warnings.warn(f"{parent / LATEST} still points to an older run: {cause}", RuntimeWarning, stacklevel=3)
    finally:
        temporary.unlink(missing_ok=True)


def runs(parent: Path) -> list[Path]:
    """The run folders under `parent`, newest first."""
    if not parent.is_dir():
        return []
    found = [p for p in parent.iterdir() if not p.is_symlink() and _is_run(p)]
    return sorted(found, key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True)


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / "checkpoints").is_dir()


def _follow(path: Path) -> Path:
    """The folder that a `latest` (symlink or text file) stands for now; any other path as it is."""
    if path.name == LATEST and path.is_symlink():
        return path.parent / os.readlink(path)
    if path.name == LATEST and path.is_file():
        return path.parent / path.read_text().strip()
    return path


def resolve(run: str, parent: Path) -> Path:
    """The folder of a run given as a path, as a name under `parent`, or as `latest` (the folder it stands for now).

    Raises RunNotFoundError, a ValueError.
    """
    candidates = [_follow(path) for path in (parent / run, Path(run))] if run else []
    for folder in candidates:
        if _is_run(folder):
            return folder
    known = [p.name for p in runs(parent)]
    near = difflib.get_close_matches(run, [*known, LATEST], n=3) if known else []
    message = f"no run {run!r} in {parent}/"
    if candidates and candidates[0].name != Path(run).name:
        message += f": it stands for {candidates[0].name}, which is gone"
    elif any(folder.is_dir() for folder in candidates):
        message += ": that folder holds neither config.json nor checkpoints/"
    message += f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    message += f"; newest runs: {', '.join(known[:5])};" if known else "; there are no runs yet:"
    raise RunNotFoundError(message + " `python train.py` makes one")


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write `config.json`: `config` (JSON values and paths) with the `versions` and the `commit` that run now."""
    write_json(folder / "config.json", {**config, "versions": versions(), "commit": commit()})


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON values and paths to `path`, atomically."""
    text = json.dumps(values, indent=2, default=_path_text, ensure_ascii=False) + "\n"
    with replacing(path) as file:
        file.write(text.encode())


def _path_text(value: object) -> str:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"JSON cannot hold a {type(value).__name__}: {value!r}; give numbers, strings, lists, dicts")


def read_config(folder: Path) -> dict[str, Any]:
    """What `write_config` wrote. Raises ValueError when it is missing or damaged."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as cause:
        raise ValueError(f"{path} is missing or damaged ({cause}); is {folder} a run folder?") from cause
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds a {type(config).__name__}, expected an object; is {folder} a run folder?")
    return config


def versions() -> dict[str, str | None]:
    """Versions of what decides a run's numbers; None for a package that is not installed."""
    from bio_rl import __version__

    found: dict[str, str | None] = {"python": platform.python_version(), "bio_rl": __version__}
    for package in ("torch", "numpy", "gymnasium", "mujoco"):
        found[package] = None
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return {**found, "platform": platform.platform()}


def commit(package: Path = Path(__file__).parent) -> dict[str, Any] | None:
    """{"hash", "dirty"} of the git checkout that tracks `package`, None without one; never raises.

    Untracked files count as dirty: a new agent is a new file. A package that merely lies inside somebody's repository
    (a virtual environment) is not tracked by it, hence None.
    """

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return {"hash": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
