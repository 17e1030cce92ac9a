"""Neurons, one a file: a NamedTuple of constants (`NEURON`) with pure `init` and `step`, and a
NamedTuple of state.

    state = p.init(batch, n)                        at rest, every field [B, N]
    spikes, state = p.step(state, drive, dt)
        one tick of dt ms; drive [B, N]; spikes [B, N] in {0, 1}

A constant may be a tensor [N] or [] where neurons differ or learn; the time loop is then torch's,
except for the learned decay of a membrane alone. `Neuron` declares what a neuron may say of itself;
`checked` refuses constants that no neuron can have. The file's name is the neuron's on the command
line.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from bio_rl import discovery
from bio_rl.contracts import State
from bio_rl.neurons._checks import checked
from bio_rl.parts import Cost
from bio_rl.state import leaves, rows, tree_map
from bio_rl.surrogates import SURROGATES

__all__ = [
    "Core",
    "Neuron",
    "NeuronState",
    "Traced",
    "after_spike",
    "capped",
    "checked",
    "exp",
    "load",
    "refuse_attached_reset",
    "reset_rows",
    "resting",
    "some",
    "spiking",
]


class Core(NamedTuple):
    """The constants of the fused time loops: a leaky integrator with an optional synaptic current
    i, adaptation a and refractoriness r.

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
    v_threshold: float | Tensor = 1.0
    v_leak: float | Tensor = 0.0
    v_reset: float | Tensor | None = 0.0
    """None: soft."""
    decay_synapse: float | Tensor = 0.0
    """α."""
    decay_adaptation: float | Tensor = 0.0
    """ρ."""
    adaptation: float | Tensor = 0.0
    """κ."""
    refractory: float | Tensor = 0.0
    """ms."""
    surrogate: str = "atan"
    slope: float | Tensor = 2.0

    def excess(self, s: Any, drive: Tensor) -> Tensor:
        """[B, N] by how much membranes exceed the threshold in a tick, before any reset."""
        current = self.decay_synapse * s.i + drive if self.decay_synapse else drive
        v = self.v_leak + self.decay * (s.v - self.v_leak) + self.gain * current
        threshold = self.v_threshold
        if self.decay_adaptation:
            threshold = threshold + self.adaptation * s.a
        return v - threshold


class Traced(NamedTuple):
    """A tick of neurons, with what local rules read of them."""

    spikes: Tensor
    """[B, N]."""
    state: Any
    """After the tick."""
    psi: Tensor | tuple[()] = ()
    """[B, N] the pseudo-derivative of each spike by its membrane; () where there is none."""
    p: Tensor | tuple[()] = ()
    """[B, N] the probability of each spike; () where nothing is drawn."""


class NeuronState(Protocol):
    """The state of neurons, a NamedTuple whose first field is the membrane.

    That of a `noisy` neuron has a field `key` [B] as well, from which it draws.
    """

    @property
    def v(self) -> Tensor:
        """[B, N] membrane potential after the last tick's reset."""
        ...


class Neuron(ABC):
    """The contract of a neuron, with the defaults of all that it may say of itself: a second base
    of a NamedTuple of constants.

        class Constants(NamedTuple):
            tau_mem: float = 2.0

        class MyNeuron(Constants, Neuron): ...
    """

    __slots__ = ()

    spikes: ClassVar[bool] = True
    """Whether `step` gives spikes; a readout gives its membranes instead."""
    noisy: ClassVar[bool] = False
    """Whether it draws: its state then has a `key` [B], which a reset does not touch."""
    unit_drive: ClassVar[float] = 1.0
    """Number that a network multiplies its drives by, which are in units of a threshold."""
    span: ClassVar[float] = 1.0
    """From rest to the threshold, in the unit of the membrane: what is one unit elsewhere."""
    learned: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """{constant: setting} of those that learn: a network's setting says where one starts."""

    if TYPE_CHECKING:  # every NamedTuple has these
        _fields: ClassVar[tuple[str, ...]]
        _field_defaults: ClassVar[dict[str, Any]]

        def _replace(self, **values: Any) -> Self: ...

        def _asdict(self) -> dict[str, Any]: ...

    @abstractmethod
    def init(self, batch: int, n: int, device: torch.device | None = None) -> Any:
        """The state of `batch` x `n` neurons at rest, a `NeuronState`."""

    @abstractmethod
    def step(self, s: Any, drive: Tensor, dt: float = 1.0) -> tuple[Tensor, Any]:
        """Spikes [B, N] of one tick of dt ms under the drive [B, N], and the state after it."""

    def cost(self) -> Cost:
        """The arithmetic of one tick of one neuron: unless a neuron says otherwise every number of
        its state decays in one multiplication, and the membrane is compared with the threshold.
        """
        numbers = sum(1 for x in leaves(self.init(1, 1)) if x.is_floating_point())
        return Cost(adds=1.0, macs=float(numbers))

    def core(self, dt: float) -> Core | None:
        """The constants with which the fused time loops run it; None where they do not.

        Raises ValueError, with the reason, for constants of this neuron that they do not run.
        """
        return None

    def learning(self, tau_mem: float | None, n: int) -> Self:
        """The same with a fresh parameter [n] in place of each constant that learns, which starts
        where `tau_mem` ms says; None for where it is.
        """
        return self

    def psi(self, x: Tensor) -> Tensor:
        """The pseudo-derivative dz/dv [B, N] where the membrane exceeds the threshold by x."""
        constants = self._asdict()
        surrogate = SURROGATES[constants["surrogate"]]
        return surrogate(x, constants["slope"])

    def traced_step(self, s: Any, drive: Tensor, dt: float = 1.0) -> Traced:
        """`step`, with what local rules read of the neurons: ψ where the equation is that of the
        fused loops, nothing else by default.
        """
        try:
            core = self.core(dt)
        except ValueError:  # constants that no fused loop knows: nothing is said of ψ
            core = None
        psi = () if core is None else self.psi(core.excess(s, drive))
        spikes, s = self.step(s, drive, dt)
        return Traced(spikes, s, psi=psi)


