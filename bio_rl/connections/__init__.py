"""Synapses, one kind a file: what the spikes of one layer do to the drive of the next.

Each file has a class `Connection(BaseConnection)`, made with n_pre, n_post (a convolution: its
channels), `gain`, `graded` and its own settings, with `initial_state(batch)` (nested tuples of [B,
...] tensors, () where there is none), `forward(spikes, state, dt=1.0)` for one tick of dt ms:
spikes [B, pre] to (drive [B, post], state), and `unroll` for all ticks of several decisions. Kinds
without state take any leading axes, [..., pre]. State is never hidden in the module, one of another
batch is an error, and every kind is differentiable through spikes and weights.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

from bio_rl import discovery
from bio_rl.connections._base import BaseConnection

COMMON = ("gain", "graded")
"""The settings that every kind has."""


def load(name: str) -> type[Any]:
    """The kind of connection called `name`, a class derived from BaseConnection. Raises ValueError
    with the nearest name when there is none.
    """
    package = sys.modules[__name__]
    module = discovery.load(package, name)
    return module.Connection


def make(
    name: str,
    n_pre: int,
    n_post: int,
    *,
    gain: float = 1.0,
    graded: bool = True,
    settings: Mapping[str, float] | None = None,
) -> BaseConnection:
    """A connection of the kind called `name` from a layer of n_pre neurons to one of n_post.

    gain, graded: as every kind has them. settings: those of this kind, by name. Raises ValueError
    for an unknown kind or setting, and for a kind that cannot join any two layers.
    """
    kind = load(name)
    if not kind.between_layers:
        raise ValueError(
            f"the connection {name} cannot join a layer of {n_pre} neurons to one of {n_post}: "
            "it is for pictures, or from a layer to itself; give dense, sparse, stp or delay"
        )
    defaults = _settings(kind)
    values = {}
    for key, value in (settings or {}).items():
        if key not in defaults:
            near = discovery.suggestion(key, defaults) if defaults else "it has none"
            raise ValueError(f"the connection {name} has no setting called {key!r}; {near}")
        # a whole number, such as ticks, comes from the command line as a float
        if isinstance(defaults[key], int) and not float(value).is_integer():
            raise ValueError(f"{key} of the connection {name} is {value}, expected a whole number")
        of_its_type = type(defaults[key])
        values[key] = of_its_type(value)
    return kind(n_pre, n_post, gain=gain, graded=graded, **values)


def _settings(kind: type[Any]) -> dict[str, Any]:
    """The settings that this kind of connection has and others have not, with their defaults."""
    # the settings of a connection are the keywords of its constructor
    defaults = {}
    for parameter in inspect.signature(kind).parameters.values():
        is_keyword = parameter.kind is parameter.KEYWORD_ONLY
        if is_keyword and parameter.name not in COMMON:
            defaults[parameter.name] = parameter.default
    return defaults


__all__ = ["BaseConnection", "load", "make"]
