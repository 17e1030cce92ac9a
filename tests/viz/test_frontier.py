"""The frontier of return against operations, and its picture."""

import numpy as np
import pytest

from bio_rl.bench import frontier as bench
from bio_rl.viz import frontier


def case(iqm, total, network="mlp"):
    counts = {"total": total, "macs": total, "acs": 0.0}
    return {
        "n": 3,
        "iqm": iqm,
        "iqm_interval": [iqm - 1.0, iqm + 1.0],
        "operations_per_decision": {network: counts},
    }


RESULTS = {
    "A-v0/ppo/mlp --mlp.hidden 8 8 --mlp.critic-hidden 64 64": case(10.0, 100.0),
    "A-v0/ppo/mlp --mlp.hidden 64 64 --mlp.critic-hidden 64 64": case(30.0, 10_000.0),
    "A-v0/ppo/spiking --spiking.hidden 16 --spiking.ticks 2": case(20.0, 1_000.0, "spiking"),
    "A-v0/ppo/spiking --spiking.hidden 64 --spiking.ticks 4": case(25.0, 1e5, "spiking"),
    "mean over environments": {"ratio_spiking_mlp": 0.9},
}


def test_points_have_their_size_and_ticks():
    found = frontier.points(RESULTS)
    assert [(p.kind, p.size, p.operations) for p in found] == [
        ("mlp", "8-8", 100.0),
        ("mlp", "64-64", 10_000.0),
        ("spiking, K = 2", "16", 1_000.0),
        ("spiking, K = 4", "64", 1e5),
    ]


def test_the_best_with_at_most_so_many_operations():
    found = frontier.points(RESULTS)
    scores = frontier.best(found, np.array([50.0, 100.0, 999.0, 1e9]))
    assert scores.tolist() == [-np.inf, 10.0, 10.0, 30.0]


def test_the_share_of_the_range_in_which_spikes_are_ahead():
    # from 100 to 100,000 operations: ahead from 1,000 to 10,000, a third of three decades
    found = frontier.points(RESULTS)
    assert frontier.share(found) == pytest.approx(1 / 3, abs=0.01)
    (sentence,) = frontier.sentences(RESULTS)
    assert "A-v0" in sentence and "33% of the range" in sentence


def test_the_picture_is_written(tmp_path):
    pytest.importorskip("matplotlib")
    assert frontier.draw(RESULTS, tmp_path / "frontier.png").stat().st_size > 5_000
    with pytest.raises(ValueError, match="nothing to draw"):
        frontier.draw({}, tmp_path / "none.png")


def test_every_size_meets_every_number_of_ticks_and_all_have_one_critic():
    mlps, spiking = bench.Settings(mlp=("8", "16"), spiking=("4", "9"), ticks=(1, 2)).plans
    assert [flags.split(" --")[0] for flags in mlps.flags] == ["--mlp.hidden 8", "--mlp.hidden 16"]
    assert all("--mlp.critic-hidden 64 64" in flags for flags in mlps.flags)
    assert len(spiking.flags) == 4 and spiking.network == ("spiking",)
