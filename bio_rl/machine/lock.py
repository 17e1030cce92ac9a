"""One writer in a run folder: a lock that the system takes back when its process ends, however it
ends.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bio_rl.machine.files import printable, refuse_link, refuse_links_out

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NAME = ".lock"
"""The file stays when the lock is gone: to delete it would let two processes hold locks on two
files of one name.
"""
FAR = 2**30
"""Offset of the byte that Windows locks, beyond the text, which others must be able to read."""
_held: set[int] = set()
"""Open lock files of this process."""


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Be the only writer of a run folder within the block; commands that read need no lock.

    Raises ValueError that names the process that holds it, or a symlink that leads out of the
    folder. Where the file system knows no locks, one warning says so and the block runs without.
    """
    refuse_links_out(folder)
    path = folder / NAME
    refuse_link(path)
    # Windows opens no symlink that a user without rights could have made.
    no_follow = 0 if sys.platform == "win32" else os.O_NOFOLLOW
    handle = os.open(path, os.O_RDWR | os.O_CREAT | no_follow, 0o644)
    _held.add(handle)
    try:
        _take(handle, folder)
        yield
    finally:
        # A forked child has closed it already.
        if handle in _held:
            _held.discard(handle)
            os.close(handle)


def _take(handle: int, folder: Path) -> None:
    """Lock the open file and write into it who holds it. Raises ValueError where another process
    does.
    """
    try:
        _lock_file(handle)
    except (BlockingIOError, PermissionError) as error:
        raise ValueError(
            f"{printable(folder)} is being written by {_holder(handle)}; "
            "wait for that process or stop it, or copy the folder and resume the copy"
        ) from error
    except OSError as error:
        warnings.warn(
            f"{printable(folder)} cannot be locked ({error.strerror}): "
            "do not run two processes on it",
            RuntimeWarning,
            stacklevel=4,
        )
        return
    holder = {"pid": os.getpid(), "host": socket.gethostname()}
    text = json.dumps(holder).encode()
    # On a full disk the lock holds without a name.
    with suppress(OSError):
        # Nobody else writes it: the lock is held.
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, text)


def _lock_file(handle: int) -> None:
    """Take the lock at once. Raises BlockingIOError or PermissionError where another process has
    it.
    """
    if sys.platform == "win32":
        os.lseek(handle, FAR, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(handle: int) -> str:
    """The process that holds the lock, as it wrote itself down."""
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        holder = json.loads(os.read(handle, 4096))
        return f"process {int(holder['pid'])} on {printable(holder['host'])}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"


def _let_go() -> None:
    """Close the files in a forked child: a worker may outlive its parent, but not keep its lock."""
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go)
