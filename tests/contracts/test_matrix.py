"""Every agent with every network: it trains and changes its weights, or says what it can teach.

The tables are data. What they name must cover every rule, neuron, connection, code and modulator
that a file defines, but for those of NOT_REACHED_YET.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import bio_rl
from bio_rl import (
    agents,
    codes,
    connections,
    discovery,
    modulators,
    networks,
    neurons,
    plasticity,
    vector,
)
from bio_rl.__main__ import main
from bio_rl.connections._plastic import Plastic
from bio_rl.networks import Blueprint
from bio_rl.rl.eprop_synapses import EPropSynapses
from bio_rl.training import api, config
from bio_rl.training.build import open_env
from bio_rl.training.runner import Runner

STEPS = 200
"""Environment steps of a training."""
ENVS = 4

PARTS: dict[str, ModuleType] = {
    "rule": plasticity,
    "neuron": neurons,
    "connection": connections,
    "code": codes,
    "modulator": modulators,
}
"""Where the parts are discovered, by what `Entry.uses` calls them."""

NOT_REACHED_YET: dict[str, set[str]] = {
    "rule": set(),
    # it never spikes: outputs of a spiking network are such neurons, in one pass (test_codes.py)
    "neuron": {"leaky_integrator"},
    "connection": set(),
    "code": set(),
    "modulator": set(),
}
"""Parts that no flag of train.py reaches."""


class Entry(NamedTuple):
    """A training of an agent on a network, and the parts that it cannot do without."""

    agent: str
    network: str
    uses: dict[str, tuple[str, ...]] = {}  # noqa: RUF012  (it is never changed)
    """Names of rules, neurons, connections, codes and modulators."""
    settings: dict[str, Any] = {}  # noqa: RUF012
    """Settings of the agent beside those of SMALL_AGENTS."""
    network_settings: dict[str, Any] = {}  # noqa: RUF012
    """Settings of the network beside those of SMALL_NETWORKS."""


OFF_POLICY = {"replay": 200, "start": 60, "batch": 8, "sequence": 4, "update_every": 8}
OFF_POLICY |= {"ratio": 0.1}
SMALL_AGENTS: dict[str, dict[str, Any]] = {
    "ppo": {"update_every": 24, "minibatch": 48, "epochs": 1, "sequence": 4},
    "dqn": {**OFF_POLICY, "target_every": 2},
    "sac": {**OFF_POLICY, "critic_hidden": (16,)},
    "td3": {**OFF_POLICY, "critic_hidden": (16,)},
    "three_factor": {"normalise_obs": False},
    "hebbian": {"normalise_obs": False},
    "eprop": {"optimiser": "sgd", "update_every": 3},  # so that a gradient is still held
}
LAYER = {"hidden": (12,)}
SMALL_NETWORKS: dict[str, dict[str, Any]] = {
    "cells": {"cells": (30,)},
    "cnn": {"channels": (3,), "kernel": (3,), "stride": (3,), "hidden": (8,)},
    "lsnn": {"lif": 8, "alif": 8, "ticks": 4, "gain": 4.0, "tau_out": 10.0},
    "lstm": {"hidden": 8},
    "mlp": LAYER,
    "recurrent_spiking": {**LAYER, "gain": 8.0},
    "spiking": {**LAYER, "gain": 8.0},
    "spiking_conv": {"channels": (3,), "kernel": (3,), "stride": (3,), **LAYER},
}

ALL = tuple(discovery.names(networks))
TRAINS: dict[str, tuple[str, ...]] = {
    "ppo": ALL,
    "dqn": ALL,
    "sac": ALL,
    "td3": ALL,
    "three_factor": ("cells", "spiking", "mlp", "lsnn", "recurrent_spiking"),
    "hebbian": ("mlp", "spiking"),
    "eprop": ("lsnn", "recurrent_spiking"),
}
"""The networks that each agent trains; it refuses all others."""


def gradients() -> Iterator[Entry]:
    """Every agent by gradients with every network."""
    uses: dict[str, dict[str, tuple[str, ...]]] = {
        "cells": {"code": ("conjunctive",), "neuron": ("lif",)},
        "cnn": {"connection": ("conv",)},
        "lsnn": {"neuron": ("alif",)},
        "lstm": {},
        "mlp": {},
        "recurrent_spiking": {"connection": ("dense", "recurrent"), "code": ("population",)},
        "spiking": {"connection": ("dense",), "neuron": ("lif",), "code": ("population",)},
        "spiking_conv": {"connection": ("conv", "dense"), "neuron": ("lif",)},
    }
    for agent in ("ppo", "dqn", "sac", "td3"):
        for network in TRAINS[agent]:
            yield Entry(agent, network, uses[network])


SPIKES_IN = {"code": "deterministic"}
STOCHASTIC = {"neuron": "escape_noise"}


def by_rule(rule: str, network: str = "spiking", lr: float | None = None, **other: Any) -> Entry:
    """three_factor, whose hidden synapses learn by a rule; lr: where its own changes too little."""
    settings = {"rule": rule} | ({} if lr is None else {"constants": (f"lr={lr}",)})
    return Entry("three_factor", network, {"rule": (rule,)}, settings, other)


ENTRIES: tuple[Entry, ...] = (
    *gradients(),
    # neurons, codes and layers of spiking networks
    *(
        Entry("ppo", "spiking", {"neuron": (name,)}, {}, {"neuron": name, "gain": 40.0})
        for name in ("adex", "alif", "cuba_lif", "escape_noise", "izhikevich", "plif")
    ),
    Entry("ppo", "spiking", {"code": ("rate",)}, {}, {"code": "poisson"}),
    Entry("ppo", "spiking", {"code": ("latency",)}, {}, {"code": "latency"}),
    Entry("ppo", "spiking", {"code": ("delta",)}, {}, {"events": 0.03}),
    Entry("ppo", "spiking", {"code": ("homeostat",)}, {}, {"target_rate": 0.1}),
    Entry("dqn", "spiking", {"code": ("membrane",)}, {}, {"decode": "max_membrane"}),
    Entry(
        "ppo",
        "spiking",
        {"connection": ("dense", "recurrent"), "code": ("population",)},
        {},
        {"out_population": 4, "lateral": True},
    ),
    *(
        Entry(agent, network, {"connection": (name,)}, {}, {"connection": name})
        for agent, network in (
            ("ppo", "spiking"),
            ("sac", "recurrent_spiking"),
            ("three_factor", "spiking"),
            ("hebbian", "spiking"),
            ("eprop", "recurrent_spiking"),
        )
        for name in ("sparse", "stp", "delay")
    ),
    # the readout of cells, and hidden synapses by every rule
    Entry("three_factor", "cells", {"code": ("conjunctive",), "neuron": ("lif",)}),
    Entry("three_factor", "cells", {"modulator": ("noradrenaline",)}, {"reset_on_surprise": 0.5}),
    Entry("three_factor", "cells", {"rule": ("instar",)}, {"cells_lr": 0.1}),
    by_rule("three_factor"),
    by_rule("three_factor", "mlp"),
    by_rule("three_factor", "lsnn"),
    by_rule("three_factor", "recurrent_spiking"),
    by_rule("eprop"),
    by_rule("eprop", "mlp"),
    by_rule("rstdp", **SPIKES_IN),
    by_rule("td_ltp", **SPIKES_IN),
    by_rule("r_max", **STOCHASTIC),
    by_rule("pair_stdp", **SPIKES_IN),
    by_rule("triplet_stdp", **SPIKES_IN),
    by_rule("oja", "mlp"),
    by_rule("sanger", "mlp"),
    by_rule("bcm", "mlp"),
    by_rule("instar"),
    by_rule("anti_hebbian"),
    by_rule("abcd"),
    by_rule("exploratory_hebb", "mlp"),
    Entry(
        "three_factor",
        "spiking",
        {"rule": ("three_factor", "scaling", "intrinsic")},
        {"rule": "three_factor+scaling+intrinsic+bounds"},
    ),
    # noise in every neuron
    Entry("hebbian", "mlp", {"rule": ("three_factor",), "modulator": ("dopamine",)}),
    Entry("hebbian", "spiking", {"rule": ("three_factor",), "neuron": ("lif",)}),
    Entry("hebbian", "mlp", {"rule": ("exploratory_hebb",)}, {"rule": "exploratory_hebb"}),
    Entry(
        "hebbian",
        "mlp",
        {"modulator": ("acetylcholine", "noradrenaline", "serotonin")},
        {"modulators": ("acetylcholine", "noradrenaline", "serotonin")},
    ),
    # errors fed back
    Entry("eprop", "lsnn", {"rule": ("eprop",), "modulator": ("dopamine", "feedback")}),
    Entry("eprop", "recurrent_spiking", {"rule": ("eprop",), "neuron": ("lif",)}),
)

MOVES = ("clock.", "features.", "dopamine.past", "gradient", "since", "hidden.rate", "target")
"""Beginnings of names in an agent's modules that are no weights, and change while it learns."""
MOVES += ("pace.", "reward_norm.")


