"""How the networks here describe themselves: see `parts.Part`."""

from __future__ import annotations

from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from bio_rl.contracts import Network
from bio_rl.neurons import Neuron
from bio_rl.neurons._checks import file_of
from bio_rl.parts import Cost, Part

M = TypeVar("M", bound=nn.Module)

FREE = Cost()


def module_list(modules: list[M]) -> list[M]:
    """An `nn.ModuleList` of them, as a list whose members have a type."""
    # torch gives the members of a ModuleList no other type than Module
    return cast("list[M]", nn.ModuleList(modules))


UNITS = {
    "tanh": Cost(functions=1.0),
    "relu": Cost(adds=1.0),
    "silu": Cost(macs=1.0, functions=1.0),
    # three sigmoids and two tanh; c and h are three products
    "lstm": Cost(macs=3.0, functions=5.0),
}
"""The arithmetic of units that do not spike, each."""


def code(
    name: str,
    kind: str,
    n: int,
    *sources: str,
    module: nn.Module | None = None,
    cost: Cost = FREE,
) -> Part:
    """A part that recodes what it reads and multiplies it with no weights."""
    return Part(name, "code", kind, n, sources, module, cost=cost)


def connection(name: str, module: nn.Module, n: int, *sources: str) -> Part:
    """A part that multiplies what it reads with the weights of `module`."""
    # torch's own layers and parts of fused matrices are not of a file of bio_rl.connections
    is_dense = isinstance(module, nn.Linear | Columns)
    kind = "dense" if is_dense else file_of(type(module))
    return Part(name, "connection", kind, n, sources, module)


def neurons(name: str, constants: Neuron, n: int, *sources: str) -> Part:
    """Spiking neurons that add what they read."""
    kind = file_of(type(constants))
    return Part(name, "neurons", kind, n, sources, constants=constants)


def units(name: str, kind: str, n: int, *sources: str) -> Part:
    """Units that add what they read and do not spike."""
    return Part(name, "neurons", kind, n, sources, cost=UNITS[kind])


def readout(network: Network, source: str) -> tuple[Part, ...]:
    """The connection of a network onto its outputs; nothing where it has been dropped."""
    module = network._modules.get("readout")
    if module is None:
        return ()
    # every readout has a bias for each output, [n_out] or [G, n_out]
    n_out = cast(nn.Linear, module).bias.shape[-1]
    return (connection("readout", module, n_out, source),)


class Columns(nn.Module):
    """A connection whose weights are some columns of a larger matrix [post, pre]: `weight` is a
    view of them, so that a change of one is a change of the other.

    mask: 1 where the larger matrix has a synapse.
    """

    def __init__(
        self,
        whole: Tensor,
        columns: slice = slice(None),
        *,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.whole = whole
        self.columns = columns
        self.bias = bias
        self.whole_mask = nn.Buffer(torch.ones_like(whole) if mask is None else mask)

    @property
    def weight(self) -> Tensor:
        """[post, pre]."""
        return self.whole[:, self.columns]

    @property
    def mask(self) -> Tensor:
        """[post, pre]: 1 where there is a synapse."""
        return self.whole_mask[:, self.columns]
