"""Acetylcholine, noradrenaline and serotonin: by hand, and as a bandit is learned, is turned over,
or takes patience.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from bio_rl import modulators
from bio_rl.modulators.acetylcholine import Acetylcholine
from bio_rl.modulators.dopamine import dopamine_rpe
from bio_rl.modulators.noradrenaline import Noradrenaline, inverse_temperature
from bio_rl.modulators.serotonin import Serotonin, SerotoninState
from bio_rl.plasticity import Post, Pre, make

ROWS, REVERSAL, AFTER = 200, 800, 50


def run(p, errors: list[float]):
    """What the last step gives for one row."""
    out = (p.init(1),)
    for error in errors:
        out = p.step(out[-1], torch.tensor([error]))
    return out


def test_acetylcholine_is_the_mean_size_of_errors_up_to_the_full_one():
    p, keep = Acetylcholine(tau=10.0, h_full=2.0), math.exp(-0.1)
    level, s = run(p, [-0.5, 0.5])
    # h: 2, then 2k + 0.5 (1 - k), then k of that and 0.5 (1 - k): 0.5 + 1.5 k²
    assert s.h.item() == pytest.approx(0.5 + 1.5 * keep**2) and level.item() == pytest.approx(
        s.h.item() / 2.0
    )
    assert run(p, [9.0, 9.0])[0].item() == 1.0


def test_noradrenaline_is_what_errors_of_late_have_beyond_the_usual():
    p = Noradrenaline(tau_fast=2.0, tau_slow=20.0, threshold=0.3, initial=0.1)
    fast, slow = (
        1.0 - 0.9 * math.exp(-1.0 / tau) for tau in (2.0, 20.0)
    )  # of 0.1 at first and |δ| = 1
    start = p.init(1)
    level, s = p.step(start, torch.tensor([-1.0]))
    assert level.item() == pytest.approx(1.0 - slow / fast) and p.resets(start, s).item()
    level, after = p.step(s, torch.tensor([1.0]))
    assert level.item() > 0.3 and not p.resets(s, after).item()  # once
    assert (
        run(p, [0.1] * 5)[0].item() == pytest.approx(0.0, abs=1e-6)
        and run(p, [0.0] * 5)[0].item() == 0.0
    )
    torch.testing.assert_close(
        inverse_temperature(torch.tensor([0.0, 0.25]), 4.0), torch.tensor([4.0, 3.0])
    )


def test_after_an_error_of_nothing_expected_noradrenaline_is_finite():
    assert run(Noradrenaline(initial=0.0), [0.0])[0].item() == 0.0
    assert 0.9 < run(Noradrenaline(initial=0.0), [0.0, 1.0])[0].item() < 1.0


@pytest.fixture(scope="module")
def bandits() -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
    """Of learners of two arms that are swapped at REVERSAL, where the better one pays nine times in
    ten, and where either pays in half of all cases: (acetylcholine, noradrenaline, reset)
    [decisions, ROWS].
    """
    g, n = torch.Generator().manual_seed(0), 2 * ROWS
    rows, p_best = torch.arange(n), torch.tensor([0.9, 0.5]).repeat_interleave(ROWS)
    ach, ne = Acetylcholine(), Noradrenaline()
    s_ach, s_ne, q, seen = ach.init(n), ne.init(n), torch.zeros(n, 2), []
    for t in range(REVERSAL + AFTER):
        arm = torch.multinomial((5.0 * q).softmax(1), 1, generator=g)[:, 0]
        best = arm == (t >= REVERSAL)
        reward = (torch.rand(n, generator=g) < torch.where(best, p_best, 1.0 - p_best)).float()
        error = reward - q[rows, arm]
        q[rows, arm] += 0.05 * error
        level, s_ach = ach.step(s_ach, error)
        surprise, after = ne.step(s_ne, error)
        reset, s_ne = ne.resets(s_ne, after), after
        seen.append((level, surprise, reset))
    found = [torch.stack(x) for x in zip(*seen, strict=True)]
    return tuple(
        (a[:, part], b[:, part], c[:, part])
        for a, b, c in [found]
        for part in (slice(ROWS), slice(ROWS, n))
    )


def test_acetylcholine_falls_as_the_critic_learns_and_not_below_what_chance_leaves(bandits):
    learned, chance = (kind[0].mean(1) for kind in bandits)
    assert learned[0] > 0.9 and chance[0] > 0.9
    assert learned[REVERSAL - 1] == pytest.approx(
        0.18, abs=0.04
    )  # E|r - p| of a reward of p = 0.9 is 2 p (1 - p)
    assert chance[REVERSAL - 1] == pytest.approx(0.5, abs=0.04)
    assert learned[REVERSAL + 20] > 2.0 * learned[REVERSAL - 1]


def test_noradrenaline_rises_after_a_reversal(bandits):
    _, level, reset = bandits[0]
    before, after = slice(REVERSAL - AFTER, REVERSAL), slice(REVERSAL, REVERSAL + AFTER)
    assert level[before].mean() < 0.15 < 0.4 < level[REVERSAL + 10 : REVERSAL + 30].mean()
    assert reset[before].any(0).float().mean() < 0.15 and reset[after].any(0).float().mean() > 0.9


def test_uncertainty_that_is_expected_is_no_surprise(bandits):
    ach, level, reset = bandits[1]
    assert ach[-1].mean() > 0.45 and level[200:].mean() < 0.05 and not reset.any()


def test_serotonin_learns_to_wait_where_that_pays_and_not_where_it_does_not():
    # to wait for twice as much, seven decisions away, is done the likelier the more it is worth
    # now; it earns more on average,
    # or less, or more but what is done does not depend on γ
    p, g, n = Serotonin(), torch.Generator().manual_seed(0), 3 * ROWS
    gain, deaf = torch.tensor([0.5, -0.5, 0.5]).repeat_interleave(ROWS), torch.arange(n) >= 2 * ROWS
    s, reward = p.init(n), torch.full((n,), 0.5)
    for _ in range(3000):
        gamma, s = p.step(s, reward, g)
        worth = 2.0 * torch.where(deaf, 0.9, gamma) ** 7
        wait = torch.rand(n, generator=g) < torch.sigmoid(10.0 * (worth - 1.0))
        reward = 0.5 + gain * wait + 0.1 * torch.randn(n, generator=g)
    longer, shorter, neither = s.log_tau.exp().view(3, ROWS).median(1).values
    assert longer > 2.5 * p.tau and shorter < p.tau / 2.5 and p.tau / 1.5 < neither < 1.5 * p.tau


def test_one_step_of_serotonin_by_hand():
    p = Serotonin(tau=5.0, tau_mid=10.0, tau_long=20.0, lr=0.5, noise=0.2, period=10)
    row = torch.ones(1)
    s = SerotoninState(
        mid=0.2 * row,
        long=0.1 * row,
        log_tau=math.log(5.0) * row,
        sigma=0.3 * row,
        count=torch.tensor([7]),
    )
    gamma, after = p.step(s, torch.tensor([1.2]))
    # mid 0.2 + 1.0/10 = 0.3, long 0.1 + 0.2/20 = 0.11, b ln 5 + 0.5 * 0.19 * 0.3 = ln 5 + 0.0285
    assert after.mid.item() == pytest.approx(0.3) and after.long.item() == pytest.approx(0.11)
    assert after.log_tau.item() == pytest.approx(
        math.log(5.0) + 0.0285
    ) and after.sigma.item() == pytest.approx(0.3)
    assert gamma.item() == pytest.approx(math.exp(-1.0 / (5.0 * math.exp(0.3285))))


def test_serotonin_draws_once_a_period_and_stays_within_its_limits():
    p, g = Serotonin(period=5, lr=100.0, limits=(2.0, 50.0)), torch.Generator().manual_seed(0)
    s, sigmas, horizons = p.init(ROWS), [], []
    for _ in range(50):
        gamma, s = p.step(s, torch.randn(ROWS, generator=g), g)
        sigmas.append(s.sigma)
        horizons.append(s.log_tau.exp())
        assert ((gamma > 0) & (gamma < 1)).all()
    changes = [not torch.equal(a, b) for a, b in itertools.pairwise(sigmas)]
    assert changes == [t % 5 == 0 for t in range(1, 50)]
    found = torch.stack(horizons)
    assert found.min() == pytest.approx(2.0) and found.max() == pytest.approx(50.0)
    with pytest.raises(ValueError, match=r"tau is 10\.0"):
        Serotonin(limits=(20.0, 50.0)).init(1)


@pytest.mark.parametrize("p", [Acetylcholine(), Noradrenaline()])
def test_rows_do_not_mix(p):
    errors = torch.tensor([[0.1, 2.0], [0.1, -3.0], [0.1, 0.0]])
    both, alone = (p.init(2),), (p.init(1),)
    for e in errors:
        both, alone = p.step(both[-1], e), p.step(alone[-1], e[:1])
    assert (
        all(torch.equal(a[:1], b) for a, b in zip(both[:-1], alone[:-1], strict=True))
        and both[0][0] != both[0][1]
    )


# together, as an agent takes them


def test_each_sets_its_own_and_the_others_are_left_as_they_are():
    error, reward = torch.tensor([0.5, -3.0]), torch.tensor([1.0, 0.0])
    nothing = modulators.make([])
    effects, states = nothing.step(nothing.init(2), error, reward, 0.9)
    assert states == () and not effects.reset.any()
    assert [x.tolist() for x in effects[:2]] == [[1.0, 1.0], [1.0, 1.0]]
    torch.testing.assert_close(effects.discount, torch.full((2,), 0.9))
    together = modulators.make(["serotonin", "acetylcholine", "noradrenaline"])
    before = together.init(2)
    effects, after = together.step(before, error, reward, 0.9, torch.Generator().manual_seed(0))
    gamma, s = Serotonin().step(before[0], reward, torch.Generator().manual_seed(0))
    level, _ = Acetylcholine().step(before[1], error)
    surprise, _ = Noradrenaline().step(before[2], error)
    assert torch.equal(effects.discount, gamma) and torch.equal(after[0].sigma, s.sigma)
    assert torch.equal(effects.learning_rate, level) and level[0] < 1.0
    assert torch.equal(effects.inverse_temperature, 1.0 - surprise) and surprise[1] > 0.0


@pytest.mark.parametrize(
    "names, message",
    [
        (["serotonine"], "no neuromodulator called 'serotonine' .*; did you mean 'serotonin'"),
        (["dopamine"], "known: acetylcholine, noradrenaline, serotonin"),
        (["serotonin", "serotonin"], "the neuromodulator serotonin is there twice"),
    ],
)
def test_modulators_that_cannot_be_together_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        modulators.make(names)


def bandit_learner(
    names: list[str], lr: float, decisions: int, p_best: float
) -> tuple[Tensor, Tensor]:
    """([decisions, ROWS] whether the arm was taken that was the better one at first, the values
    [ROWS, 2]) of learners whose values a rule learns that dopamine gates. After 400 decisions the
    arms are swapped.
    """
    g, rule = torch.Generator().manual_seed(0), make("three_factor", {"tau_e": 0.0, "lr": lr})
    together = modulators.make(names)
    w, trace, states = torch.zeros(ROWS, 1, 2), rule.init(ROWS, 1, 2), together.init(ROWS)
    factor, rate, taken = torch.ones(ROWS), torch.ones(ROWS), []
    nothing, ended = torch.zeros(ROWS), torch.ones(ROWS, dtype=torch.bool)
    for t in range(decisions):
        policy = (10.0 * factor.unsqueeze(-1) * w[:, 0]).softmax(1)
        arm = torch.multinomial(policy, 1, generator=g)[:, 0]
        best = arm == (t >= 400)
        p = torch.where(best, p_best, 1.0 - p_best)
        reward = (torch.rand(ROWS, generator=g) < p).float()
        chosen = torch.nn.functional.one_hot(arm, 2).float()
        error = dopamine_rpe(reward, (w[:, 0] * chosen).sum(1), nothing, ended, 0.9)
        trace = rule.trace(trace, w, Pre(chosen), Post(nothing[:, None]), torch.ones(ROWS, 1))
        w = w + rule.delta(trace, w, rate * error)
        effects, states = together.step(states, error, reward, 0.9, g)
        rate, factor = effects.learning_rate, effects.inverse_temperature
        taken.append(arm == 0)
    return torch.stack(taken).float(), w[:, 0]


def test_acetylcholine_gives_learned_values_that_chance_moves_less():
    plain, modulated = (
        bandit_learner(names, 0.3, 400, p_best=0.9)[1][:, 0] for names in ([], ["acetylcholine"])
    )
    assert modulated.mean() == pytest.approx(0.9, abs=0.03)
    assert modulated.std() < 0.6 * plain.std()


def test_noradrenaline_explores_after_a_reversal_and_not_before_it():
    plain, modulated = (
        bandit_learner(names, 0.05, 430, p_best=0.95)[0].mean(1)
        for names in ([], ["noradrenaline"])
    )
    assert modulated[300:400].mean() > 0.99
    explored = [1.0 - taken[420:].mean() for taken in (plain, modulated)]
    assert explored[1] > 2.0 * explored[0]
