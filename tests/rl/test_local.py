"""The gate of dopamine and its controls, and the check for a critic that diverged."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from bio_rl import discovery, seeding
from bio_rl.faults import DivergedError
from bio_rl.networks import Blueprint
from bio_rl.rl.clock import Horizon
from bio_rl.rl.local import DOPAMINE, MOMENTS, DopamineGate, check_finite
from bio_rl.training import config


def generators(*seeds: int) -> list[torch.Generator]:
    return [seeding.generator(seed, torch.device("cpu")) for seed in seeds]


def errors(seed: int, batch: int) -> torch.Tensor:
    """Prediction errors, none of them zero."""
    return 1.0 + torch.rand(batch, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("groups", [1, 2])
def test_rpe_is_the_prediction_error_itself_and_draws_nothing(groups):
    gate, drawn = DopamineGate("rpe", groups), generators(*range(groups))
    before = [g.get_state() for g in drawn]
    rpe = errors(0, 6)
    assert torch.equal(gate(rpe, drawn), rpe)
    assert all(torch.equal(g.get_state(), b) for g, b in zip(drawn, before, strict=True))
    assert not gate.state_dict()


@pytest.mark.parametrize("groups", [1, 2])
def test_none_is_zero_everywhere(groups):
    gate = DopamineGate("none", groups)
    rpe = errors(0, 6)
    assert torch.equal(gate(rpe, generators(*range(groups))), torch.zeros(6))
    assert torch.equal(rpe, errors(0, 6))


def test_shuffled_gives_errors_of_other_moments_of_the_same_distribution():
    gate, drawn = DopamineGate("shuffled"), generators(0)
    told, met = [], []
    for t in range(3 * MOMENTS // 4):
        rpe = errors(t, 4)
        met.append(rpe)
        told.append(gate(rpe, drawn))
    last = torch.cat(met)[-MOMENTS:]
    now = torch.cat(told[-100:])
    assert torch.isin(now, torch.cat(met)).all()  # each was met at some moment
    same = torch.cat([t == m for t, m in zip(told[-100:], met[-100:], strict=True)])
    assert same.float().mean() < 0.02  # and hardly ever at this one
    assert now.mean().item() == pytest.approx(last.mean().item(), rel=0.05)
    assert torch.corrcoef(torch.stack((now, torch.cat(met[-100:]))))[0, 1].abs() < 0.2


def test_shuffled_forgets_what_was_too_long_ago():
    gate, drawn = DopamineGate("shuffled"), generators(0)
    gate(torch.full((8,), -1.0), drawn)
    for _ in range(MOMENTS // 8):
        told = gate(torch.full((8,), 5.0), drawn)
    assert torch.equal(told, torch.full((8,), 5.0))


def test_shuffled_takes_and_gives_only_where_dopamine_comes():
    gate, drawn = DopamineGate("shuffled"), generators(0)
    here = torch.tensor([True, False, True, False])
    for _ in range(MOMENTS):
        told = gate(torch.tensor([2.0, -9.0, 3.0, -9.0]), drawn, here)
    assert torch.equal(told[~here], torch.zeros(2))
    assert torch.isin(told[here], torch.tensor([2.0, 3.0])).all()
    past = gate.past
    assert past is not None and torch.isin(past, torch.tensor([2.0, 3.0])).all()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("kind", DOPAMINE)
def test_every_seed_of_several_is_told_what_it_would_be_alone(kind, masked):
    together, drawn = DopamineGate(kind, 3), generators(4, 5, 6)
    alone = [(DopamineGate(kind), generators(seed)) for seed in (4, 5, 6)]
    heard = set()
    for t in range(300):
        rpe = errors(t, 12)
        here = errors(-1 - t, 12) > 1.4 if masked else None
        told = together(rpe, drawn, here)
        heard.update(told.tolist())
        for i, (gate, own) in enumerate(alone):
            block = slice(4 * i, 4 * i + 4)
            expected = gate(rpe[block], own, None if here is None else here[block])
            assert torch.equal(told[block], expected), f"moment {t}, seed {i}"
    assert len(heard) == 1 if kind == "none" else len(heard) > 50


def test_what_it_remembers_is_saved():
    gate, other = DopamineGate("shuffled", 2), DopamineGate("shuffled", 2)
    for t in range(5):
        gate(errors(t, 4), generators(0, 1))
    other.load_state_dict(gate.state_dict())
    a, b = generators(7, 8), generators(7, 8)
    assert torch.equal(gate(errors(9, 4), a), other(errors(9, 4), b))
    assert torch.equal(gate.past, other.past) and gate.past.abs().max() > 0


def test_another_kind_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"dopamine is 'shufled'; did you mean 'shuffled'\?"):
        DopamineGate("shufled")


@pytest.mark.parametrize("total", [math.nan, math.inf, -math.inf])
def test_an_error_that_is_no_number_names_the_settings(total):
    with pytest.raises(DivergedError, match=r"a lower toy\.critic_lr or toy\.lr"):
        check_finite(total, "toy", ("critic_lr", "lr"))


def test_finite_errors_pass():
    check_finite(-1e30, "toy", ("critic_lr",))


# ---------------------------------- networks that it can teach

CHOICES = gym.spaces.Discrete(2)
NUMBERS = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)


def built(agent: str, network: Blueprint) -> Any:
    module = config.agents_module(agent)
    return module.Agent(module.Config(), network, NUMBERS, CHOICES, horizon=Horizon(100))


def blueprint(name: str, **settings: Any) -> Blueprint:
    return Blueprint(name, replace(Blueprint.default(name).config, **settings))


@pytest.mark.parametrize(
    ("agent", "network", "settings"),
    [
        ("hebbian", "spiking", {"memory": True}),
        ("hebbian", "mlp", {"activation": "relu"}),
        ("eprop", "spiking", {"memory": True, "hidden": (8,)}),
        ("eprop", "recurrent_spiking", {"hidden": (8,)}),
        ("eprop", "lsnn", {"recurrent": False}),
        ("three_factor", "recurrent_spiking", {"dale": True}),
    ],
)
def test_a_network_is_taught_for_what_it_is(agent, network, settings):
    assert built(agent, blueprint(network, **settings)).network.plastic


@pytest.mark.parametrize(
    ("agent", "network", "settings"),
    [
        # neurons that drive each other have a connection of which the noise knows nothing
        ("hebbian", "recurrent_spiking", {"hidden": (8,)}),
        ("hebbian", "lsnn", {"recurrent": True}),
        # a population for each output leaves no layer that all outputs read
        ("hebbian", "spiking", {"out_population": 4}),
        ("three_factor", "spiking", {"out_population": 4}),
        # traces would outlive the potentials that they are of
        ("eprop", "recurrent_spiking", {"memory": False, "hidden": (8,)}),
        ("eprop", "spiking", {"neuron": "escape_noise", "hidden": (8,)}),
        ("eprop", "recurrent_spiking", {"neuron": "izhikevich", "hidden": (8,)}),
        ("eprop", "mlp", {"hidden": (8,)}),
    ],
)
def test_a_network_is_refused_for_what_it_is(agent, network, settings):
    taught = config.served(config.agents_module(agent))
    # what it teaches by default is not named as what would be better
    said = f"{agent} cannot teach {network}; it teaches: {', '.join(taught)}"
    if network in taught:
        said = f"{agent} cannot teach {network} with these settings of it; with its defaults it can"
        assert built(agent, blueprint(network)).network.plastic
    with pytest.raises(ValueError, match=said):
        built(agent, blueprint(network, **settings))


@pytest.mark.parametrize(
    ("agent", "network", "fits"),
    [
        ("hebbian", "mlp", True),
        ("hebbian", "lsnn", False),
        ("eprop", "lsnn", True),
        ("eprop", "mlp", False),
        ("three_factor", "cells", True),
        ("three_factor", "lstm", False),
    ],
)
def test_a_users_own_network_is_judged_the_same_way(agent, network, fits, monkeypatch):
    module = import_module(f"bio_rl.networks.{network}")
    mine = ModuleType("my_module")
    mine.__dict__.update(Mine=module.Network, Config=module.Config)
    monkeypatch.setitem(sys.modules, "my_module", mine)
    monkeypatch.setattr(discovery, "_allowed", {"my_module"})
    own = Blueprint("my_module:Mine", module.Config())
    if fits:
        assert isinstance(built(agent, own).network, module.Network)
        return
    with pytest.raises(ValueError, match=f"{agent} cannot teach my_module:Mine; it teaches"):
        built(agent, own)
