"""Replay: what is sampled is what was lived, in order; time limits, the ring, states, saving."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from bio_rl.contracts import Percept, Transition
from bio_rl.rl import replay_size
from bio_rl.rl.replay import Replay
from bio_rl.rl.targets import n_step_target
from bio_rl.state import index, leaves

B = 3


def lived(first: int, t: int, episode: int = 5, batch: int = B) -> Transition:
    """Steps whose observation is their number and their environment's; episodes of 5, in the last
    cut by a limit.
    """
    number = torch.arange(first, first + t).view(t, 1).expand(t, batch)
    row = torch.arange(batch).expand(t, batch)
    obs = torch.stack((number, row), -1).float()
    last = (number + 1) % episode == 0
    no = torch.zeros_like(last)
    percept = Percept(obs, number - 1, number - 1.0, no, number % episode == 0)
    cut = row == batch - 1
    final = torch.stack((number + 0.5, row.float()), -1)
    return Transition(
        percept, number.clone(), number.float(), last & ~cut, last & cut, final, ~no, {}
    )


def generators(n: int = 1) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(n)]


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (3, 1), (6, 3), (7, 3)])
def test_sequences_are_those_that_were_lived(length, stride):
    memory = Replay(40 * B, length=length, stride=stride)
    for first in range(0, 120, 6):
        steps = lived(first, 6)
        memory.add(steps, (steps.percept.obs[::stride] * 10,))
    sample = memory.sample(400, generators())
    number, row = sample.steps.percept.obs.unbind(-1)
    room = 40 // stride * stride
    assert (
        number.min() == 120 - room
        and number.max() == (120 - length) // stride * stride + length - 1
    )
    assert (
        torch.equal(number, number[0] + torch.arange(length).unsqueeze(1))
        and (number[0] % stride == 0).all()
    )
    assert set(row.unique().tolist()) == {0, 1, 2} and (row == row[0]).all()
    assert torch.equal(sample.steps.reward, number) and torch.equal(
        sample.steps.action.float(), number
    )
    assert torch.equal(sample.steps.final_obs[..., 0], number + 0.5)
    last = (number + 1) % 5 == 0
    assert torch.equal(sample.steps.terminated, last & (row < 2)) and torch.equal(
        sample.steps.truncated, last & (row == 2)
    )
    assert torch.equal(sample.steps.percept.reset, number % 5 == 0) and sample.steps.valid.all()
    assert (
        torch.equal(sample.steps.percept.reward[1:], number[1:] - 1)
        and (sample.steps.percept.reward[0] == 0).all()
    )
    assert torch.equal(sample.states[0], sample.steps.percept.obs[0] * 10)
    share = torch.bincount(number[0].long() - int(number[0].min())).float()[::stride]
    assert share.min() > 0 and share.std() / share.mean() < 0.5  # evenly


def test_a_group_draws_from_its_own_environments_what_it_would_draw_alone():
    steps = lived(0, 30, batch=4)
    memory = Replay(30 * 4, groups=2)
    memory.add(steps)
    both = memory.sample(50, generators(2)).steps.percept.obs
    for g in range(2):
        alone = Replay(30 * 2)
        alone.add(index(steps._replace(extras={}), (slice(None), slice(2 * g, 2 * g + 2))))
        assert torch.equal(
            both[:, 50 * g : 50 * g + 50], alone.sample(50, [generators(2)[g]]).steps.percept.obs
        )


@pytest.mark.parametrize("steps", [12, 60])
def test_a_restored_replay_draws_the_same_and_goes_on(steps):
    first, second, longer = (Replay(30 * B, length=2, stride=2) for _ in range(3))
    longer.capacity *= 2
    for start in range(0, steps, 6):
        new = lived(start, 6)
        first.add(new, (new.percept.obs[::2],))
    saved = first.state_dict()
    for other in (second, longer):
        other.load_state_dict(saved)
    for more in range(2):
        new = lived(steps + 6 * more, 6)
        for memory in (first, second, longer):
            memory.add(new, (new.percept.obs[::2],))
        a, b = (memory.sample(64, generators()) for memory in (first, second))
        assert all(
            torch.equal(x, y) for x, y in zip(leaves(tuple(a)), leaves(tuple(b)), strict=True)
        )
    assert longer.size == min(steps, 30) + 12 and first.size == min(steps + 12, 30)
    number = longer.sample(200, generators()).steps.percept.obs[..., 0]
    assert torch.equal(number[1], number[0] + 1)


def test_a_sequence_that_a_new_episode_broke_off_is_cut_there():
    """As where a run is taken up in a world that cannot save its physics: the step before has no
    flag.
    """
    memory, steps = Replay(10, length=3), lived(0, 6, batch=1)
    reset = torch.zeros_like(steps.terminated)
    reset[4] = True
    no = torch.zeros_like(reset)
    percept = steps.percept._replace(reset=reset)
    memory.add(steps._replace(percept=percept, terminated=no, truncated=no))
    sample = memory.sample(200, generators())
    cut, first = sample.steps.truncated, sample.steps.percept.obs[0, :, 0]
    for start in (2, 3):
        (rows,) = (first == start).nonzero(as_tuple=True)
        assert len(rows) and (cut[:, rows].sum(1) > 0).tolist() == [
            i == 3 - start for i in range(3)
        ]
    assert not cut[:, first < 2].any()


def test_n_step_targets_by_hand():
    """Two environments, four steps; the first terminates after step 1, the second is cut after step
    2.
    """
    reward = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]])
    v_next = torch.tensor([[10.0, 10.0], [20.0, 20.0], [30.0, 30.0], [40.0, 40.0]])
    terminated = torch.tensor([[False, False], [True, False], [False, False], [False, False]])
    truncated = torch.tensor([[False, False], [False, False], [False, True], [False, False]])
    target = n_step_target(reward, v_next, terminated, terminated | truncated, 0.5, 3)
    # first: 1 + .5·2, over.  second: 1 + .5·2 + .25·3 + .125·30
    # one step later: 2.  and 2 + .5·3 + .25·30, the limit ends the sum but not the value
    torch.testing.assert_close(target, torch.tensor([[2.0, 6.5], [2.0, 11.0]]))
    one = n_step_target(reward, v_next, terminated, terminated | truncated, 0.5, 1)
    torch.testing.assert_close(one[:, 0], torch.tensor([6.0, 2.0, 18.0, 24.0]))


def test_a_replay_that_does_not_fit_is_refused_with_its_size_and_the_flag():
    spaces = gym.spaces.Box(-1, 1, (17,), np.float64), gym.spaces.Box(-1, 1, (6,), np.float32)
    each = replay_size.step_bytes(*spaces)
    assert each == 2 * 17 * 4 + 6 * 4 + 5
    assert (
        replay_size.check_size(1_000_000, each, "--sac.replay", torch.device("cpu"))
        == "replay of 1,000,000 steps: 165 MB on cpu"
    )
    assert "1,000 steps for each of 5 seeds: 825 kB" in replay_size.check_size(
        1000, each, "--sac.replay", torch.device("cpu"), 5
    )
    with pytest.raises(
        ValueError, match=r"165,000 GB on cpu, where .* are free; --sac.replay \d+ would fit"
    ):
        replay_size.check_size(10**12, each, "--sac.replay", torch.device("cpu"))
