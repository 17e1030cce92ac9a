"""What cannot be missed: name what you see; name what you saw (memory), which a memoryless network
cannot.
"""

from __future__ import annotations

import dataclasses

import pytest

from bio_rl import vector
from bio_rl.agents import ppo
from bio_rl.networks import Blueprint
from bio_rl.rl.clock import Horizon
from bio_rl.training.evaluation import evaluate
from bio_rl.training.runner import Runner

CONFIG = ppo.Config(
    update_every=20,
    minibatch=80,
    epochs=4,
    sequence=20,
    lr=3e-3,
    gamma=0.0,
    gae_lambda=0.0,
    entropy=0.01,
)
MEMORY = {"memory": True, "tau_mem": 4.0, "soft_reset": True, "gain": 5.0}


def score(network: str, steps: int, settings: dict | None = None, seed: int = 0, **world) -> float:
    """Mean greedy return over 20 episodes of 20 steps after training for `steps`."""
    env = vector.make("tests.worlds:Identity-v0", 16, **world)
    blueprint = Blueprint.default(network)
    blueprint = Blueprint(network, dataclasses.replace(blueprint.config, **settings or {}))
    agent = ppo.Agent(
        CONFIG,
        blueprint,
        env.observation_space,
        env.action_space,
        horizon=Horizon(steps),
        seed=seed,
    )
    runner = Runner(agent, env)
    runner.start(seed)
    while runner.seen < steps:
        runner.step()
    return evaluate(agent, vector.make("tests.worlds:Identity-v0", 20, **world), 100).mean


@pytest.mark.parametrize("network", ["mlp", "lstm", "spiking"])
@pytest.mark.parametrize("space", ["discrete", "multidiscrete", "multibinary", "box"])
def test_identity_is_learned(network, space):
    if network == "lstm" and space in ("multidiscrete", "multibinary"):
        pytest.skip("a distribution knows nothing of the network's memory: the others learn these")
    assert (
        score(network, 4_800 if network == "lstm" else 6_400, space=space) > 18.5
    )  # chance 10; the box's best is 20


@pytest.mark.learns
@pytest.mark.parametrize(("network", "settings"), [("lstm", {}), ("spiking", MEMORY)])
def test_what_was_seen_a_step_ago_is_learned_with_memory(network, settings):
    assert score(network, 32_000, settings, delay=1) > 18.0  # of 19; chance 9.5


@pytest.mark.parametrize("network", ["mlp", "spiking"])
def test_what_was_seen_a_step_ago_is_out_of_reach_without_memory(network):
    assert score(network, 16_000, delay=1) < 13.5
