"""Adding a thing is adding a file: the file's name is the thing's name on the command line.

A thing of a user's own lies outside the package and is called `my_module:Name`, its module and the
class in it. `load` gives both in one form: a module that holds the thing where the package's own
files hold theirs (`PARTS`). Whose code may run is decided by who named it: `load` looks only into
modules that were allowed (`machine.trust.import_named`), never into those that a file names.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterable
from types import ModuleType

PARTS = {
    "agents": "Agent",
    "networks": "Network",
    "neurons": "NEURON",
    "plasticity": "RULE",
    "connections": "Connection",
}
"""The attribute under which a file of each package holds what it adds."""
METHODS = {
    "Agent": ("act", "update", "initial_state", "trained_tensors", "check_memory", "member"),
    "Network": ("initial_state", "unroll"),
    "NEURON": ("init", "step"),
    "RULE": ("init", "trace", "delta"),
    "Connection": ("forward",),
}
"""Methods by which such a thing is told from another class of the user's module."""
WITH_SETTINGS = ("agents", "networks")
"""Packages whose files also hold a dataclass `Config`, whose fields are flags."""
_allowed: set[str] = set()
"""Modules that the user named, on this command line or in this program."""


def names(package: ModuleType) -> dict[str, str]:
    """{file name: dotted module} of every public module below `package`; names with a leading
    underscore are helpers.
    """
    # A file may lie in a folder of its kind, as robotics/ant.py: its name alone counts.
    found = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    modules = {m.name.rpartition(".")[2]: m.name for m in found if not m.ispkg}
    return {name: module for name, module in sorted(modules.items()) if not name.startswith("_")}


def load(package: ModuleType, name: str) -> ModuleType:
    """The module of the thing called `name`, a file of `package` or `my_module:Name`.

    The latter is a module with all attributes of my_module in which the class `Name` has the name
    that it has in the package's own files: `load(networks, "mine:Tiny").Network` is `mine.Tiny`.
    Raises ValueError with the nearest valid name when there is none, and for a module that nobody
    has named.
    """
    if isinstance(name, str) and ":" in name:
        return _users_own(package, name)
    known = names(package)
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"no {_kind(package)} called {name!r}; {suggestion(str(name), known)}")
    return importlib.import_module(known[name])


def allow(module: str) -> None:
    """Let things be taken from a module that the user named."""
    _allowed.add(module)


def is_allowed(module: str) -> bool:
    """Whether things may be taken from a module."""
    return module in _allowed and module in sys.modules


def needs(name: str, module: str) -> str:
    """The words for a module that nobody named, with the way to ask for it."""
    return (
        f"{name!r} needs the module {module!r}, and importing it runs its code; "
        f"if you trust it, add: --trust {module}"
    )


def _users_own(package: ModuleType, name: str) -> ModuleType:
    """The module of `my_module:Name` in the form of the package's own."""
    module_name, _, attribute = name.rpartition(":")
    if not is_allowed(module_name):
        raise ValueError(needs(name, module_name))
    folder = package.__name__.rpartition(".")[2]
    if folder not in PARTS:
        raise ValueError(f"{name!r}: a {_kind(package)} of one's own cannot be named so")
    module = sys.modules[module_name]
    part = PARTS[folder]
    thing = _thing(module, attribute, part, _kind(package))
    if folder in WITH_SETTINGS and not dataclasses.is_dataclass(vars(module).get("Config")):
        raise ValueError(
            f"{module_name} has no Config, expected a frozen dataclass of that name with the "
            f"settings of its {_kind(package)}"
        )
    if vars(module).get(part) is thing:
        return module
    # A module of its own, so that what the user's module calls by this name is left alone.
    view = ModuleType(module.__name__, module.__doc__)
    vars(view).update(vars(module))
    vars(view)[part] = thing
    return view


def _thing(module: ModuleType, attribute: str, part: str, kind: str) -> type:
    """The class that a module has under a name. Raises ValueError where it is no such thing."""
    thing = vars(module).get(attribute)
    if isinstance(thing, type) and _lacks(thing, part) is None:
        return thing
    # What it imports from elsewhere is not offered: nobody mistypes that.
    known = [name for name, value in vars(module).items() if _is_own(value, module, part)]
    near = suggestion(attribute, known)
    if isinstance(thing, type):
        raise ValueError(
            f"{module.__name__}:{attribute} is no {kind}: it has no method "
            f"{_lacks(thing, part)}; {near}"
        )
    raise ValueError(f"{module.__name__} has no {kind} called {attribute!r}; {near}")


def _is_own(value: object, module: ModuleType, part: str) -> bool:
    """Whether a module's value is a class of its own that may be such a part."""
    is_own = isinstance(value, type) and value.__module__ == module.__name__
    return is_own and _lacks(value, part) is None


def _lacks(kind: object, part: str) -> str | None:
    """The first method of a part that a class does not have; None where it has all."""
    return next((method for method in METHODS[part] if method not in dir(kind)), None)


def _kind(package: ModuleType) -> str:
    """The word for a thing of a package in messages."""
    return package.__name__.rpartition(".")[2].removesuffix("s")


def summary(docstring: str | None) -> str:
    """The first sentence of a docstring in one line, up to a blank or an indented line."""
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
    # Longer lists are no help.
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"{guess}known: {shown}"
