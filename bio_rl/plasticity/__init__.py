"""Plasticity rules, one a file: a NamedTuple of constants (`RULE`) with pure `init`, `trace` and
`delta`.

    state = p.init(*lead, n_post, n_pre)                 traces at zero
    state = p.trace(state, w, pre, post, signal, dt)
        one tick of dt ms: what the synapses see and remember
    dw    = p.delta(state, w, modulator)                 [..., post, pre], when a modulator arrives

The leading axes ... are any, and rows of them never mix; the weights w broadcast over them. With
weights of its own for each environment w is [B, post, pre]; with shared ones it is [post, pre], and
the caller reduces the [B, post, pre] of `delta`, say by its mean. A rule is local: nothing but pre,
post, w, its own state, the signal and the modulator enters. No gradient flows. A rule that needs no
neuromodulator is gated by a modulator of one. The file's name is the rule's on the command line.
"""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bio_rl import discovery
from bio_rl.contracts import State


class Pre(NamedTuple):
    """Presynaptic neurons at one tick."""

    spike: Tensor
    """[..., pre] 0 or 1; or the activity of a rate neuron."""


class Post(NamedTuple):
    """Postsynaptic neurons at one tick; what a rule does not read may be left out."""

    spike: Tensor
    """[..., post] 0 or 1; or the activity of a rate neuron."""
    p: Tensor | tuple[()] = ()
    """[..., post] the probability with which it spiked, or the mean of its noisy activity."""
    psi: Tensor | tuple[()] = ()
    """[..., post] the pseudo-derivative of its spike by its membrane."""
    v: Tensor | tuple[()] = ()
    """[..., post] its membrane potential."""


class Rule(Protocol):
    """Constants of a rule; a NamedTuple."""

    def init(self, *shape: int, device: torch.device | None = None) -> Any:
        """Its state for synapses of the shape (..., post, pre), all zero."""
        ...

    def trace(
        self, s: Any, w: Tensor, pre: Pre, post: Post, signal: Tensor | None = None, dt: float = 1.0
    ) -> Any:
        """The state after one tick. signal: [..., post], a factor of each neuron's own that is
        there at once.
        """
        ...

    def delta(self, s: Any, w: Tensor, modulator: Tensor) -> Tensor:
        """The change of the weights [..., post, pre]. modulator: [...], or [..., post] for one of
        each neuron's own.
        """
        ...


def load(name: str) -> type:
    """The constants of the rule called `name`. Raises ValueError with the nearest name when there
    is none.
    """
    return discovery.load(sys.modules[__name__], name).RULE


def decay(tau: float, dt: float) -> float:
    """What is left after dt ms of a trace with the time constant tau in ms; nothing where tau is 0."""
    return math.exp(-dt / tau) if tau > 0 else 0.0


def outer(post: Tensor, pre: Tensor) -> Tensor:
    """post_j pre_i: [..., post] and [..., pre] to [..., post, pre]."""
    return post.unsqueeze(-1) * pre.unsqueeze(-2)


def gate(modulator: Tensor, e: Tensor) -> Tensor:
    """The modulator, [...] or [..., post], times what it gates, e [..., post, pre]."""
    return modulator.view(*modulator.shape, *(1,) * (e.dim() - modulator.dim())) * e


def zeros(*shape: int, device: torch.device | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Traces at zero for synapses of the shape (..., post, pre): of the pre [..., pre], the post
    [..., post], the synapses.
    """
    *lead, n_post, n_pre = shape
    return (
        torch.zeros(*lead, n_pre, device=device),
        torch.zeros(*lead, n_post, device=device),
        torch.zeros(*shape, device=device),
    )


__all__ = ["Post", "Pre", "Rule", "State", "decay", "gate", "load", "outer", "zeros"]
