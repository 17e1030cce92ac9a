"""Rules put together: one after another, or one for the weights and one for the biases.

    Δw = Δ_1(w) + Δ_2(w + Δ_1) + Δ_3(w + Δ_1 + Δ_2) + …

Every part has a state of its own, and sees the weights after the change of the part before. The
modulator gates the parts that a modulator gates; the others act at their full rate, under any
modulator.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bio_rl.plasticity._rule import Needs, Post, Pre, Rule, merged


class Chain(NamedTuple):
    """Rules one after another; itself a rule, whose state is the tuple of theirs."""

    rules: tuple[Rule, ...]

    @property
    def needs(self) -> Needs:
        return merged(rule.needs for rule in self.rules)

    def init(self, *shape: int, device: torch.device | None = None) -> tuple[Any, ...]:
        return tuple(rule.init(*shape, device=device) for rule in self.rules)

    def trace(
        self,
        state: tuple[Any, ...],
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> tuple[Any, ...]:
        return tuple(
            rule.trace(part, w, pre, post, signal, dt)
            for rule, part in zip(self.rules, state, strict=True)
        )

    def delta(self, state: tuple[Any, ...], w: Tensor, modulator: Tensor) -> Tensor:
        first, *others = zip(self.rules, state, strict=True)
        change = change_by(*first, w, modulator)
        for rule, part in others:
            # each part sees the weights as the parts before it leave them
            changed = w + change
            change = change + change_by(rule, part, changed, modulator)
        return change


class WithBias(NamedTuple):
    """One rule for the weights and one for the biases; itself a rule.

    The last presynaptic neuron is always on, its spike 1 at every tick, so that the last column of
    w [..., post, pre] is the biases. Its state is the pair of theirs.
    """

    weights: Rule | tuple[()]
    """The rule of all columns but the last, or () where these stay as they are."""
    bias: Rule
    """The rule of the last column."""

    @property
    def needs(self) -> Needs:
        parts = [self.bias]
        if self.weights:
            parts.append(self.weights)
        needs = merged(part.needs for part in parts)
        return needs._replace(bias=True)

    def init(self, *shape: int, device: torch.device | None = None) -> tuple[Any, Any]:
        *lead, n_pre = shape
        bias = self.bias.init(*lead, 1, device=device)
        if not self.weights:
            return (), bias
        return self.weights.init(*lead, n_pre - 1, device=device), bias

    def trace(
        self,
        state: tuple[Any, Any],
        w: Tensor,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
    ) -> tuple[Any, Any]:
        of_weights, of_bias = state
        weights, bias = _split(w)
        others, always_on = _split(pre.spike)
        # the bias is the weight from the neuron that is always on
        of_bias = self.bias.trace(of_bias, bias, Pre(always_on), post, signal, dt)
        if self.weights:
            of_weights = self.weights.trace(of_weights, weights, Pre(others), post, signal, dt)
        return of_weights, of_bias

    def delta(self, state: tuple[Any, Any], w: Tensor, modulator: Tensor) -> Tensor:
        of_weights, of_bias = state
        weights, bias = _split(w)
        of_bias = change_by(self.bias, of_bias, bias, modulator)
        if self.weights:
            change = change_by(self.weights, of_weights, weights, modulator)
        else:
            *lead, _ = of_bias.shape
            change = of_bias.new_zeros(*lead, weights.shape[-1])
        return torch.cat((change, of_bias), -1)


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """The columns of the weights, and the last one, that of the bias."""
    return x[..., :-1], x[..., -1:]


def change_by(rule: Rule, state: Any, w: Tensor, modulator: Tensor) -> Tensor:
    """The change [..., post, pre] by one part; the modulator of an unsupervised one is one."""
    # an unsupervised rule would turn around where dopamine is negative
    if not rule.needs.modulator:
        modulator = torch.ones_like(modulator)
    return rule.delta(state, w, modulator)
