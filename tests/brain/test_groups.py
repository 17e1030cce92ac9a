"""Networks side by side: each does in its block of rows what it does alone, gradients included."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bio_rl import groups
from bio_rl.contracts import Percept
from bio_rl.networks import Blueprint
from bio_rl.parts import INPUT
from bio_rl.state import leaves

N_IN, OUT, G, B = 5, 2, 3, 4


def build(name: str, **settings) -> list[torch.nn.Module]:
    blueprint = Blueprint(name, dataclasses.replace(Blueprint.default(name).config, **settings))
    return [blueprint.build(N_IN, OUT) for _ in range(G)]


def percepts(t: int) -> Percept:
    g = torch.Generator().manual_seed(0)
    obs = torch.randn(t, G * B, N_IN, generator=g)
    return Percept(
        obs, obs[..., 0], obs[..., 1], obs[..., 0] > 9, torch.rand(t, G * B, generator=g) < 0.3
    )


@pytest.mark.parametrize(
    ("name", "settings", "stacks"),
    [
        ("mlp", {}, True),
        ("spiking", {}, True),
        ("spiking", {"out_population": 5}, True),
        ("spiking", {"out_population": 5, "lateral": True}, False),
        ("lstm", {}, False),
        ("recurrent_spiking", {}, False),
    ],
)
def test_every_member_does_what_it_does_alone(name, settings, stacks):
    alone = build(name, **settings)
    whole = groups.side_by_side(alone)
    assert isinstance(whole, groups.Stacked) == stacks
    xs = percepts(3)
    out, state = whole.unroll(xs, whole.initial_state(G * B))
    grads = torch.autograd.grad(out.square().sum(), list(whole.parameters()))
    again, _ = whole.forward(Percept(*(x[0] for x in xs)), whole.initial_state(G * B))
    torch.testing.assert_close(again, out[0])
    members = groups.members(whole, G)
    blocks = groups.blocks(xs, G, 1)
    for i, network in enumerate(alone):
        own, own_state = network.unroll(blocks[i], network.initial_state(B))
        torch.testing.assert_close(out[:, i * B : i * B + B], own)
        for a, b in zip(leaves(groups.blocks(state, G)[i]), leaves(own_state), strict=True):
            torch.testing.assert_close(a, b)
        expected = torch.autograd.grad(own.square().sum(), list(network.parameters()))
        found = (
            grads[i * len(expected) :][: len(expected)]
            if isinstance(whole, groups.Group)
            else [g[i] for g in grads]
        )
        for a, b, p, q in zip(found, expected, members[i], network.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
            assert torch.equal(p, q)


def test_one_network_stays_what_it_is():
    (one,) = build("mlp")[:1]
    assert groups.side_by_side([one]) is one and groups.members(one, 1) == [list(one.parameters())]


def test_networks_with_constants_of_their_own_are_not_stacked():
    """The cells of each are drawn with its seed; one constant for all would be another policy's."""
    alone = build("cells")
    whole = groups.side_by_side(alone)
    xs = percepts(2)
    out, _ = whole.unroll(xs, whole.initial_state(G * B))
    for i, network in enumerate(alone):
        own, _ = network.unroll(groups.blocks(xs, G, 1)[i], network.initial_state(B))
        torch.testing.assert_close(out[:, i * B : i * B + B], own)
    assert isinstance(whole, groups.Group)


@pytest.mark.parametrize("name", ["mlp", "spiking", "lstm", "recurrent_spiking"])
def test_a_group_describes_every_member_with_all_that_it_learns(name):
    alone = build(name)
    whole = groups.side_by_side(alone)
    parts = whole.parts()
    names = [part.name for part in parts]
    if isinstance(whole, groups.Group):
        expected = [f"{i}: {part.name}" for i in range(G) for part in alone[i].parts()]
    else:
        expected = [part.name for part in alone[0].parts()]
    assert names == expected
    assert {source for part in parts for source in part.sources} <= {INPUT, *names}
    assert [part.n for part in parts][-1] == OUT
    held = {id(x) for part in parts if part.module for x in part.module.parameters()}
    assert held == {id(x) for x in whole.parameters()}
