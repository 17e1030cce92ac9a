"""Plasticity rules, one a file: a NamedTuple of constants (`RULE`) with pure `init`, `trace` and
`delta`, and with `needs`, which tells a learner what the rule must be given.

    state = rule.init(*lead, n_post, n_pre)                     traces at zero
    state = rule.trace(state, w, pre, post, signal, dt)         one tick of dt ms passes
    dw    = rule.delta(state, w, modulator)                     [..., post, pre]

The leading axes ... are any, and rows of them never mix; the weights w broadcast over them. With
weights of its own for each environment w is [B, post, pre]; with shared ones it is [post, pre], and
the caller reduces the [B, post, pre] of `delta`, say by its mean. A rule is local: nothing but pre,
post, w, its own state, the signal and the modulator enters.

Whether gradients flow is the learner's decision: a rule is differentiable in its constants, the
weights, the activities, the signal and the modulator (differentiable plasticity), and prepares
nothing under `torch.no_grad()`. A rule that needs no neuromodulator is gated by a modulator of one.

Rules compose into rules: `Chain`, `WithBias` and `Bounds`. The file's name is the rule's on the
command line, where "+" chains: `make("three_factor+scaling+intrinsic+bounds")`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from bio_rl import checks, discovery
from bio_rl.contracts import State
from bio_rl.plasticity._bounds import Bounds
from bio_rl.plasticity._chain import Chain, WithBias
from bio_rl.plasticity._rule import (
    VARIABLES,
    LastTick,
    Needs,
    Post,
    Pre,
    Rule,
    at_zero,
    decay,
    gate,
    last_tick,
    low_pass,
    merged,
    no_tick,
    outer,
    remembered,
    zeros,
)

BOUNDS = "bounds"
"""The name under which a composition asks for `Bounds` around the rules before it."""


def load(name: str) -> type[Any]:
    """The constants of the rule called `name`. Raises ValueError with the nearest name when there
    is none, and where the RULE of that file is no rule.
    """
    kind = discovery.load(sys.modules[__name__], name).RULE
    # a rule has a default for every constant, so that its name alone makes it
    if not isinstance(kind(), Rule):
        raise ValueError(
            f"the RULE of {name} is {kind.__name__}, which is no rule; expected a NamedTuple with "
            "needs, init, trace and delta (bio_rl.plasticity.Rule)"
        )
    return kind


def make(name: str, constants: Mapping[str, float] | None = None) -> Rule:
    """The rule called `name`, or the composition of the rules that "+" joins in it.

    The rules of a composition act in their order. One for the biases, as `intrinsic`, acts on them
    alone, and the others on the weights. `bounds` bounds the rules of the weights before it.

    constants: by name, such as `lr`; where two parts have a constant of this name, `scaling.lr`.
    Raises ValueError for an unknown rule or constant, or an ambiguous one.
    """
    parts = name.split("+")
    kinds: dict[str, type[Any]] = {p: Bounds if p == BOUNDS else load(p) for p in parts}
    if len(kinds) < len(parts):
        raise ValueError(f"the rule {name} names a part twice; each part may be there once")
    values = _assigned(name, kinds, constants or {})
    weights: list[Rule] = []
    biases: list[Rule] = []
    for part, kind in kinds.items():
        if part == BOUNDS:
            weights = [Bounds(_chained(name, weights))._replace(**values[part])]
            continue
        # a rule for biases acts on them alone, wherever it stands
        rule = kind(**values[part])
        (biases if rule.needs.bias else weights).append(rule)
    if not biases:
        return _chained(name, weights)
    return WithBias(_chained(name, weights) if weights else (), _chained(name, biases))


def parse(texts: Iterable[str]) -> dict[str, float]:
    """The constants in texts such as "tau_e=500". Raises ValueError for a text that is none."""
    return checks.numbers(texts, "the rule's constants", "lr=0.01")


def _chained(name: str, rules: list[Rule]) -> Rule:
    """The rules one after another. Raises ValueError where `bounds` comes before any of them."""
    if not rules:
        raise ValueError(
            f"the rule {name} has no rule of the weights before {BOUNDS}; "
            f"give one, as in three_factor+{BOUNDS}"
        )
    if len(rules) == 1:
        return rules[0]
    return Chain(tuple(rules))


def _assigned(
    name: str, kinds: Mapping[str, type[Any]], constants: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """The constants of each part of the rule called `name`."""
    values: dict[str, dict[str, float]] = {part: {} for part in kinds}
    # the rule that bounds act on is no constant, though it is a field
    fields = {p: [f for f in kind._fields if f != "rule"] for p, kind in kinds.items()}
    for key, value in constants.items():
        part, _, constant = key.rpartition(".")
        owners = [p for p in fields if constant in fields[p] and part in ("", p)]
        if len(owners) > 1:
            choices = " or ".join(f"{owner}.{constant}" for owner in owners)
            raise ValueError(f"the rule {name} has more than one {key}; write {choices}")
        if not owners:
            known = [
                f"{p}.{field}" if len(fields) > 1 else field for p in fields for field in fields[p]
            ]
            near = discovery.suggestion(key, known)
            raise ValueError(f"the rule {name} has no constant called {key!r}; {near}")
        values[owners[0]][constant] = value
    return values


__all__ = [
    "VARIABLES",
    "Bounds",
    "Chain",
    "LastTick",
    "Needs",
    "Post",
    "Pre",
    "Rule",
    "State",
    "WithBias",
    "at_zero",
    "decay",
    "gate",
    "last_tick",
    "load",
    "low_pass",
    "make",
    "merged",
    "no_tick",
    "outer",
    "parse",
    "remembered",
    "zeros",
]
