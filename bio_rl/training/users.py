"""Parts of a user's own, called `my_module:Name`: the modules they need, the flags they have."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bio_rl import discovery
from bio_rl.machine import trust
from bio_rl.machine.files import printable

FLAGS = ("agent", "network", "neuron", "connection", "rule", "critic")
"""Last words of flags that name a part, as in `--agent`, `--neuron` and `--three-factor.rule`."""
_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def modules_of(values: Iterable[Any]) -> list[str]:
    """The modules that texts such as `my_module:Name` need, each once, in their order.

    A text may chain several parts by "+", as rules do. What is no such text needs none.
    """
    texts = (text for value in values for text in _texts(value))
    # Rules are chained by "+": my_module:Mine+scaling.
    parts = (part.strip() for text in texts for part in text.split("+"))
    return list(dict.fromkeys(trust.module_of(part) for part in parts if _NAME.fullmatch(part)))


def modules_of_settings(config: Any) -> list[str]:
    """The modules that the settings of an agent or a network need."""
    fields = dataclasses.fields(config)
    return modules_of(getattr(config, field.name) for field in fields)


def check_allowed(saved: Mapping[str, Any]) -> None:
    """Raise ValueError that names all modules which a saved experiment needs and nobody has named.

    A single one is named where it is met, with what it is needed for.
    """
    run, *parts = (saved.get(name) for name in ("run", "agent", "network"))
    env = run.get("env") if isinstance(run, Mapping) else None
    of_env = trust.module_of(env) if isinstance(env, str) else ""
    missing = [of_env] if of_env and of_env not in sys.modules else []
    missing += [m for m in modules_of([run, *parts]) if not discovery.is_allowed(m)]
    names = list(dict.fromkeys(missing))
    if len(names) > 1:
        shown = " ".join(printable(name) for name in names)
        raise ValueError(
            "it needs modules of the user's own, and importing them runs their code; "
            f"if you trust them, add: --trust {shown}"
        )


def modules_typed(arguments: Sequence[str]) -> list[str]:
    """The modules that a command line names for the parts of a run: as good as typed."""
    values = []
    modules = []
    # --flag value and --flag=value are both typed.
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        flag, equals, value = argument.partition("=")
        value = value if equals else following
        if flag == "--env" and trust.module_of(value):
            modules.append(trust.module_of(value))
        elif flag.startswith("--") and re.split(r"[-.]", flag)[-1] in FLAGS:
            values.append(value)
    return list(dict.fromkeys([*modules, *modules_of(values)]))


def prefix(name: str) -> str:
    """The word with which the flags of an agent or a network begin: `mine` of `mine:Tiny`."""
    # The last word of a dotted module is what its author calls it.
    return trust.module_of(name).rpartition(".")[2] or name


def prefixes(agent: str, network: str, taken: Iterable[str]) -> tuple[str, str]:
    """The words with which the flags of an agent and of its network begin, two different ones.

    taken: names of the run's own settings, which no part may have. Where a module's name is among
    them, or both parts are in one module, `_agent` or `_network` is added to it.
    """
    # A module may well be called steps.py.
    occupied = set(taken)
    # The agent chooses first, so that its flags are the same beside every network.
    of_agent = prefix(agent)
    if of_agent in occupied:
        of_agent += "_agent"
    of_network = prefix(network)
    if of_network in occupied or of_network == of_agent:
        of_network += "_network"
    return of_agent, of_network


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping):
        return (text for part in value.values() for text in _texts(part))
    if isinstance(value, list | tuple):
        return (text for part in value for text in _texts(part))
    return ()