def load(name: str) -> type[Neuron]:
    """The constants of the neuron called `name`. Raises ValueError with the nearest name when there
    is none.
    """
    module = discovery.load(sys.modules[__name__], name)
    return module.NEURON


def spiking() -> list[str]:
    """Names of the neurons that spike, which are those that a network can be made of."""
    names = discovery.names(sys.modules[__name__])
    return [name for name in names if load(name).spikes]


def exp(x: float | Tensor) -> Any:
    """e^x of a number, or of a constant that differs between neurons or learns."""
    if isinstance(x, Tensor):
        return x.exp()
    return math.exp(x)


def some(x: float | Tensor) -> bool:
    """Whether a constant is positive, in any neuron."""
    if isinstance(x, Tensor):
        return bool((x > 0).any())
    return x > 0


def resting(level: float | Tensor, batch: int, n: int, device: torch.device | None) -> Tensor:
    """[B, N] at a level that all neurons share, or [N] where it differs."""
    if isinstance(level, Tensor):
        here = level.to(device or level.device)
        # a copy, since rows of a state may be written to
        return here.expand(batch, n).clone()
    return torch.full((batch, n), level, device=device)


def after_spike(
    v: Tensor,
    z: Tensor,
    v_threshold: float | Tensor,
    v_reset: float | Tensor | None,
    detach: bool = True,
) -> Tensor:
    """v where z is 0; where it is 1, v_reset (hard), or for v_reset None what exceeds the threshold
    (soft).

    detach: the reset passes no gradient to z (Zenke & Vogels 2021); else dv/dz is v_reset - v, or
    -v_threshold.
    """
    fired = z.detach() if detach else z
    if v_reset is None:
        return v - fired * v_threshold
    if not detach:
        # as products, since `where` passes no gradient to what it chooses by
        return (1.0 - fired) * v + fired * v_reset
    return torch.where(fired.bool(), v_reset, v)


def refuse_attached_reset(name: str, detach: bool) -> None:
    """Raise ValueError where the reset carries gradient, which it does in no fused time loop."""
    if not detach:
        raise ValueError(
            f"{name}.detach_reset is False, but the fused loops pass no gradient through a reset"
        )


def capped(v: Tensor, limit: float | Tensor) -> Tensor:
    """min(v, limit) whose gradient passes through: a neuron that spikes can still learn to spike
    less.
    """
    excess = (v.clamp(max=limit) - v).detach()
    return v + excess


def reset_rows(p: Neuron, mask: Tensor, state: State) -> State:
    """The state at rest in the rows where `mask` [B] is set. A noise key goes on: episodes must not
    share their noise.
    """
    fresh = p.init(*state[0].shape, device=state[0].device)
    if p.noisy:
        fresh = fresh._replace(key=state.key)
    if fresh[0].dtype is not state[0].dtype:
        # a network in another precision, whose neurons begin in that of their constants
        fresh = tree_map(lambda new, old: new.to(old.dtype), fresh, state)
    return tree_map(lambda new, old: torch.where(rows(mask, old), new, old), fresh, state)
