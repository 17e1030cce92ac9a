"""No setting takes what is no number: every float of every configuration that can be discovered is
tried.
"""

import dataclasses
import importlib
import math

import numpy as np
import pytest

from bio_rl import agents, discovery, networks, neurons
from bio_rl.checks import check
from bio_rl.networks import Blueprint

NOT_NUMBERS = [math.nan, math.inf, -math.inf]


def configurations():
    """(name, Config()) of every agent and network."""
    for package in (agents, networks):
        for name, module in discovery.names(package).items():
            yield name, importlib.import_module(module).Config()


def floats():
    """(name of the owner, configuration, field) for every float and every tuple of floats."""
    for name, config in configurations():
        for field in dataclasses.fields(config):
            if "float" in str(field.type):
                yield pytest.param(name, config, field.name, id=f"{name}.{field.name}")


@pytest.mark.parametrize("value", NOT_NUMBERS)
@pytest.mark.parametrize(("owner", "config", "field"), list(floats()))
def test_no_setting_takes_what_is_no_number(owner, config, field, value):
    before = getattr(config, field)
    given = (*before[1:], value) if isinstance(before, tuple) else value
    with pytest.raises(ValueError, match=rf"{owner}\.{field} is .*, expected"):
        dataclasses.replace(config, **{field: given})


def test_the_settings_that_are_tried_are_many():
    assert len(list(floats())) > 80


@pytest.mark.parametrize("value", ["0.9", None, 1j])
def test_a_setting_that_is_of_another_type_is_refused_in_a_sentence(value):
    with pytest.raises(ValueError, match=r"ppo\.gamma is .*, expected a number from 0 to 1"):
        agents_config("ppo", gamma=value)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, int, float])
def test_numbers_of_numpy_are_numbers(kind):
    assert agents_config("ppo", gamma=kind(1)).gamma == 1


def agents_config(name, **settings):
    return dataclasses.replace(discovery.load(agents, name).Config(), **settings)


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (0, "positive", False),
        (1e-300, "positive", True),
        (10**400, "positive", True),
        (-1, "non-negative", False),
        (0, "non-negative", True),
        (1.0000001, "unit", False),
        (1, "unit", True),
        ((), "positive", True),
        ((1.0, 0.0), "positive", False),
        ((1.0, math.nan), "finite", False),
    ],
)
def test_a_range_holds_what_it_says(value, kind, fits):
    if fits:
        check("owner", "name", value, kind)
    else:
        with pytest.raises(ValueError, match=r"owner\.name is .*, expected"):
            check("owner", "name", value, kind)


def constants():
    """(neuron, constant, value) that no neuron of that kind can have."""
    for neuron in discovery.names(neurons):
        kind = neurons.load(neuron)
        for name in kind._fields if kind.spikes else ():
            for value in ("nan", "inf", "-inf"):
                yield neuron, name, value
    for neuron, name, values in [
        ("lif", "tau_mem", (0, -1)),
        ("lif", "v_threshold", (0, -1)),
        ("lif", "tau_refractory", (-3,)),
        ("lif", "slope", (0, -1)),
        ("lif", "surrogate", (3,)),
        ("alif", "tau_mem", (0, -1)),
        ("alif", "tau_adapt", (0, -5)),
        ("alif", "v_threshold", (0, -1)),
        ("alif", "tau_refractory", (-3,)),
        ("cuba_lif", "tau_mem", (0, -1)),
        ("cuba_lif", "tau_syn", (0, -1)),
        ("cuba_lif", "v_threshold", (0, -1)),
        ("escape_noise", "tau_mem", (0, -1)),
        ("escape_noise", "delta", (0, -1)),
        ("escape_noise", "rate_threshold", (0, -1)),
        ("escape_noise", "seed", (1.5,)),
        ("plif", "v_threshold", (0, -1)),
        ("plif", "slope", (0,)),
        ("plif", "w", (1,)),
        ("adex", "capacitance", (0, -1)),
        ("adex", "g_leak", (0, -1)),
        ("adex", "delta_t", (0, -1)),
        ("adex", "tau_w", (0, -1)),
        ("adex", "v_threshold", (-100,)),
        ("adex", "slope", (0,)),
        ("izhikevich", "v_threshold", (-100,)),
        ("izhikevich", "slope", (0,)),
    ]:
        for value in values:
            yield neuron, name, str(value)


@pytest.mark.parametrize(("neuron", "name", "value"), list(constants()))
def test_an_impossible_constant_is_refused(neuron, name, value):
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(
            Blueprint.default("spiking").config, neuron=neuron, constants=(f"{name}={value}",)
        )


@pytest.mark.parametrize("value", [*NOT_NUMBERS, 0.0, -1.0])
def test_an_impossible_constant_of_a_readout_is_refused(value):
    with pytest.raises(ValueError, match=r"leaky_integrator\.tau_out is .*, expected"):
        neurons.load("leaky_integrator")(tau_out=value)
