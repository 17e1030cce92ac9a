"""Dopamine: by hand, its decay, and the classical conditioning of a critic that learns by it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bio_rl.modulators.dopamine import Dopamine, dopamine_rpe
from bio_rl.plasticity import Post, Pre
from bio_rl.plasticity.three_factor import ThreeFactor

CUE, REWARD, STEPS = 5, 12, 18
"""Steps of a trial at which the cue comes on and the reward is earned, and its length."""
GAMMA = 0.98


def test_the_error_by_hand():
    reward, value, after = (
        torch.tensor([1.0, 0.0, 2.0]),
        torch.tensor([0.5, 1.0, 1.0]),
        torch.tensor([2.0, 0.0, 3.0]),
    )
    ended = torch.tensor([False, False, True])
    torch.testing.assert_close(
        dopamine_rpe(reward, value, after, ended, 0.5), torch.tensor([1.5, -1.0, 1.0])
    )


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\[\(3,\), \(3, 1\)"):
        dopamine_rpe(
            torch.zeros(3), torch.zeros(3, 1), torch.zeros(3), torch.zeros(3, dtype=torch.bool), 0.9
        )


@pytest.mark.parametrize("dt", [1.0, 5.0])
def test_a_pulse_decays_to_the_tonic_level(dt):
    p = Dopamine(tau_d=200.0, tonic=0.1)
    level, s = p.step(p.init(2), torch.tensor([0.5, -0.5]), dt)
    torch.testing.assert_close(level, torch.tensor([0.6, -0.4]))
    for _ in range(round(100 / dt)):
        level, s = p.step(s, torch.zeros(2), dt)
    torch.testing.assert_close(level, 0.1 + torch.tensor([0.5, -0.5]) * math.exp(-0.5))


# conditioning: a critic over the time since each cue, taught by the three-factor rule with its own
# error as dopamine

RULE = ThreeFactor(tau_e=0.0, lr=0.2)


def since(onset: int | None) -> Tensor:
    """[STEPS, STEPS] cells that each fire at one delay after a cue; silent before it and without
    one.
    """
    cells = torch.zeros(STEPS, STEPS)
    if onset is not None:
        cells[range(onset, STEPS), range(STEPS - onset)] = 1.0
    return cells


def trial(
    w: Tensor,
    cells: Tensor,
    rewarded: bool = True,
    learn: bool = True,
    shuffle: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(Weights after it, dopamine [STEPS]) of one trial; dopamine at t is about what comes at t,
    after what was known at t - 1. shuffle: an order in which the errors reach the synapses instead.
    """
    value, nothing = cells @ w, torch.zeros(1)
    before = torch.cat((nothing, value[:-1]))
    reward = torch.zeros(STEPS)
    reward[REWARD] = float(rewarded)
    delta = dopamine_rpe(reward, before, value, torch.zeros(STEPS, dtype=torch.bool), GAMMA)
    given, state = delta if shuffle is None else delta[shuffle], RULE.init(1, cells.shape[1])
    for t in range(1, STEPS) if learn else ():
        state = RULE.trace(state, w[None], Pre(cells[t - 1]), Post(nothing), torch.ones(1))
        w = w + RULE.delta(state, w[None], given[t])[0]
    return w, delta


def trained(
    cells: Tensor, trials: int = 300, w: Tensor | None = None, rewarded: bool = True
) -> Tensor:
    w = torch.zeros(cells.shape[1]) if w is None else w
    for _ in range(trials):
        w, _ = trial(w, cells, rewarded)
    return w


def test_dopamine_moves_from_the_reward_to_the_cue():
    cells = since(CUE)
    _, naive = trial(torch.zeros(STEPS), cells, learn=False)
    _, expert = trial(trained(cells), cells, learn=False)
    assert naive[REWARD] == 1.0 and naive.abs().sum() == 1.0
    torch.testing.assert_close(
        expert[CUE].item(), GAMMA ** (REWARD - CUE - 1) * GAMMA, rtol=0.01, atol=0.0
    )
    assert expert[REWARD].abs() < 0.01 and expert.abs().sum() < 1.01 * expert[CUE]


def test_on_its_way_it_is_seen_between_the_two():
    cells, peaks, w = since(CUE), [], torch.zeros(STEPS)
    for _ in range(60):
        w, delta = trial(w, cells)
        peaks.append(int(delta.argmax()))
    assert peaks[0] == REWARD and peaks[-1] == CUE and any(CUE < peak < REWARD for peak in peaks)
    assert peaks == sorted(peaks, reverse=True)


def test_it_dips_where_an_expected_reward_is_left_out():
    cells = since(CUE)
    _, omitted = trial(trained(cells), cells, rewarded=False, learn=False)
    assert omitted[CUE] > 0.8 and omitted[REWARD] < -0.95
    assert omitted[[t for t in range(STEPS) if t not in (CUE, REWARD)]].abs().max() < 0.01


def test_extinction_takes_the_response_to_the_cue_away():
    cells = since(CUE)
    w = trained(cells, 300, trained(cells), rewarded=False)
    assert trial(w, cells, learn=False)[1][CUE].abs() < 0.01


def test_a_cue_beside_one_that_already_predicts_is_blocked():
    first, second = torch.cat((since(CUE), since(None)), 1), torch.cat((since(None), since(CUE)), 1)
    both = first + second
    blocked, control = trained(both, w=trained(first)), trained(both)
    assert trial(blocked, second, learn=False)[1][CUE].abs() < 0.01
    assert (
        trial(control, second, learn=False)[1][CUE] > 0.4
    )  # without the history it shares the prediction


def test_shuffled_dopamine_teaches_nothing_of_the_kind():
    cells, w, g = since(CUE), torch.zeros(STEPS), torch.Generator().manual_seed(0)
    for _ in range(300):
        w, _ = trial(w, cells, shuffle=torch.randperm(STEPS, generator=g))
    expert = trial(trained(cells), cells, learn=False)[1]
    found = trial(w, cells, learn=False)[1]
    assert (found - expert).abs().sum() > 0.5 * expert.abs().sum()
