"""Weights that change: a connection, a rule, the modulator that gates it, and what the rule
remembers.

    state = plastic.initial_state(batch)
    y     = plastic.forward(x, state)                        as every connection
    state = plastic.remember(state, pre, post, signal)       the rule's `trace`, one tick
    state = plastic.learn(state, modulator, lr)              the rule's `delta`, when a modulator
                                                             arrives
    y, state = plastic.step(state, x, signal, modulator, x_next, lr, decay)
                                                             all three in one pass over memory

Weights are shared by all rows [post, pre], one set for each of G groups of rows [G, post, pre], or
one for each row, in the state. Shared weights and those of groups change in place, by the sum over
their rows, and no gradient flows; those of a row are returned anew, and a gradient flows through
them where the caller wants one. A bias is the weight from one more presynaptic neuron, which is
always active.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bio_rl import plasticity
from bio_rl.connections.dense import linear
from bio_rl.kernels.plastic import plastic_step
from bio_rl.parts import Plasticity
from bio_rl.plasticity import Post, Pre, Rule
from bio_rl.plasticity.three_factor import ThreeFactor, ThreeFactorState
from bio_rl.state import leaves, rows, tree_map, where_reset


class PlasticState(NamedTuple):
    """The memory of one plastic connection, rows first."""

    w: Tensor | tuple[()]
    """[B, post, pre] weights of each row; () where rows share them."""
    traces: Any
    """The rule's state, [B, ...] each."""


class Trail(NamedTuple):
    """Both sides of the synapses of one connection, in each of the K ticks of a decision."""

    pre: Tensor
    """[B, K, pre] presynaptic spikes or activities: what the weights were multiplied with."""
    post: Post
    """[B, K, post] each."""

    @classmethod
    def once(cls, pre: Tensor, post: Post) -> Trail:
        """The trail of a decision of a single tick, from [B, pre] and [B, post]."""
        return cls(pre.unsqueeze(1), _each(post, lambda x: x.unsqueeze(1)))

    def tick(self, k: int) -> tuple[Pre, Post]:
        """Both sides at the k-th tick."""
        return Pre(self.pre[:, k]), _each(self.post, lambda x: x[:, k])

    def mean(self) -> tuple[Pre, Post]:
        """Both sides on average over the decision, for rules of activities."""
        return Pre(self.pre.mean(1)), _each(self.post, lambda x: x.mean(1))


def _each(post: Post, change: Callable[[Tensor], Tensor]) -> Post:
    """Every variable of `post` changed; what is left out stays so."""
    others = [() if isinstance(x, tuple) else change(x) for x in post[1:]]
    return Post(change(post.spike), *others)


def _faded(traces: Any, decay: float | Tensor) -> Any:
    """The traces times `decay`, a number or [B]."""
    if isinstance(decay, Tensor):
        return tree_map(lambda trace: rows(decay, trace) * trace, traces)
    return tree_map(lambda trace: decay * trace, traces)


def _fits_kernel(rule: Rule) -> bool:
    """Whether the kernel computes this rule: no trace of the input, and constants that are numbers,
    for it lets no gradient through to a tensor.
    """
    if not isinstance(rule, ThreeFactor) or any(isinstance(x, Tensor) for x in rule):
        return False
    return rule.tau_pre == 0.0


