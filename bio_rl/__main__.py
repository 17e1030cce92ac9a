"""The command line: train (the default), eval, play, resume, list, plot, doctor. `train.py` and
`bio-rl` are the same.
"""

from __future__ import annotations

import signal

# Ctrl-C during the imports below ends the process at once, without a traceback.
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import importlib
import re
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from bio_rl import cli, discovery, faults
from bio_rl.faults import DivergedError, EnvironmentCrashedError, FaultyEnvironmentError
from bio_rl.machine import ram, signals, streams
from bio_rl.machine.files import printable
from bio_rl.training import checkpoint

WHITE = " \n\t"
"""The separators of words and lines; other control characters of a file's text do not reach the
terminal as they are.
"""
LONG_WORD = 300
"""Letters from which on a word of a message is cut."""
REFUSED = (
    ValueError,
    OSError,
    checkpoint.CheckpointError,
    FaultyEnvironmentError,
    DivergedError,
)
"""Errors that are told in a sentence, without a traceback."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command.

    Exit status: 0 when it finished, 2 for refused input or a run that diverged, with one message; 1
    for an error of a user's own world, with its traceback; 128 + the signal's number for a run that
    was stopped: 130 after Ctrl-C.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL and in_main_thread:
        # The imports are over.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with streams.tolerant() as output:
        command = _main(argv)
    # Of train and resume the work is in files.
    if output.fault is not None and command not in ("train", "resume"):
        print(f"error: standard output: {output.fault}", file=sys.stderr)
        sys.exit(1)


def _main(argv: Sequence[str] | None) -> str:
    """Run the command; returns its name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Without a command the flags are those of train.
    name = arguments[0] if arguments and not arguments[0].startswith("-") else "train"
    rest = arguments[1:] if arguments[:1] == [name] else arguments
    commands = discovery.names(cli)
    if name not in commands:
        refuse(f"no command called {name!r}; {discovery.suggestion(name, commands)}")
    ram.keep_freed()
    try:
        importlib.import_module(commands[name]).main(rest)
    except EnvironmentCrashedError as error:
        crash(error)
    except REFUSED as error:
        refuse(str(error))
    except signals.Interrupted as stopped:
        sys.exit(signals.exit_status(stopped.number))
    except KeyboardInterrupt:
        sys.exit(signals.exit_status(signal.SIGINT))
    return name


def crash(error: EnvironmentCrashedError) -> NoReturn:
    """Show the traceback of a user's own world, say what is kept, and exit with status 1."""
    # Only the lines of the user's own world: ours are no help to them.
    trace = faults.users_traceback(error)
    print(f"{shown(trace)}error: {shown(error)}", file=sys.stderr)
    sys.exit(1 if trace or "Traceback" in str(error) else 2)


def shown(message: object) -> str:
    """A message as it may stand on a terminal: no control characters, and no word of thousands of
    letters.
    """
    text = printable(message, keep=WHITE)
    return re.sub(rf"\S{{{LONG_WORD},}}", lambda word: f"{word[0][:100]}…", text)


def refuse(message: str) -> NoReturn:
    """Exit with status 2."""
    print(f"error: {shown(message)}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
