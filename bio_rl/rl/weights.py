"""Weights in learning: the networks of an agent as one vector each, with the optimisers that move
them, and the targets that follow them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bio_rl.groups import members
from bio_rl.rl.critics import TwinCritic
from bio_rl.rl.optim import clip_, flatten


class Learned(NamedTuple):
    """A network that learns."""

    network: nn.Module
    lr: float
    """Adam's learning rate."""


class Target(NamedTuple):
    """A network whose weights follow those of another."""

    network: nn.Module
    follows: str
    """The name of a `Learned`."""


class Weights:
    """The weights of networks, of `groups` seeds each, and all that moves them."""

    def __init__(
        self, learned: Mapping[str, Learned], targets: Mapping[str, Target], groups: int
    ) -> None:
        self.learned = learned
        self.targets = targets
        self.groups = groups
        self.flat = {name: flatten(x.network.parameters()) for name, x in learned.items()}
        """All weights of each network as one vector (`optim.flatten`)."""
        self.optimisers = {
            name: torch.optim.Adam([self.flat[name]], x.lr, fused=True)
            for name, x in learned.items()
        }
        self.parts = {name: _with_gradients(x.network) for name, x in learned.items()}
        """(weights, their gradients) of each network that learns, tensor by tensor."""
        self.flat |= {name: flatten(x.network.parameters()) for name, x in targets.items()}

    def scale_rates(self, factor: float) -> None:
        """Let every optimiser move at `factor` times its network's learning rate."""
        for name, optimiser in self.optimisers.items():
            optimiser.param_groups[0]["lr"] = self.learned[name].lr * factor

    def minimise(self, name: str, loss: Tensor, max_norm: float = 0.0) -> None:
        """One step of the network `name` down the gradient of `loss` by its weights alone.

        max_norm: each seed's gradient is scaled down to it; 0 for as it is.
        """
        weights, gradients = self.parts[name]
        torch._foreach_copy_(gradients, torch.autograd.grad(loss, weights))
        if max_norm:
            self._clip(name, gradients, max_norm)
        self.optimisers[name].step()

    def _clip(self, name: str, gradients: Sequence[Tensor], max_norm: float) -> None:
        """Scale each seed's gradient of the network `name` down to `max_norm`."""
        if self.groups == 1:
            clip_(self.flat[name].grad, max_norm)
            return
        for parts in members(self.learned[name].network, self.groups, gradients):
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(parts)))
            torch._foreach_mul_(parts, (max_norm / (norm + 1e-6)).clamp(max=1.0))

    @torch.no_grad()
    def follow(self, target: str, tau: float) -> None:
        """θ' ← (1 - τ) θ' + τ θ, for a target θ' and the network θ that it follows."""
        self.flat[target].lerp_(self.flat[self.targets[target].follows], tau)

    @contextmanager
    def fixed(self, name: str) -> Iterator[None]:
        """Within, no gradient goes to the weights of the network `name`, only through them."""
        weights, _ = self.parts[name]
        for w in weights:
            w.requires_grad_(False)
        try:
            yield
        finally:
            for w in weights:
                w.requires_grad_(True)

    @torch.no_grad()
    def copy_member(self, one: Weights, i: int) -> None:
        """Give `one` the weights of the i-th seed, and the state of its optimisers."""
        for name, target in self.targets.items():
            parts = member_of(target.network, self.groups, i, list(target.network.parameters()))
            for mine, part in zip(one.targets[name].network.parameters(), parts, strict=True):
                mine.copy_(part.view_as(mine))
        for name in self.learned:
            places = self._places_of(name, i)
            one.flat[name].copy_(self.flat[name][places])
            self._copy_optimiser(name, one, places)

    def _places_of(self, name: str, i: int) -> Tensor:
        """Where the numbers of the i-th seed lie in the vector of the network `name`, in order."""
        network = self.learned[name].network
        shapes = [w.shape for w in network.parameters()]
        places = torch.arange(len(self.flat[name]), device=self.flat[name].device)
        # Weights that hold their own places: the member's part of them says where it lies.
        by_weight = places.split([shape.numel() for shape in shapes])
        numbered = [x.view(shape) for x, shape in zip(by_weight, shapes, strict=True)]
        return torch.cat([x.flatten() for x in member_of(network, self.groups, i, numbered)])

    def _copy_optimiser(self, name: str, one: Weights, places: Tensor) -> None:
        """Give `one` the moments of the numbers at `places`; a count of steps is everyone's."""
        whole = self.flat[name]
        state = one.optimisers[name].state[one.flat[name]]
        for key, x in self.optimisers[name].state[whole].items():
            state[key] = x[places] if x.shape == whole.shape else x.clone()


def member_of(network: nn.Module, groups: int, i: int, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The i-th seed's part of `tensors`, which are like the network's parameters."""
    if not isinstance(network, TwinCritic):
        return members(network, groups, tensors)[i]
    trunk = list(network.trunk.parameters()) if network.trunk is not None else []
    of_trunk = tensors[: len(trunk)]
    of_heads = tensors[len(trunk) :]
    shared = members(network.trunk, groups, of_trunk)[i] if network.trunk is not None else []
    # Of the heads [2 G, ...], two lie side by side for each seed.
    return shared + members(network.heads, groups, of_heads, each=2)[i]


def _with_gradients(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    parameters = list(network.parameters())
    return parameters, [w.grad for w in parameters if w.grad is not None]
