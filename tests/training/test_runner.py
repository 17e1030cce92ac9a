"""The one loop in all three autoreset modes, against a world whose every observation says where it
is.
"""

from __future__ import annotations

from typing import NamedTuple

import gymnasium as gym
import pytest
import torch
from gymnasium.vector import AutoresetMode

from bio_rl.contracts import ActOut, Episodes, Steps
from bio_rl.training.runner import Runner, begin, collect, decide
from bio_rl.vector import Vector
from tests import worlds

MODES = list(AutoresetMode)


class Memory(NamedTuple):
    count: torch.Tensor
    """[B] decisions since the last reset."""
    felt: torch.Tensor
    """[B] rewards felt in all."""


class Witness:
    """Remembers what it was shown; counts decisions since the reset, and the rewards that reached
    it.
    """

    def __init__(self, rollout):
        self.rollout, self.seen, self.updates = rollout, [], []

    def initial_state(self, batch):
        return Memory(torch.zeros(batch), torch.zeros(batch))

    def act(self, percept, state, explore=True):
        felt = state.felt + percept.reward  # the reward first, to the old state
        count = torch.where(percept.reset, 0.0, state.count) + 1
        self.seen.append(percept)
        return ActOut(
            torch.ones(len(count), dtype=torch.int64), {"count": count}, Memory(count, felt)
        )

    def update(self, rollout, state):
        self.updates.append((rollout, state))
        return state, {}

    def trained_tensors(self):
        return []

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def clocks(mode, n=2, length=3, ends="terminated"):
    env = gym.make_vec(
        "Clock-v0",
        n,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        length=length,
        ends=ends,
    )
    return Vector(env)


def play(mode, steps, **world):
    agent = Witness(Steps(steps))
    env = clocks(mode, **world)
    rollout, life = collect(agent, env, begin(agent, env, 0))
    return agent, env, rollout, life


def valid_rows(rollout, row=0):
    """The transitions of one environment without junk."""
    keep = rollout.steps.valid[:, row]
    return {
        "obs": rollout.steps.percept.obs[keep, row].tolist(),
        "reset": rollout.steps.percept.reset[keep, row].tolist(),
        "felt": rollout.steps.percept.reward[keep, row].tolist(),
        "reward": rollout.steps.reward[keep, row].tolist(),
        "final": rollout.steps.final_obs[keep, row].tolist(),
        "count": rollout.steps.extras["count"][keep, row].tolist(),
        "before": rollout.steps.percept.terminated[keep, row].tolist(),
    }


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_same_experience(mode):
    _, _, rollout, _ = play(mode, 10)
    rows = valid_rows(rollout)
    for name, expected in {
        "obs": [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0]],
        "reset": [True, False, False, True, False, False, True],
        "felt": [
            0,
            1,
            2,
            3,
            1,
            2,
            3,
        ],  # the terminal reward is felt with the new episode's first observation
        "reward": [1, 2, 3, 1, 2, 3, 1],
        "final": [[0, 1], [0, 2], [0, 3], [1, 1], [1, 2], [1, 3], [2, 1]],
        "count": [1, 2, 3, 1, 2, 3, 1],  # a reset at t is seen by the step at t
        "before": [False, False, False, True, False, False, True],
    }.items():
        assert rows[name][:7] == expected, name


def test_next_step_masks_exactly_the_reset_rows():
    _, _, rollout, _ = play(AutoresetMode.NEXT_STEP, 8)
    assert rollout.steps.valid[:, 0].tolist() == [True, True, True, False, True, True, True, False]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_the_flag_of_an_end_is_kept(mode, ends):
    _, _, rollout, _ = play(mode, 3, ends=ends)
    assert getattr(rollout.steps, ends)[2].all() and not getattr(rollout.steps, ends)[:2].any()
    other = {"terminated": "truncated", "truncated": "terminated"}[ends]
    assert not getattr(rollout.steps, other).any()


@pytest.mark.parametrize("mode", MODES)
def test_the_terminal_reward_reaches_a_learner_that_updates_at_every_step(mode):
    agent, env = Witness(Steps(1)), clocks(mode)
    runner = Runner(agent, env)
    runner.start(0)
    for _ in range(10):
        runner.step()
    ends = [(r, s) for r, s in agent.updates if r.steps.terminated[0, 0]]
    assert len(ends) >= 2
    for k, (rollout, live) in enumerate(ends[:2]):
        assert rollout.steps.reward[0, 0] == 3
        assert live.count[0] == 3  # the state of the decision that earned it, not yet reset
        assert live.felt[0] == 6 * k + 1 + 2  # and every earlier reward has been felt once
    felt = [p.reward[0].item() for p in agent.seen]
    assert 3.0 in felt


@pytest.mark.parametrize("mode", MODES)
def test_every_reward_is_felt_exactly_once_by_the_state(mode):
    _, _, rollout, life = play(mode, 11)
    earned = (rollout.steps.reward[:, 0] * rollout.steps.valid[:, 0]).sum().item()
    pending = 0.0 if life.junk is not None and life.junk[0] else life.percept.reward[0].item()
    last = rollout.steps.reward[-1, 0].item() if life.junk is not None and life.junk[0] else 0.0
    assert life.state.felt[0].item() + pending + last == earned


@pytest.mark.parametrize("mode", MODES)
def test_episodes_are_counted_right(mode):
    agent, env = Witness(Steps(20)), clocks(mode)
    collect(agent, env, begin(agent, env, 0))
    ended = env.take_episodes()
    assert {(e.ret, e.length) for e in ended} == {(6.0, 3)} and env.take_episodes() == []
    assert {e.row for e in ended} == {0, 1}


@pytest.mark.parametrize("mode", MODES)
def test_chunk_states_are_the_states_at_the_chunk_starts(mode):
    agent, env = Witness(Steps(6, chunk=2)), clocks(mode, length=100)
    rollout, _ = collect(agent, env, begin(agent, env, 0))
    assert rollout.states.count[:, 0].tolist() == [0, 2, 4]


@pytest.mark.parametrize("mode", MODES)
def test_whole_episodes_start_together_and_finished_rows_are_masked(mode):
    agent, env = Witness(Episodes(2)), clocks(mode)
    runner = Runner(agent, env)
    runner.start(0)
    for _ in range(2):
        runner.step()
        rollout, _ = agent.updates[-1]
        assert rollout.steps.percept.reset[0].all()
        assert rollout.steps.valid.sum(0).tolist() == [6, 6]
        assert [(e.ret, e.length) for e in runner.episodes] == [(6.0, 3)] * 4
    assert runner.seen == 24


def test_a_finished_row_of_episodes_keeps_its_last_state():
    class Uneven(worlds.Clock):
        count = 0

        def __init__(self):
            Uneven.count += 1
            super().__init__(length=2 if Uneven.count == 1 else 5)

    env = Vector(gym.vector.SyncVectorEnv([Uneven, Uneven], autoreset_mode=AutoresetMode.SAME_STEP))
    agent = Witness(Episodes(1))
    rollout, life = collect(agent, env, begin(agent, env, 0))
    assert rollout.steps.valid.sum(0).tolist() == [2, 5] and life.state.count.tolist() == [2.0, 5.0]


def test_greedy_decisions_are_the_same_twice():
    agent, env = Witness(Steps(1)), clocks(AutoresetMode.SAME_STEP)
    life = begin(agent, env, 0)
    a, _ = decide(agent, env, life, explore=False)
    b, _ = decide(agent, env, begin(agent, env, 0), explore=False)
    assert torch.equal(a.action, b.action)