def name_of(entry: Entry) -> str:
    """A name for pytest."""
    parts = [entry.agent, entry.network, *(name for names in entry.uses.values() for name in names)]
    return "-".join(parts)


def world(agent: str, network: str) -> tuple[str, dict[str, Any]]:
    """The id of a world that suits both, and its arguments."""
    if agent == "td3" or Blueprint.default(network).image:
        pictures = Blueprint.default(network).image
        space = "box" if agent == "td3" else "discrete"
        return "tests.worlds:Identity-v0", {"space": space, "pictures": pictures}
    return "CartPole-v1", {}


def make(entry: Entry, **settings: Any) -> Runner:
    """A small agent of an entry in its world."""
    env, arguments = world(entry.agent, entry.network)
    experiment = config.experiment(
        env,
        entry.agent,
        entry.network,
        agent_settings={**SMALL_AGENTS[entry.agent], **entry.settings, **settings},
        network_settings={**SMALL_NETWORKS[entry.network], **entry.network_settings},
        steps=STEPS,
        num_envs=ENVS,
    )
    worlds = vector.make(env, ENVS, **arguments)
    runner = Runner(api.make_agent(experiment, worlds), worlds)
    runner.start(0)
    return runner


def train(runner: Runner) -> None:
    while runner.seen < STEPS:
        runner.step()


