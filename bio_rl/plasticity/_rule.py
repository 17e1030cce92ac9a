"""The contract of a plasticity rule, and the arithmetic that rules share."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple, Protocol, TypeVar, overload, runtime_checkable

import torch
from torch import Tensor

from bio_rl.state import rows

VARIABLES = {
    "spike": "spikes, 0 or 1",
    "activity": "activities",
    "p": "the probability of each spike, or the mean of a noisy activity",
    "psi": "the pseudo-derivative of each spike",
    "v": "membrane potentials",
}
"""Every local variable of a neuron that a rule may read. A spike is an activity too."""


class Pre(NamedTuple):
    """Presynaptic neurons at one tick."""

    spike: Tensor
    """[..., pre] 0 or 1; or the activity of a rate neuron."""


class Post(NamedTuple):
    """Postsynaptic neurons at one tick; a variable that the rule does not read may be left out."""

    spike: Tensor
    """[..., post] 0 or 1; or the activity of a rate neuron."""
    p: Tensor | tuple[()] = ()
    """[..., post] the probability with which it spiked, or the mean of its noisy activity."""
    psi: Tensor | tuple[()] = ()
    """[..., post] the pseudo-derivative of its spike by its membrane."""
    v: Tensor | tuple[()] = ()
    """[..., post] its membrane potential."""


class Needs(NamedTuple):
    """All that a learner must know of a rule in order to use it."""

    modulator: bool
    """Whether a neuromodulator gates the rule. Where none does, it is unsupervised, and its
    modulator is one.
    """
    every_tick: bool
    """Whether `delta` is due at every tick, because it knows the last tick alone. Where not, the
    state holds an eligibility, and `delta` is due when the modulator arrives.
    """
    pre: tuple[str, ...] = ("activity",)
    """The VARIABLES of the presynaptic neurons that the rule reads."""
    post: tuple[str, ...] = ("activity",)
    """The VARIABLES of the postsynaptic neurons that the rule reads."""
    signal: bool = False
    """Whether `signal` must be given."""
    without_signal: tuple[str, ...] = ()
    """The VARIABLES of the postsynaptic neurons that the rule reads in place of a signal. Where the
    rule has no use for a signal, these are empty.
    """
    bias: bool = False
    """Whether the last presynaptic neuron must be one that is always on, so that its weight is the
    bias.
    """

    @property
    def reads_signal(self) -> bool:
        """Whether a signal makes a difference to the rule."""
        if self.signal:
            return True
        return len(self.without_signal) > 0

    def check(
        self,
        rule: str,
        network: str,
        pre: Collection[str],
        post: Collection[str],
        signal: bool = False,
    ) -> None:
        """Raise ValueError where `network` cannot give what `rule` needs; both are names.

        pre, post: the VARIABLES that the network gives. signal: whether the learner gives one.
        """
        if self.signal and not signal:
            raise ValueError(
                f"the rule {rule} needs a learning signal for each neuron, and {network} gives none"
            )
        # a signal takes the place of the variables that make one
        from_post = self.post if signal else (*self.post, *self.without_signal)
        for side, wanted, available in (("pre", self.pre, pre), ("post", from_post, post)):
            missing = sorted(set(wanted) - _with_activity(available))
            if missing:
                raise ValueError(
                    f"the rule {rule} reads {VARIABLES[missing[0]]} ({missing[0]}) of its "
                    f"{side}synaptic neurons, which {network} does not give; "
                    f"it gives: {', '.join(sorted(available)) or 'nothing'}"
                )


def merged(needs: Iterable[Needs]) -> Needs:
    """The needs of several rules together: everything that any of them needs."""
    needs = list(needs)
    return Needs(
        modulator=any(n.modulator for n in needs),
        every_tick=any(n.every_tick for n in needs),
        pre=_union(n.pre for n in needs),
        post=_union(n.post for n in needs),
        signal=any(n.signal for n in needs),
        without_signal=_union(n.without_signal for n in needs),
        bias=any(n.bias for n in needs),
    )


def _union(names: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Every name once, in the order of VARIABLES."""
    wanted: set[str] = set()
    for group in names:
        wanted.update(group)
    return tuple(name for name in VARIABLES if name in wanted)


def _with_activity(names: Collection[str]) -> set[str]:
    """The names, with the activity that a spike is."""
    given = set(names)
    if "spike" in given:
        given.add("activity")
    return given


