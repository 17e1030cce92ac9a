"""`bio-rl list KIND`: the worlds, the agents, and the parts that brains are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tyro

from bio_rl import discovery
from bio_rl.cli._parse import parse
from bio_rl.viz import tables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """List what there is."""

    kind: tyro.conf.Positional[str]
    """envs, agents, networks, presets, neurons, rules, modulators, connections or codes."""


def main(arguments: Sequence[str]) -> None:
    """Print a list of worlds, agents or parts of brains."""
    kind = parse(Flags, arguments, "list").kind
    if kind not in tables.KINDS:
        near = discovery.suggestion(kind, tables.KINDS)
        raise ValueError(f"nothing to list called {kind!r}; {near}")
    tables.KINDS[kind]()