def modules(agent: Any) -> dict[str, Tensor]:
    """Copies of all that an agent saves of its networks, by name."""
    saved = agent.state_dict()["modules"]
    return {name: x.clone() for name, x in saved.items()}


def learned(agent: Any) -> set[str]:
    """Names of the tensors in an agent's modules whose memory is that of its trained tensors."""
    memory = {x.untyped_storage().data_ptr() for x in agent.trained_tensors()}
    saved = agent.state_dict()["modules"]
    return {n for n, x in saved.items() if x.untyped_storage().data_ptr() in memory}


@contextmanager
def executed() -> Iterator[set[str]]:
    """The files of the library whose functions run meanwhile, by their paths in it."""
    # a file that is imported meanwhile would run too
    for package in PARTS.values():
        for name in discovery.names(package):
            discovery.load(package, name)
    root = str(Path(bio_rl.__file__).parent)
    files: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            files.add(frame.f_code.co_filename)

    found: set[str] = set()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        found |= {str(Path(f).relative_to(root)) for f in files if f.startswith(root)}


def fused(agent: Any) -> set[str]:
    """Names of the rules of an agent's synapses that a kernel carries out."""
    rules: list[Any] = []
    for module in agent.modules():
        if isinstance(module, EPropSynapses):
            rules += module.rules
        for value in vars(module).values():
            several = value if isinstance(value, tuple) else (value,)
            rules += [x.rule for x in several if isinstance(x, Plastic) and x.fused]
    return {type(rule).__module__.rpartition(".")[2] for rule in rules}