@runtime_checkable
class Rule(Protocol):
    """The constants of a rule, in a NamedTuple: each a number, or a tensor that broadcasts over
    what it multiplies. `needs` is an attribute of the class, without an annotation.
    """

    @property
    def needs(self) -> Needs:
        """The demands on the learner."""
        ...

    def init(self, *shape: int, device: torch.device | None = None) -> Any:
        """The state of synapses of the shape (..., post, pre), all zero."""
        ...

    def trace(
        self,
        state: Any,
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> Any:
        """The state after one tick of dt ms.

        signal: [..., post], a factor of each postsynaptic neuron that is there at once.
        """
        ...

    def delta(self, state: Any, w: Tensor, modulator: Tensor) -> Tensor:
        """The change of the weights [..., post, pre].

        modulator: [...], or [..., post] where each postsynaptic neuron has another.
        """
        ...


class LastTick(NamedTuple):
    """The state of a rule that remembers nothing but the last tick."""

    x: Tensor
    """[..., pre] activity at the last tick."""
    y: Tensor
    """[..., post] activity at the last tick."""


RuleState = TypeVar("RuleState", bound=tuple)


def at_zero(kind: Callable[..., RuleState], *axes: str) -> Callable[..., RuleState]:
    """An `init` of a rule: it returns a `kind` whose fields are all at zero.

    axes: of each field in turn, "pre" for [..., pre], "post" for [..., post], or "synapse" for
    [..., post, pre].
    """

    def init(*shape: int, device: torch.device | None = None) -> RuleState:
        pre, post, synapse = zeros(*shape, device=device)
        fresh = {"pre": pre, "post": post, "synapse": synapse}
        # clones, so that no two fields share memory
        fields = [fresh[axis].clone() for axis in axes]
        return kind(*fields)

    return init


no_tick = at_zero(LastTick, "pre", "post")
"""The LastTick before the first: the `init` of a rule with this state."""


def last_tick(
    state: LastTick,
    w: Tensor,
    pre: Pre,
    post: Post,
    signal: Tensor | None = None,
    dt: float = 1.0,
) -> LastTick:
    """The LastTick after a tick with the activities of pre and post: the `trace` of such a rule."""
    x = remembered(pre.spike)
    y = remembered(post.spike)
    return LastTick(x, y)


def remembered(activity: Tensor) -> Tensor:
    """An activity as a state keeps it: without its history where the learner wants no gradient."""
    if torch.is_grad_enabled():
        return activity
    return activity.detach()


@overload
def decay(tau: float, dt: float) -> float: ...


@overload
def decay(tau: float | Tensor, dt: float) -> float | Tensor: ...


def decay(tau: float | Tensor, dt: float) -> float | Tensor:
    """The part of a trace that is left after dt ms: e^(-dt/τ), and 0 where the time constant is 0.

    tau: τ in ms, a number or a tensor; gradients flow to a tensor.
    """
    if not isinstance(tau, Tensor):
        if tau <= 0:
            return 0.0
        return math.exp(-dt / tau)
    # a division by zero would turn the gradient into NaN even where its result is not used
    positive = torch.where(tau > 0, tau, 1.0)
    left = torch.exp(-dt / positive)
    return torch.where(tau > 0, left, 0.0)


def low_pass(mean: Tensor, value: Tensor, keep: float | Tensor) -> Tensor:
    """The running mean after a tick with this value, of which the part `keep` is the past's."""
    return keep * mean + (1.0 - keep) * value


def outer(post: Tensor, pre: Tensor) -> Tensor:
    """The products post_j pre_i: [..., post] and [..., pre] to [..., post, pre]."""
    rows = post.unsqueeze(-1)
    columns = pre.unsqueeze(-2)
    return rows * columns


def gate(modulator: Tensor, e: Tensor) -> Tensor:
    """The modulator, [...] or [..., post], times the e [..., post, pre] that it gates."""
    # with an axis of one for each that the modulator lacks
    gates = rows(modulator, e)
    return gates * e


def zeros(*shape: int, device: torch.device | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Traces at zero for synapses of the shape (..., post, pre): one of the presynaptic neurons
    [..., pre], one of the postsynaptic neurons [..., post], one of the synapses.
    """
    *lead, n_post, n_pre = shape
    return (
        torch.zeros(*lead, n_pre, device=device),
        torch.zeros(*lead, n_post, device=device),
        torch.zeros(*shape, device=device),
    )
