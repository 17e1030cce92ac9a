"""Trains cases with the code of one checkout, each in a forked process: the script of `bench
weights`, run once per tree.

It reads {"cases": [{"name", "spellings", "folder"}], "seconds"} from standard input, and writes a
line to standard output for each case: {"name", "folder", "status", "seconds", "said"}. The
spellings of a case are arguments that mean the same in newer and older trees: the first that the
tree accepts is trained. It imports nothing of this bio_rl: each tree has a bio_rl of its own, which
is used in one way only, as `python -m bio_rl` does.
"""

import contextlib
import importlib
import json
import os
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

SLOW_TO_IMPORT = (
    "torch._dynamo",
    "torch.utils.tensorboard",
    "numba",
    "mujoco",
    "gymnasium",
    "bio_rl.__main__",
)
"""Imported once, before the cases are forked."""
TOO_LONG = 124
"""Status of a case that was killed because it did not end in time."""
REFUSED = 2
"""Status of a case whose arguments were not accepted."""
POLL = 0.01  # s between two looks at a training
TAIL = 2000  # characters of a training's output that are reported


def main() -> None:
    """Train the cases one after the other."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asked = json.load(sys.stdin)
    warm_up()
    for case in asked["cases"]:
        print(json.dumps(train(case, asked["seconds"])), flush=True)


def warm_up() -> None:
    """Import what every training imports. Exits where bio_rl is not the one of the tree in which
    this runs.
    """
    sys.modules["matplotlib"] = None  # type: ignore[assignment]  # a learning curve takes longer than a case
    for module in SLOW_TO_IMPORT:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    sys.modules.pop("bio_rl.__main__", None)  # it is run again in each process, as the main module
    package = importlib.import_module("bio_rl")
    found = Path(str(package.__file__)).resolve()
    if Path.cwd().resolve() not in found.parents:
        sys.exit(f"bio_rl was found at {found}, expected it in {Path.cwd()}")


def train(case: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The exit status of a training, the seconds it took and the end of its output, for the first
    spelling that is accepted; for the last one where none is.
    """
    folder = Path(case["folder"])
    folder.mkdir(parents=True)
    output = folder / "said.txt"
    began = time.monotonic()
    status = REFUSED
    for arguments in case["spellings"]:
        status = forked(arguments, folder, output, began + seconds)
        if status != REFUSED:
            break
    said = output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""
    return {
        "name": case["name"],
        "folder": str(folder),
        "status": status,
        "seconds": time.monotonic() - began,
        "said": said[-TAIL:],
    }


def forked(arguments: list[str], folder: Path, output: Path, until: float) -> int:
    """The exit status of a training in a process of its own, which is killed at `until`."""
    child = os.fork()
    if child == 0:
        os._exit(train_here(arguments, folder, output))
    return wait(child, until)


def train_here(arguments: list[str], folder: Path, output: Path) -> int:
    """Train in this process, whose standard streams become files; returns the exit status."""
    with output.open("w") as file, Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["bio_rl", *arguments, "--run-dir", str(folder / "runs")]
    try:
        runpy.run_module("bio_rl", run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def wait(child: int, until: float) -> int:
    """The exit status of a process, which is killed where it runs beyond `until`."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return TOO_LONG
        time.sleep(POLL)


if __name__ == "__main__":
    main()
