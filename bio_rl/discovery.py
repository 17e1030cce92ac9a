"""Adding a thing is adding a file: the file's name is the thing's name on the command line."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from types import ModuleType


def names(package: ModuleType) -> dict[str, str]:
    """{file name: dotted module} of every public module below `package`; names with a leading
    underscore are helpers.
    """
    found = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    modules = {m.name.rpartition(".")[2]: m.name for m in found if not m.ispkg}
    return {name: module for name, module in sorted(modules.items()) if not name.startswith("_")}


def load(package: ModuleType, name: str) -> ModuleType:
    """The module called `name`. Raises ValueError with the nearest valid name when there is none."""
    known = names(package)
    if not isinstance(name, str) or name not in known:
        kind = package.__name__.rpartition(".")[2].removesuffix("s")
        raise ValueError(f"no {kind} called {name!r}; {suggestion(str(name), known)}")
    return importlib.import_module(known[name])


def summary(docstring: str | None) -> str:
    """The first sentence of a docstring in one line: what stands before a blank or an indented line."""
    lines = []
    for line in inspect.cleandoc(docstring or "").splitlines():
        if not line.strip() or (lines and line.startswith(" ")):
            break
        lines.append(line.strip())
    return " ".join(lines).split("      ")[0]


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest valid name, if any is near, and the names that
    exist.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"{guess}known: {shown}"
