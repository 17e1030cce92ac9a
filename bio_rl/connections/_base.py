"""The contract of a connection, and all that its kinds share."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

import torch
from torch import Tensor, nn

from bio_rl.connections._check import check_sizes, check_spikes
from bio_rl.connections._linear import linear, spike_linear
from bio_rl.contracts import State
from bio_rl.state import check_batch, where_reset


class BaseConnection(nn.Module, ABC):
    """Synapses from n_pre neurons to n_post:  drive = W a + b,  a being what arrives of the spikes.

    A kind says what arrives (`transmit`), what the weights are (`effective_weight`), or both.
    graded: the input may be any number; False promises spikes (0 or 1), which are then kept in one
    byte each for the backward pass.
    """

    name: ClassVar[str]
    """The kind's name on the command line, that of its file."""
    stateful: ClassVar[bool] = False
    """Whether what arrives depends on earlier ticks: then spikes are [B, pre], a tick at a time."""
    between_layers: ClassVar[bool] = True
    """Whether n_pre and n_post may be any numbers, so that the kind can join any two layers."""
    releases: ClassVar[bool] = False
    """Whether what arrives of a spike is a fraction of it, and so no spike."""

    weight: nn.Parameter
    """[post, pre] of the synapses."""
    bias: nn.Parameter | None
    """[post] the drive without any spikes, or None."""
    mask: Tensor | None
    """[post, pre] 1 where there is a synapse; None where all are."""
    max_delay: int = 0
    """Ticks after its spike at which the last of it arrives, at most."""

    def __init__(self, n_pre: int, n_post: int, graded: bool = True) -> None:
        super().__init__()
        check_sizes(self.name, n_pre=n_pre, n_post=n_post)
        self.graded = graded
        self.register_buffer("mask", None)

    def initial_state(self, batch: int) -> State:
        """The state of `batch` rows of synapses at rest; () for a kind without one."""
        return ()

    def transmit(self, spikes: Tensor, state: State, dt: float) -> tuple[Tensor, State]:
        """(What arrives at the weights [..., pre], state) at one tick of dt ms."""
        return spikes, state

    def effective_weight(self) -> Tensor:
        """w [post, pre] as what arrives meets it."""
        return self.weight

    def product(self, arriving: Tensor) -> Tensor:
        """drive [..., post] of what arrives [..., pre]. Raises ValueError for another layer's."""
        weight = self.effective_weight()
        check_spikes(self.name, arriving, weight.shape[-1])
        # weights with a group axis are never packed: their product is a batched one
        grouped = weight.dim() == 3
        if self.graded or grouped:
            return linear(arriving, weight, self.bias)
        return spike_linear(arriving, weight, self.bias)

    def forward(self, spikes: Tensor, state: State, dt: float = 1.0) -> tuple[Tensor, State]:
        """(drive, state) after one tick of dt ms. Raises ValueError for spikes of another layer's
        size or a state of another batch.
        """
        if self.stateful:
            self._check(spikes, state)
        arriving, state = self.transmit(spikes, state, dt)
        return self.product(arriving), state

    def unroll(
        self, spikes: Tensor, state: State, reset: Tensor, ticks: int, dt: float = 1.0
    ) -> tuple[Tensor, State]:
        """(drive [T·K, B, post], state) after T decisions of K = `ticks` ticks.

        spikes: [T·K, B, pre]; reset: [T, B] bool, rows whose decision starts at rest. Equals a
        `forward` for each tick. Raises ValueError as that does.
        """
        if not self.stateful:
            return self(spikes, state, dt)
        arriving, state = self.arrive(spikes, state, reset, ticks, dt)
        # the weights meet all ticks at once
        return self.product(arriving), state

    def arrive(
        self, spikes: Tensor, state: State, reset: Tensor, ticks: int, dt: float = 1.0
    ) -> tuple[Tensor, State]:
        """(What arrives at the weights [T·K, B, pre], state) in the decisions of `unroll`."""
        rest = self.initial_state(spikes.shape[1])
        arrived = []
        for tick, now in enumerate(spikes):
            self._check(now, state)
            if tick % ticks == 0:
                state = where_reset(reset[tick // ticks], rest, state)
            arriving, state = self.transmit(now, state, dt)
            arrived.append(arriving)
        # no time: what is empty stays as empty
        return torch.stack(arrived) if arrived else spikes, state

    def _check(self, spikes: Tensor, state: State) -> None:
        n_pre = self.weight.shape[-1]
        check_spikes(self.name, spikes, n_pre, batched=True)
        check_batch(state, spikes.shape[0], self.name)
