"""Files that others may have made: text that is safe to print, JSON that is read strictly, writing
that follows no link.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

LARGEST_JSON = 16 * 2**20
"""Bytes of a JSON file that is read at all; those of a run have a few thousand."""
LARGEST_INT = 2**63
"""Whole numbers from here on fit neither a tensor nor an array."""


def printable(text: object, keep: str = " ") -> str:
    r"""`text` with every character escaped (`\x1b`) that would not show as itself on a terminal.

    Control characters move the cursor, colour the screen or answer for the user; marks of writing
    direction turn names around. keep: characters that stay all the same, as "\n" in a message of
    several lines.
    """
    shown = str(text)
    # Most texts are, and this is asked for each line that is printed.
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() or c in keep else _escaped(c) for c in shown)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def one_line(error: BaseException, most: int = 400) -> str:
    """An error in words for the end of another message: its first line, printable and not endless.

    The kind of the error is named where it is none that was raised on purpose.
    """
    # The following lines are of libraries: hints for programmers, or a traceback.
    first = printable(str(error).partition("\n")[0])
    if not isinstance(error, ValueError):
        first = f"{type(error).__name__}: {first}"
    return first if len(first) <= most else f"{first[: most - 3]}..."


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends: readers see the old file or
    the new, whole one.

    Whatever is raised inside, `path` stays as it was and the temporary file is removed. A symlink
    at either name is replaced, never followed. Raises OSError.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        # "x": a file that somebody puts there meanwhile is not opened.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a renaming survive a power cut, on systems that can open a folder; the file's content is
    safe already.
    """
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        with suppress(OSError):
            os.fsync(handle)
        os.close(handle)


def free_space(folder: Path) -> int:
    """Bytes that are free on the disk where `folder` is or will be made."""
    above = (folder, *folder.absolute().parents)
    existing = next((path for path in above if path.is_dir()), Path.cwd())
    return shutil.disk_usage(existing).free


def refuse_links_out(folder: Path) -> None:
    """Raise ValueError where a symlink in `folder`, at any depth, leads out of it: writing would
    follow it.
    """
    home = folder.resolve()
    pending = [folder]
    while pending:
        for entry in os.scandir(pending.pop()):
            if entry.is_symlink():
                _refuse_link_out(Path(entry.path), home)
            elif entry.is_dir():
                pending.append(Path(entry.path))


def _refuse_link_out(link: Path, home: Path) -> None:
    target = link.resolve()
    if not target.is_relative_to(home):
        raise ValueError(
            f"{printable(link)} is a symlink to {printable(target)}, out of the run folder; "
            "nothing is written or deleted through it: put the real file or folder there, or "
            "remove the link"
        )


def refuse_link(path: Path) -> None:
    """Raise ValueError where `path` itself is a symlink: writing would happen elsewhere."""
    if path.is_symlink():
        raise ValueError(
            f"{printable(path)} is a symlink; nothing is written or deleted through it: "
            "put the real file or folder there"
        )


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises ValueError, one printable line, for all that strict JSON
    does not allow.

    Names that come twice, NaN, infinities, numbers that nothing here can hold and very deep nesting
    are refused; so is a file that is none, or is huge.
    """
    try:
        # A pipe would be waited for.
        if not path.is_file():
            raise ValueError("there is no such file")
        if (size := path.stat().st_size) > LARGEST_JSON:
            raise ValueError(f"it has {size:,} bytes, expected at most {LARGEST_JSON:,}")
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as cause:
        raise ValueError(
            f"{printable(path)} is missing or damaged ({printable(_reason(cause))})"
        ) from cause


def parse_json(text: str | bytes) -> Any:
    """The value of strict JSON. Raises ValueError."""
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_small,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _reason(cause: Exception) -> str:
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause).partition("\n")[0]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} comes twice in one object")
    return values


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number; expected a finite one or null")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _small(text: str) -> int:
    # The length first: Python takes a second over a number of a million digits.
    if len(text) > 20 or abs(int(text)) >= LARGEST_INT:
        raise ValueError(f"{text[:40]} is too large a whole number, expected less than 2**63")
    return int(text)
