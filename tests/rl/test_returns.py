"""GAE and discounted sums, worked out by hand."""

import torch

from bio_rl.rl.returns import discounted_sum, gae

B = torch.bool


def column(*x):
    return torch.tensor(x).unsqueeze(1)


def test_gae_by_hand():
    # γ = 0.5, λ = 0.5, γλ = 0.25; V = (1, 2, 3), V' = (2, 3, 4), r = (1, 1, 1), nothing ends
    # δ = (1 + 1 - 1, 1 + 1.5 - 2, 1 + 2 - 3) = (1, 0.5, 0);  A_2 = 0, A_1 = 0.5, A_0 = 1 + 0.25·0.5
    # = 1.125
    no = torch.zeros(3, 1, dtype=B)
    a = gae(column(1.0, 1.0, 1.0), column(1.0, 2.0, 3.0), column(2.0, 3.0, 4.0), no, no, 0.5, 0.5)
    torch.testing.assert_close(a, column(1.125, 0.5, 0.0))


def test_termination_cuts_the_bootstrap_and_truncation_does_not():
    # one step, r = 1, V = 1, V' = 10, γ = 0.5:  terminated: A = 1 - 1 = 0;  truncated: A = 1 + 5 -
    # 1 = 5
    r, v, v_next, yes, no = (
        column(1.0),
        column(1.0),
        column(10.0),
        torch.ones(1, 1, dtype=B),
        torch.zeros(1, 1, dtype=B),
    )
    assert gae(r, v, v_next, yes, yes, 0.5, 0.9).item() == 0.0
    assert gae(r, v, v_next, no, yes, 0.5, 0.9).item() == 5.0


def test_terminated_wins_where_both_flags_are_set():
    yes = torch.ones(1, 1, dtype=B)
    assert gae(column(1.0), column(1.0), column(10.0), yes, yes, 0.5, 0.9).item() == 0.0


def test_advantage_never_flows_across_an_episode_boundary():
    # the second step starts a new episode: whatever happens there, A_0 = δ_0 = 1 + 0.5·2 - 1 = 1
    cut = torch.tensor([[True], [False]])
    for later in (0.0, 100.0):
        a = gae(
            column(1.0, later),
            column(1.0, 0.0),
            column(2.0, 0.0),
            torch.zeros(2, 1, dtype=B),
            cut,
            0.5,
            0.9,
        )
        assert a[0].item() == 1.0


def test_discounted_sum_by_hand():
    # γ = 0.5, carry 2, r = (1, 1, 1), cut after the second: 0.5·2 + 1 = 2; 0.5·2 + 1 = 2; 0 + 1 =
    # 1; carry 1
    sums, carry = discounted_sum(
        column(1.0, 1.0, 1.0), torch.tensor([2.0]), torch.tensor([[False], [True], [False]]), 0.5
    )
    torch.testing.assert_close(sums, column(2.0, 2.0, 1.0))
    assert carry.item() == 1.0
