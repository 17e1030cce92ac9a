"""Neurons, one a file: a NamedTuple of constants (`NEURON`) with pure `init` and `step`, and a
NamedTuple of state.

    state = p.init(batch, n)                        at rest, every field [B, N]
    spikes, state = p.step(state, drive, dt)
        one tick of dt ms; drive [B, N]; spikes [B, N] in {0, 1}

A constant may be a tensor [N] or [] where neurons differ or learn; the time loop is then torch's,
except for the learned decay of a membrane alone. Those whose time loop is fused say what it runs:
`p.core(dt)`. `checked` refuses constants that no neuron can have. The file's name is the neuron's
on the command line.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from bio_rl import discovery
from bio_rl.checks import EXPECTED, check
from bio_rl.contracts import State
from bio_rl.modes import transformed
from bio_rl.state import rows, tree_map
from bio_rl.surrogates import SURROGATES

Constants = TypeVar("Constants")


class Neuron(Protocol):
    """Constants of a neuron; a NamedTuple."""

    v_threshold: Any

    def init(self, batch: int, n: int, device: torch.device | None = None) -> Any:
        """The state of `batch` x `n` neurons at rest."""
        ...

    def step(self, s: Any, drive: Tensor, dt: float = 1.0) -> tuple[Tensor, Any]:
        """Spikes [B, N] of one tick, and the state after it."""
        ...


class Core(NamedTuple):
    """What the fused time loops run: a leaky integrator with an optional synaptic current i,
    adaptation a and refractoriness r.

        i ← α i + drive        h = v_leak + β (v - v_leak) + g i       x = h - v_threshold - κ a
            spike where x >= 0
        v ← v_reset, or h - v_threshold (soft), where it spiked, else h          a ← ρ a + spike

    Without a synaptic current i is the drive. While r > dt/2 a neuron is held: v stays, no spike, r
    ← r - dt.
    """

    decay: float | Tensor
    """β; a tensor [N] or [] is learned, and its gradient flows (then g = 1 - β)."""
    gain: float = 1.0
    """g."""
    v_threshold: float = 1.0
    v_leak: float = 0.0
    v_reset: float | None = 0.0
    """None: soft."""
    decay_synapse: float = 0.0
    """α."""
    decay_adaptation: float = 0.0
    """ρ."""
    adaptation: float = 0.0
    """κ."""
    refractory: float = 0.0
    """ms."""
    surrogate: str = "atan"
    slope: float = 2.0


def load(name: str) -> type:
    """The constants of the neuron called `name`. Raises ValueError with the nearest name when there
    is none.
    """
    return discovery.load(sys.modules[__name__], name).NEURON


def checked(*, above: str = "", **ranges: str) -> Callable[[type[Constants]], type[Constants]]:
    """A decorator for the constants of a neuron: those named have ranges of `checks.EXPECTED`, all
    others are finite.

    above: the constant that `v_threshold` has to exceed, for neurons whose membrane is in mV, where
    0 is nothing special. An impossible constant raises ValueError when the constants are made or
    replaced. Tensors are looked at when they are made.
    """

    def mend(kind: Any) -> Any:
        make, replace = kind.__new__, kind._replace

        @functools.wraps(make)
        def new(cls: Any, *args: Any, **values: Any) -> Any:
            p = make(cls, *args, **values)
            for name, value in zip(p._fields, p, strict=True):
                _check_constant(kind, name, value, ranges.get(name, "finite"))
            if above and not _all(p.v_threshold > getattr(p, above)):
                raise ValueError(
                    f"{_owner(kind)}.v_threshold is {p.v_threshold}, expected more than {above}, a spike's end"
                )
            return p

        @functools.wraps(replace)
        def replaced(self: Any, /, **values: Any) -> Any:
            for name, value in values.items():
                if not isinstance(
                    value, Tensor
                ):  # those that learn come from their optimiser at every call
                    _check_constant(kind, name, value, ranges.get(name, "finite"))
            return replace(self, **values)

        kind.__new__, kind._replace = new, replaced
        return kind

    return mend


def _check_constant(kind: type, name: str, value: Any, needed: str) -> None:
    if isinstance(value, Tensor):
        if not _all(_within(value.detach(), needed)):
            raise ValueError(
                f"{_owner(kind)}.{name} is {value.detach().tolist()}, expected {EXPECTED[needed][1]}"
            )
    elif name == "surrogate":
        if value not in SURROGATES:
            raise ValueError(
                f"{_owner(kind)}.surrogate is {value!r}; {discovery.suggestion(str(value), SURROGATES)}"
            )
    elif value is not None or name != "v_reset":  # None is a soft reset
        check(_owner(kind), name, value, needed)


def _owner(kind: type) -> str:
    return kind.__module__.rpartition(".")[2]


def _all(fits: bool | Tensor) -> bool:
    """Whether it fits for every neuron; tensors of a function transform cannot be asked."""
    if isinstance(fits, Tensor):
        return transformed() or bool(fits.all())
    return fits


def _within(x: Tensor, needed: str) -> Tensor:
    """Where x is within a range of `checks.EXPECTED`."""
    least = {"positive": x > 0, "non-negative": x >= 0}
    return least.get(needed, x == x) & x.isfinite()


def exp(x: float | Tensor) -> Any:
    """e^x of a number, or of a constant that differs between neurons or learns."""
    return x.exp() if isinstance(x, Tensor) else math.exp(x)


def some(x: float | Tensor) -> bool:
    """Whether a constant is positive, in any neuron."""
    return bool((x > 0).any()) if isinstance(x, Tensor) else x > 0


def resting(level: float | Tensor, batch: int, n: int, device: torch.device | None) -> Tensor:
    """[B, N] at a level that all neurons share, or [N] where it differs."""
    if isinstance(level, Tensor):
        return level.to(device or level.device).expand(batch, n).clone()
    return torch.full((batch, n), level, device=device)


def after_spike(
    v: Tensor, z: Tensor, v_threshold: float | Tensor, v_reset: float | Tensor | None
) -> Tensor:
    """v where z is 0; where it is 1, v_reset (hard), or for v_reset None what exceeds the threshold
    (soft). z is detached.
    """
    fired = z.detach()
    return v - fired * v_threshold if v_reset is None else torch.where(fired.bool(), v_reset, v)


def capped(v: Tensor, limit: float | Tensor) -> Tensor:
    """min(v, limit) whose gradient passes through: a neuron that spikes can still learn to spike
    less.
    """
    return v + (v.clamp(max=limit) - v).detach()


def reset_rows(p: Neuron, mask: Tensor, state: State) -> State:
    """The state at rest in the rows where `mask` [B] is set. A noise key goes on: episodes must not
    share their noise.
    """
    fresh = p.init(*state[0].shape, device=state[0].device)
    if hasattr(state, "key"):
        fresh = fresh._replace(key=state.key)
    if fresh[0].dtype is not state[0].dtype:  # a network in another precision
        fresh = tree_map(lambda new, old: new.to(old.dtype), fresh, state)
    return tree_map(lambda new, old: torch.where(rows(mask, old), new, old), fresh, state)
