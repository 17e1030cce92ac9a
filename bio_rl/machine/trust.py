"""Whose code runs: a module is imported only when the user named it, on this command line or in
this program.

A run folder may come from a stranger. Its `config.json` may name modules, but only text that the
user typed can make one run: `--env my_module:Id-v0`, `--agent my_module:Agent` and their like, or
`--trust my_module` for a run that was made with it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bio_rl import discovery
from bio_rl.faults import EnvironmentCrashedError


def module_of(name: str) -> str:
    """The module that a name asks for: `my_module` of `my_module:Id-v0` or `my_module:Agent`, an
    empty text for a plain name.
    """
    return name.rpartition(":")[0]


def import_named(module: str, run_folder: Path | None = None) -> None:
    """Import a module that the user named, and let things be taken from it (`discovery.load`).

    The working folder is searched last, after everything that is installed.

    run_folder: a module that lies in this folder is refused, because whoever wrote the run wrote it
    too. Raises ValueError where the module cannot be found or imported, EnvironmentCrashedError
    where it raises an error of its own.
    """
    # A module that is there already has run its code: no folder of a run could have brought it.
    if module not in sys.modules:
        _import(module, run_folder)
    discovery.allow(module)


def _import(module: str, run_folder: Path | None) -> None:
    with _working_folder_on_path():
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError) as error:
            raise ValueError(f"cannot import {module!r}: {error}") from error
        if spec is None:
            raise ValueError(
                f"cannot import {module!r}: "
                "there is no such module here or among the installed ones"
            )
        if run_folder is not None and _lies_in(spec.origin, run_folder):
            raise ValueError(
                f"{module!r} lies in the run folder {run_folder}: "
                "code that comes with a run is never imported"
            )
        try:
            importlib.import_module(module)
        except (ImportError, SyntaxError) as error:
            raise ValueError(
                f"cannot import {module!r}: {type(error).__name__}: {error}"
            ) from error
        except Exception as error:
            raise EnvironmentCrashedError(
                f"importing {module!r} raised {type(error).__name__}: {error}"
            ) from error


def check_named(env: str) -> None:
    """Refuse an environment whose module nobody has imported. Raises ValueError that says how to
    ask for it.
    """
    module = module_of(env)
    if module and module not in sys.modules:
        raise ValueError(discovery.needs(env, module))


@contextmanager
def _working_folder_on_path() -> Iterator[None]:
    """The console command does not search the working folder by itself; `python train.py` and
    `python -m` do.
    """
    here = str(Path.cwd())
    # An empty text on the path stands for the working folder.
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)
    try:
        yield
    finally:
        if added:
            sys.path.remove(here)


def _lies_in(origin: str | None, folder: Path) -> bool:
    """Whether a module's file is below a folder. Built-in modules have no file."""
    if origin is None:
        return False
    file = Path(origin).resolve()
    return file.is_relative_to(folder.resolve())