def used(agent: Any, ran: set[str], changed: set[str]) -> dict[str, set[str]]:
    """The parts that a training has used, by kind: those of which a function ran; rules that a
    kernel ran in their place; connections whose weights changed.
    """
    found: dict[str, set[str]] = {kind: set() for kind in PARTS}
    for kind, package in PARTS.items():
        folder = package.__name__.rpartition(".")[2]
        found[kind] = {n for n in discovery.names(package) if f"{folder}/{n}.py" in ran}
    found["rule"] |= fused(agent)
    found["connection"] = {
        module.name
        for name, module in agent.named_modules()
        if isinstance(module, connections.BaseConnection) and f"{name}.weight" in changed
    }
    return found


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_it_trains_uses_its_parts_and_changes_its_weights(entry):
    runner = make(entry)
    agent = runner.agent
    before = modules(agent)
    weights = [x.clone() for x in agent.trained_tensors()]
    with executed() as ran:
        train(runner)
    after = modules(agent)
    changed = {name for name, x in after.items() if not torch.equal(x, before[name])}

    assert runner.seen >= STEPS
    for i, (old, new) in enumerate(zip(weights, agent.trained_tensors(), strict=True)):
        assert not torch.equal(old, new), f"trained tensor {i} {tuple(new.shape)} did not change"
        assert torch.isfinite(new).all()
    for module in agent.modules():
        if isinstance(module, connections.BaseConnection) and module.mask is not None:
            assert not module.weight[module.mask == 0].any(), "there is a synapse that is none"
    foreign = {name for name in changed - learned(agent) if not name.startswith(MOVES)}
    assert not foreign, "what is drawn once has changed"
    found = used(agent, ran, changed)
    for kind, names in entry.uses.items():
        assert set(names) <= found[kind], f"{kind}s used: {sorted(found[kind])}"


def test_parts_that_a_training_does_not_need_are_not_counted_as_used():
    runner = make(by_rule("oja", "mlp"))
    with executed() as ran:
        train(runner)
    found = used(runner.agent, ran, learned(runner.agent))
    assert found["rule"] == {"oja", "three_factor"}  # the readout's is the latter
    assert not found["neuron"] and not found["connection"] and not found["code"]
    assert "acetylcholine" not in found["modulator"]


def test_every_agent_trains_exactly_the_networks_of_the_table():
    assert set(TRAINS) == set(discovery.names(agents))
    assert {(entry.agent, entry.network) for entry in ENTRIES} == {
        (agent, network) for agent, served in TRAINS.items() for network in served
    }
    for agent, served in TRAINS.items():
        assert set(config.served(config.agents_module(agent))) == set(served)


@pytest.mark.parametrize("kind", PARTS)
def test_every_part_is_met_by_an_entry(kind):
    met = {name for entry in ENTRIES for name in entry.uses.get(kind, ())}
    assert not met & NOT_REACHED_YET[kind]
    assert met | NOT_REACHED_YET[kind] == set(discovery.names(PARTS[kind]))


def test_hidden_synapses_learn_by_at_least_six_rules():
    by_its_rule = (e.uses["rule"] for e in ENTRIES if "rule" in e.settings)
    assert len({name for names in by_its_rule for name in names}) >= 6


REFUSED = [
    (agent, network) for agent, served in TRAINS.items() for network in ALL if network not in served
]


@pytest.mark.parametrize(("agent", "network"), REFUSED)
def test_what_it_cannot_teach_is_refused_in_a_sentence_that_says_what_it_can(agent, network):
    with pytest.raises(ValueError) as refusal:
        config.experiment("CartPole-v1", agent, network)
    said = str(refusal.value)
    assert said.startswith(f"{agent} cannot teach the network {network!r}; ") and "\n" not in said
    assert all(name in said for name in TRAINS[agent])


@pytest.mark.parametrize(("agent", "network"), REFUSED)
def test_made_from_python_it_refuses_that_network_too(agent, network):
    # a network of the user's own is known by what it is, not by its name
    module = config.agents_module(agent)
    env, arguments = world(agent, network)
    worlds = vector.make(env, 1, **arguments)
    spaces = worlds.observation_space, worlds.action_space
    small = SMALL_NETWORKS[network]
    blueprint = config.experiment(env, "ppo", network, network_settings=small).network
    horizon = config.Run(steps=STEPS).horizon
    with pytest.raises(ValueError, match=r"cannot teach|cannot be served") as refusal:
        module.Agent(module.Config(), blueprint, *spaces, horizon=horizon)
    if "teach" in str(refusal.value):
        assert all(name in str(refusal.value) for name in TRAINS[agent])