class Plastic:
    """A connection whose weights change by a rule.

    It holds no parameters of its own: those of `connection` are the weights, and stay in its state
    dict. Make it once these are on their device.
    """

    def __init__(
        self,
        connection: nn.Module,
        rule: Rule,
        *,
        per_row: bool = False,
        mask: Tensor | None = None,
        bound: float = 0.0,
    ) -> None:
        """connection: has `weight` [post, pre] or [G, post, pre], and perhaps `bias`.

        per_row: every row has weights of its own, which start from the connection's. mask: like the
        connection's `weight`, 1 where there is a synapse; a bias is always there. bound: weights
        stay within ± this; 0 for no bound.
        """
        self.connection = connection
        self.rule = rule
        self.per_row = per_row
        self.bound = bound or None
        bias = connection._parameters.get("bias")
        self.has_bias = bias is not None
        self.mask = mask
        if mask is not None and self.has_bias:
            # like `weights`, which have the bias last
            self.mask = torch.cat((mask, torch.ones_like(mask[..., :1])), -1)
        self.fused = _fits_kernel(rule) and not per_row and mask is None
        """Whether a kernel does the rule's step in one pass over memory."""
        self.weights = self._joined(connection, bias)
        """[post, pre] or [G, post, pre], the bias last, in the memory of the connection's own."""

    @property
    def groups(self) -> int:
        """The number of blocks of rows with weights of their own; 1 where all share them."""
        return len(self.weights) if self.weights.dim() == 3 else 1

    def plasticity(self, name: str, passes: int = 1) -> Plasticity:
        """The cost of its learning, called `name`; passes: times in a decision that the rule looks
        at its synapses.
        """
        post, pre = self.weights.shape[-2:]
        traces = self.rule.init(1, post, pre)
        numbers = sum(trace.numel() for trace in leaves(traces))
        writes = float(passes) if self.rule.needs.every_tick else 1.0
        return Plasticity(name, post * pre, numbers, passes, writes)

    def initial_state(self, batch: int) -> PlasticState:
        """The state of `batch` fresh rows: traces at zero, and the connection's weights where each
        row has its own.
        """
        post, pre = self.weights.shape[-2:]
        traces = self.rule.init(batch, post, pre, device=self.weights.device)
        return PlasticState(self._of_rows(batch).clone() if self.per_row else (), traces)

    def forward(self, x: Tensor, state: PlasticState) -> Tensor:
        """The drive [B, post] of activities x [B, pre]."""
        x = self.with_bias(x)
        if isinstance(state.w, Tensor):
            return torch.bmm(state.w, x.unsqueeze(-1)).squeeze(-1)
        return linear(x, self.weights)

    def remember(
        self,
        state: PlasticState,
        pre: Pre,
        post: Post,
        signal: Tensor | None = None,
        dt: float = 1.0,
        fresh: Tensor | None = None,
    ) -> PlasticState:
        """The state after a tick of dt ms; signal [B, post] is a factor of each neuron's own.

        fresh: [B] bool, rows whose episode begins, which have forgotten what was before.
        """
        traces = state.traces
        if fresh is not None:
            blank = tree_map(torch.zeros_like, traces)
            traces = where_reset(fresh, blank, traces)
        pre = pre._replace(spike=self.with_bias(pre.spike))
        weights = state.w if isinstance(state.w, Tensor) else self._of_rows(len(pre.spike))
        return state._replace(traces=self.rule.trace(traces, weights, pre, post, signal, dt))

    def learn(
        self, state: PlasticState, modulator: Tensor, lr: float | Tensor = 1.0
    ) -> PlasticState:
        """The weights change by lr times what the rule asks for, gated by the modulator [B].

        lr: a number, or [post] for each neuron its own.
        """
        weights = state.w if isinstance(state.w, Tensor) else self._of_rows(len(modulator))
        change = self.rule.delta(state.traces, weights, modulator)
        change = change * (lr.unsqueeze(-1) if isinstance(lr, Tensor) else lr)
        if self.mask is not None:
            change = change * self.mask
        if isinstance(state.w, Tensor):
            return state._replace(w=self._bounded(state.w + change))
        with torch.no_grad():
            self.weights += self._summed(change)
            if self.bound is not None:
                self.weights.clamp_(-self.bound, self.bound)
        return state

    def step(
        self,
        state: PlasticState,
        x: Tensor,
        signal: Tensor,
        modulator: Tensor,
        x_next: Tensor,
        lr: float | Tensor,
        decay: float | Tensor,
    ) -> tuple[Tensor, PlasticState]:
        """(drive [B, post] of x_next by the changed weights, state): `remember` for 1 ms, `learn`
        and `forward`, fused for the three-factor rule.

        decay: a number or [B], the factor of older traces, which fade by it before they fade as the
        rule says; 0 in rows whose episode began.
        """
        if not self.fused:
            state = state._replace(traces=_faded(state.traces, decay))
            state = self.remember(state, Pre(x), Post(signal), signal)
            state = self.learn(state, modulator, lr)
            return self.forward(x_next, state), state
        assert isinstance(self.rule, ThreeFactor)  # no other is fused
        rule = self.rule
        if rule.lr != 1.0:
            lr = rule.lr * lr
        if rule.tau_e != math.inf:
            decay = plasticity.decay(rule.tau_e, 1.0) * decay
        traces: ThreeFactorState = state.traces
        e = traces.e.clone()
        y = plastic_step(
            self.weights,
            e,
            self.with_bias(x),
            signal,
            modulator,
            self.with_bias(x_next),
            lr=lr,
            decay=decay,
            w_min=None if self.bound is None else -self.bound,
            w_max=self.bound,
        )
        return y, state._replace(traces=traces._replace(e=e))

    # ---------------------------------- weights of rows, groups and all

    @staticmethod
    @torch.no_grad()
    def _joined(connection: nn.Module, bias: Tensor | None) -> Tensor:
        """Weights and bias as one tensor, whose memory the connection uses from now on."""
        weight: Tensor = connection.weight  # type: ignore[assignment]  # a parameter or a buffer
        if bias is None:
            return weight.data
        whole = torch.cat((weight, bias.unsqueeze(-1)), -1)
        weight.data = whole[..., :-1]
        bias.data = whole[..., -1]
        return whole

    def with_bias(self, x: Tensor) -> Tensor:
        """x [B, pre] with the neuron that is always active, where there is a bias."""
        if not self.has_bias:
            return x
        return torch.cat((x, torch.ones_like(x[:, :1])), -1)

    def _of_rows(self, batch: int) -> Tensor:
        """The weights that each of `batch` rows reads, [B, post, pre], without a copy where all
        share them.
        """
        if self.groups == 1:
            return self.weights.view(1, *self.weights.shape[-2:]).expand(batch, -1, -1)
        return self.weights.repeat_interleave(batch // self.groups, 0)

    def _summed(self, change: Tensor) -> Tensor:
        """The sum over the rows of each group, of a change [B, post, pre], like the weights."""
        return change.view(self.groups, -1, *change.shape[1:]).sum(1).view_as(self.weights)

    def _bounded(self, w: Tensor) -> Tensor:
        return w if self.bound is None else w.clamp(-self.bound, self.bound)
