"""`eval --energy`: every agent's policy in closed loop, beside MLPs."""

import json

import pytest

import bio_rl
from bio_rl.__main__ import main
from bio_rl.training import metering, quantised


def trained(folder, agent, network, **more):
    return bio_rl.train(
        "CartPole-v1",
        agent=agent,
        network=network,
        steps=256,
        num_envs=1,
        eval_episodes=0,
        quiet=True,
        run_dir=folder,
        **more,
    )


PAIRS = [
    ("ppo", "mlp"),
    ("ppo", "lstm"),
    ("dqn", "spiking"),
    ("three_factor", "cells"),
    ("three_factor", "spiking"),
    ("hebbian", "mlp"),
    ("eprop", "lsnn"),
]


@pytest.mark.parametrize(("agent", "network"), PAIRS)
def test_every_agent_is_metered_over_whole_episodes(tmp_path, capsys, agent, network):
    run = trained(tmp_path, agent, network)
    main(["eval", str(run.folder), "--energy", "--episodes", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    own = found[network]
    assert own["total"] >= own["acs"] + own["macs"] > 0 and own["mean"] > 0
    learns = agent in ("three_factor", "hebbian", "eprop")
    assert (own["written_bytes"] > 0) == learns
    if network != "mlp":
        assert found["mlp"]["mean"] is None and found["mlp"]["macs"] > 0
    main(["eval", str(run.folder), "--energy", "--episodes", "2"])
    assert "effective operations of all kinds" in capsys.readouterr().out


def test_an_mlp_stands_beside_with_fewer_bits(tmp_path, capsys):
    spiking = trained(tmp_path, "ppo", "spiking")
    mlp = trained(tmp_path, "ppo", "mlp")
    arguments = ["eval", str(spiking.folder), "--energy", "--episodes", "2", "--json"]
    main([*arguments, "--beside", str(mlp.folder)])
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["spiking", "mlp", "mlp, 8 bits", "mlp, 3 bits"]  # K = 4 ticks: 3 bits
    whole, few = found["mlp"], found["mlp, 3 bits"]
    assert few["footprint_bytes"] == pytest.approx(whole["footprint_bytes"] * 3 / 32)
    assert few["joules"]["lemaire-sram"] < whole["joules"]["lemaire-sram"]


def test_what_is_no_mlp_does_not_stand_beside(tmp_path):
    spiking = trained(tmp_path, "ppo", "spiking")
    with pytest.raises(SystemExit):
        main(["eval", str(spiking.folder), "--energy", "--beside", str(spiking.folder)])


def test_an_mlp_with_many_bits_is_the_mlp_and_one_with_two_has_three_weights_a_unit(tmp_path):
    run = trained(tmp_path, "ppo", "mlp")
    loaded = bio_rl.training.api.load(run.folder)
    whole = metering.metered(loaded, 2)
    assert metering.rounded(loaded, 24, whole).score.returns == whole.score.returns
    weight = quantised.quantised(loaded, 2).actor.layers[0].weight
    assert all(len(row.abs().unique()) <= 2 for row in weight)
