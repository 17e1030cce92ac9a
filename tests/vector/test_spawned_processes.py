"""Worlds in processes that have not imported bio_rl: the id names its module,
`bio_rl:bio_rl/CartPole-v1`.
"""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv

WAYS = [way for way in ("spawn", "forkserver") if way in multiprocessing.get_all_start_methods()]


def lived(env_id: str, results: Any) -> None:
    """Send whether bio_rl was known before the world was made, and its first observation."""
    before = "bio_rl" in sys.modules or "bio_rl/CartPole-v1" in gym.registry
    env = gym.make(env_id)
    results.put((before, env.reset(seed=3)[0].tolist()))


@pytest.mark.parametrize("way", WAYS)
def test_an_id_with_its_module_is_made_in_a_process_that_has_not_imported_us(way) -> None:
    context = multiprocessing.get_context(way)
    results = context.Queue()
    process = context.Process(target=lived, args=("bio_rl:bio_rl/CartPole-v1", results))
    process.start()
    known, obs = results.get(timeout=60)
    process.join(timeout=60)
    assert not known and process.exitcode == 0
    import bio_rl  # noqa: F401

    np.testing.assert_array_equal(np.float32(obs), gym.make("bio_rl/CartPole-v1").reset(seed=3)[0])


@pytest.mark.thorough
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("env_id", ["bio_rl:bio_rl/GoNoGo-v0"])
def test_gymnasiums_workers_make_it_under_every_start_method(way, env_id) -> None:
    env = gym.make_vec(env_id, 2, vectorization_mode="async", vector_kwargs={"context": way})
    assert isinstance(env, AsyncVectorEnv)
    obs, _ = env.reset(seed=0)
    own, _ = gym.make_vec(env_id, 2).reset(seed=0)
    np.testing.assert_array_equal(obs, own)
    env.close()
