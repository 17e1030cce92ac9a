"""The fused perceptron against layers one after the other: values and all gradients."""

import itertools

import pytest
import torch
from torch import nn

from bio_rl.contracts import Percept
from bio_rl.kernels.perceptron import FUSED, perceptron
from bio_rl.networks import mlp

KINDS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def made(groups: int | None, sizes=(5, 7, 6, 3)):
    g = torch.Generator().manual_seed(0)
    lead = () if groups is None else (groups,)
    weights = [
        torch.randn(*lead, b, a, generator=g, dtype=torch.float64)
        for a, b in itertools.pairwise(sizes)
    ]
    biases = [torch.randn(*lead, b, generator=g, dtype=torch.float64) for b in sizes[1:]]
    return [w.requires_grad_() for w in weights], [b.requires_grad_() for b in biases]


def reference(x, weights, biases, kind):
    for depth, (w, b) in enumerate(zip(weights, biases, strict=True)):
        x = nn.functional.linear(x, w, b)
        x = KINDS[kind]()(x) if depth < len(weights) - 1 else x
    return x


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("groups", [None, 3])
def test_values_and_gradients_are_those_of_single_layers(kind, groups):
    weights, biases = made(groups)
    x = torch.randn(
        12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    if groups is None:
        wanted = reference(x, weights, biases, kind)
    else:
        each = zip(
            x.chunk(groups), zip(*weights, strict=True), zip(*biases, strict=True), strict=True
        )
        wanted = torch.cat([reference(*one, kind) for one in each])
    found = perceptron(x, weights, biases, kind)
    cotangent = torch.randn(
        wanted.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(
        *(torch.autograd.grad(y, [x, *weights, *biases], cotangent) for y in (found, wanted))
    )
    with torch.no_grad():
        torch.testing.assert_close(perceptron(x, weights, biases, kind), wanted)


def test_weights_that_are_fixed_get_no_gradient_and_the_input_does():
    weights, biases = made(None)
    x = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    for w in weights[:2]:
        w.requires_grad_(False)
    perceptron(x, weights, biases, "relu").sum().backward()
    assert weights[0].grad is None and weights[2].grad is not None and x.grad.abs().sum() > 0


def test_a_gradient_of_a_gradient_is_refused():
    weights, biases = made(None)
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="gradients"):
        torch.autograd.grad(perceptron(x, weights, biases, "tanh").sum(), x, create_graph=True)


def test_the_network_gives_what_its_layers_give():
    for kind in mlp.ACTIVATIONS:
        network = mlp.Network(mlp.Config(hidden=(8, 8), activation=kind), 5, 2)
        x = Percept(torch.randn(6, 5), *torch.zeros(3, 6), torch.zeros(6, dtype=torch.bool))
        torch.testing.assert_close(network(x, ())[0], network.layers(x.obs))
