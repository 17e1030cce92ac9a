"""Settings of networks and agents as Python writes them."""

from __future__ import annotations

from bio_rl.training import config


def test_one_number_stands_for_a_setting_that_may_have_several() -> None:
    settings = {"tau_mem": 3.0, "slope": [1.0, 4.0]}
    experiment = config.experiment(network="spiking", network_settings=settings)
    assert experiment.network.config.tau_mem == (3.0,)
    assert experiment.network.config.slope == (1.0, 4.0)
