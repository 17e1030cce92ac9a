"""The operations of a network and of the MLP beside it are counted over the same decisions."""

from __future__ import annotations

import pytest
import torch

import bio_rl
from bio_rl.training import api, config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return bio_rl.train(
        "DMS-v0",
        network="spiking",
        steps=64,
        num_envs=2,
        eval_episodes=0,
        run_dir=tmp_path_factory.mktemp("runs"),
        ppo={"update_every": 16, "minibatch": 16},
        spiking={"hidden": (8, 8), "critic": "mlp"},
    )


def test_the_mlp_meets_the_observations_that_the_network_met(trained, monkeypatch):
    agents = config.agents_module("ppo").Agent
    act = agents.act
    met: dict[int, list[torch.Tensor]] = {}

    def spied(self, percept, *rest, **named):
        met.setdefault(id(self), []).append(percept.obs)
        return act(self, percept, *rest, **named)

    monkeypatch.setattr(agents, "act", spied)
    counts = api.operations_per_decision(trained, 12)
    assert list(counts) == ["spiking", "mlp"]
    of_network, of_mlp = met.values()
    assert len(of_network) == 12
    torch.testing.assert_close(torch.stack(of_network), torch.stack(of_mlp))
    assert len({tuple(obs.flatten().tolist()) for obs in of_network}) > 1


def test_an_mlp_that_would_normalise_its_inputs_multiplies_them(trained):
    """The task shows zeros and ones alone, which an untrained normaliser would leave as they are,
    to be counted as spikes.
    """
    counts = api.operations_per_decision(trained)["mlp"]
    assert counts.acs == 0
    assert counts.dense_macs == 64 * 6 + 64 * 64 + 3 * 64