FROZEN = [
    *(Entry("three_factor", n, {}, {"hidden_lr": 0.0}) for n in TRAINS["three_factor"][1:]),
    *(Entry("hebbian", n, {}, {"hidden_lr": 0.0}) for n in TRAINS["hebbian"]),
    *(Entry("eprop", n, {}, {"lr": 0.0}) for n in TRAINS["eprop"]),
]


@pytest.mark.parametrize("entry", FROZEN, ids=name_of)
def test_hidden_synapses_at_a_rate_of_zero_stay_and_the_readout_learns(entry):
    runner = make(entry)
    before = modules(runner.agent)
    train(runner)
    after = modules(runner.agent)
    changed = {n for n, x in after.items() if not torch.equal(x, before[n])}
    weights = {n for n in changed if not n.startswith(MOVES)}
    assert weights and all("readout" in n or "critic" in n or "layers.2" in n for n in weights)


@pytest.mark.parametrize(
    ("settings", "network_settings", "message"),
    [
        ({"rule": "rstdp"}, {}, "the rule rstdp reads spikes, .*spiking does not give"),
        (
            {"rule": "rstdp"},
            {**SPIKES_IN, "connection": "stp"},
            "the rule rstdp reads spikes, .*spiking does not give",
        ),
        ({"rule": "r_max"}, {}, "the rule r_max reads the probability .*spiking does not give"),
        ({"rule": "rstpd"}, SPIKES_IN, "did you mean 'rstdp'"),
        ({}, {"decode": "max_membrane"}, "cannot teach spiking with these settings of it"),
        ({}, {"out_population": 4}, "cannot teach spiking with these settings of it"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused_in_a_sentence(settings, network_settings, message):
    with pytest.raises(ValueError, match=message) as refusal:
        make(Entry("three_factor", "spiking", {}, settings, network_settings))
    assert "\n" not in str(refusal.value)


# ---------------------------------- as its user starts it


@pytest.mark.parametrize(
    "flags",
    [
        "--agent three_factor --network spiking --rule rstdp --spiking.code deterministic",
        "--agent three_factor --network mlp --rule oja",
        "--agent hebbian --network spiking --rule exploratory_hebb",
        "--agent eprop --network recurrent_spiking",
        "--agent ppo --network spiking --spiking.connection sparse --spiking.synapses density=0.5 "
        "--ppo.update-every 24 --ppo.minibatch 48",
    ],
)
def test_it_trains_from_the_command_line(flags, tmp_path):
    network = flags.split()[3].replace("_", "-")
    small = ["--steps", str(STEPS), "--num-envs", str(ENVS), "--eval-episodes", "1"]
    small += ["--checkpoints", "1", f"--{network}.hidden", "8", "--run-dir", str(tmp_path)]
    main([*flags.split(), *small])
    trained = bio_rl.load(tmp_path / "latest")
    assert trained.steps >= STEPS
    assert trained.experiment.run.agent == flags.split()[1]
    with open_env(api.make_env(trained.experiment.run, 1)) as env:
        fresh = api.make_agent(trained.experiment, env).trained_tensors()
    pairs = zip(fresh, trained.agent.trained_tensors(), strict=True)
    changed = [not torch.equal(a, b) for a, b in pairs]
    # agents by gradients keep all their weights in one vector
    assert sum(changed) >= min(2, len(changed))


def test_the_command_line_says_what_an_agent_can_teach(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["--agent", "eprop", "--network", "mlp", "--run-dir", str(tmp_path)])
    assert stop.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "eprop cannot teach the network 'mlp'" in said
    assert "lsnn" in said and "recurrent_spiking" in said
    assert not any(tmp_path.iterdir())
