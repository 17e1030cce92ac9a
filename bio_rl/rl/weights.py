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
        self.flat: dict[str, nn.Parameter] = {}
        """All weights of each network as one vector (`optim.flatten`)."""
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.parts: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
        """(weights, their gradients) of each network that learns, tensor by tensor."""
        self.factors: dict[str, Tensor] = {}
        """The factor of the learning rate of every number in the vector of a network; empty where
        all seeds learn at one rate.
        """
        self.seeds: dict[str, Tensor] = {}
        """The seed of every number in the vector of a network, found when it is first needed."""
        for name, (network, lr) in learned.items():
            vector = flatten(network.parameters())
            self.flat[name] = vector
            self.optimisers[name] = torch.optim.Adam([vector], lr, fused=True)
            self.parts[name] = _with_gradients(network)
        for name, target in targets.items():
            self.flat[name] = flatten(target.network.parameters())

    def scale_rates(self, factors: Sequence[float]) -> None:
        """Let every optimiser move the weights of seed i at factors[i] times the learning rate."""
        alike = len(set(factors)) == 1
        for name, optimiser in self.optimisers.items():
            (group,) = optimiser.param_groups
            group["lr"] = self.learned[name].lr * (factors[0] if alike else 1.0)
            if not alike:
                self.factors[name] = self._of_seeds(name, factors)
        if alike:
            self.factors.clear()

    def _of_seeds(self, name: str, x: Sequence[float]) -> Tensor:
        """x[i] for each number of seed i in the vector of the network `name`."""
        if name not in self.seeds:
            seeds = torch.zeros_like(self.flat[name], dtype=torch.int64)
            for i in range(self.groups):
                seeds[self._places_of(name, i)] = i
            self.seeds[name] = seeds
        numbers = torch.tensor(x, dtype=self.flat[name].dtype, device=self.flat[name].device)
        return numbers[self.seeds[name]]

    def minimise(self, name: str, loss: Tensor, max_norm: float = 0.0) -> None:
        """One step of the network `name` down the gradient of `loss` by its weights alone.

        max_norm: each seed's gradient is scaled down to it; 0 for as it is.
        """
        weights, gradients = self.parts[name]
        # Not by `backward`, which would also reach the weights of other networks in the loss.
        new = torch.autograd.grad(loss, weights)
        # One operation for a list of tensors; torch has no public name for it.
        torch._foreach_copy_(gradients, new)  # pyright: ignore[reportPrivateImportUsage]
        if max_norm:
            self._clip(name, gradients, max_norm)
        self.move(name)

    @torch.no_grad()
    def move(self, name: str) -> None:
        """One step of the optimiser of the network `name`, by the gradients that are there."""
        factor = self.factors.get(name)
        if factor is None:
            self.optimisers[name].step()
            return
        vector = self.flat[name]
        before = vector.clone()
        self.optimisers[name].step()
        # A step of Adam is proportional to its rate, so a part of it is a step at a lower one.
        vector.copy_(before.lerp(vector, factor))

    def _clip(self, name: str, gradients: Sequence[Tensor], max_norm: float) -> None:
        """Scale each seed's gradient of the network `name` down to `max_norm`."""
        whole = self.flat[name].grad
        if self.groups == 1 and whole is not None:
            clip_(whole, max_norm)
            return
        # The norm of a seed's gradient is that of the norms of its tensors.
        for parts in members(self.learned[name].network, self.groups, gradients):
            norms = torch._foreach_norm(parts)  # pyright: ignore[reportPrivateImportUsage]
            norm = torch.linalg.vector_norm(torch.stack(norms))
            scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
            torch._foreach_mul_(parts, scale)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def follow(self, target: str, tau: float) -> None:
        """θ' ← (1 - τ) θ' + τ θ, for a target θ' and the network θ that it follows."""
        followed = self.targets[target].follows
        self.flat[target].lerp_(self.flat[followed], tau)

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
        for name, (network, _) in self.targets.items():
            parts = member_of(network, self.groups, i, list(network.parameters()))
            alone = one.targets[name].network.parameters()
            for weight, part in zip(alone, parts, strict=True):
                weight.copy_(part.view_as(weight))
        for name in self.learned:
            places = self._places_of(name, i)
            one.flat[name].copy_(self.flat[name][places])
            self._copy_optimiser(name, one, places)

    def _places_of(self, name: str, i: int) -> Tensor:
        """Where the numbers of the i-th seed lie in the vector of the network `name`, in order."""
        network = self.learned[name].network
        shapes = [w.shape for w in network.parameters()]
        vector = self.flat[name]
        places = torch.arange(len(vector), device=vector.device)
        by_weight = places.split([shape.numel() for shape in shapes])
        # Weights that hold their own places: the member's part of them says where it lies.
        numbered = [x.view(shape) for x, shape in zip(by_weight, shapes, strict=True)]
        parts = member_of(network, self.groups, i, numbered)
        flat = [x.flatten() for x in parts]
        return torch.cat(flat)

    def _copy_optimiser(self, name: str, one: Weights, places: Tensor) -> None:
        """Give `one` the moments of the numbers at `places`; a count of steps is everyone's."""
        whole = self.flat[name]
        alone = one.flat[name]
        state = one.optimisers[name].state[alone]
        for key, x in self.optimisers[name].state[whole].items():
            is_moment = x.shape == whole.shape
            state[key] = x[places] if is_moment else x.clone()


def member_of(network: nn.Module, groups: int, i: int, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The i-th seed's part of `tensors`, which are like the network's parameters."""
    if not isinstance(network, TwinCritic):
        return members(network, groups, tensors)[i]
    # The critic's parameters are those of its trunk, then those of its heads.
    size = 0
    trunk: list[Tensor] = []
    if network.trunk is not None:
        size = len(list(network.trunk.parameters()))
        trunk = members(network.trunk, groups, tensors[:size])[i]
    # Of the heads [2 G, ...], two lie side by side for each seed.
    heads = members(network.heads, groups, tensors[size:], each=2)[i]
    return trunk + heads


def _with_gradients(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """(weights, their gradients) of a network, after `flatten`."""
    weights: list[Tensor] = list(network.parameters())
    gradients = [w.grad for w in weights if w.grad is not None]
    return weights, gradients
