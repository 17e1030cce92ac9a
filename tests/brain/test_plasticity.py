"""Plasticity rules by hand, against closed forms, gradients and what their papers prove of them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from bio_rl import plasticity
from bio_rl.neurons.alif import ALIF
from bio_rl.neurons.leaky_integrator import LeakyIntegrator
from bio_rl.neurons.lif import LIF
from bio_rl.plasticity import Post, Pre, gate
from bio_rl.plasticity.abcd import ABCD
from bio_rl.plasticity.anti_hebbian import AntiHebbian
from bio_rl.plasticity.bcm import BCM
from bio_rl.plasticity.eprop import EProp
from bio_rl.plasticity.exploratory_hebb import ExploratoryHebb
from bio_rl.plasticity.oja import Oja
from bio_rl.plasticity.pair_stdp import PairSTDP
from bio_rl.plasticity.r_max import RMax
from bio_rl.plasticity.rstdp import RSTDP
from bio_rl.plasticity.sanger import Sanger
from bio_rl.plasticity.scaling import Scaling
from bio_rl.plasticity.td_ltp import TDLTP
from bio_rl.plasticity.three_factor import ThreeFactor
from bio_rl.plasticity.triplet_stdp import TripletSTDP
from bio_rl.surrogates import triangle


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def spikes_at(times: list[list[float]], ticks: int, dt: float = 1.0) -> Tensor:
    """[ticks, rows, 1]: one neuron a row, spiking at the given ms."""
    spikes = torch.zeros(ticks, len(times), 1)
    for row, ts in enumerate(times):
        for t in ts:
            spikes[round(t / dt), row] = 1.0
    return spikes


def total(
    p, pre: list[list[float]], post: list[list[float]], w: float = 0.5, dt: float = 1.0
) -> Tensor:
    """[rows] the sum of what one synapse a row would change under a modulator of one; its weight
    stays.
    """
    ticks = round(max(map(max, pre + post)) / dt) + 1
    s, weight, change = (
        p.init(len(pre), 1, 1),
        torch.full((len(pre), 1, 1), w),
        torch.zeros(len(pre), 1, 1),
    )
    for x, y in zip(spikes_at(pre, ticks, dt), spikes_at(post, ticks, dt), strict=True):
        s = p.trace(s, weight, Pre(x), Post(y), dt=dt)
        change += p.delta(s, weight, torch.ones(len(pre)))
    return change.view(-1)


def decays(gaps: list[float], tau: float) -> Tensor:
    return torch.exp(-torch.tensor(gaps) / tau)


# reward-modulated STDP


def changes_by_reward(
    p: RSTDP, pairings: list[tuple[float, float, float]], tau_d: float, d0: float
) -> Tensor:
    """[rows] what dw/dt = c d, dd/dt = -d/τ_d make of (pre spike, post spike, dopamine pulse d0) at
    these ms; ticks of 1 ms.
    """
    k = 1 / p.tau_c + 1 / tau_d
    p = p._replace(lr=(1 - math.exp(-k)) / k)  # ∫ c d over one tick, of which the two decay
    ticks = round(max(map(max, pairings)) + 8 / k)
    pre, post, pulse = (spikes_at([[row[i]] for row in pairings], ticks) for i in range(3))
    s, w, d = (
        p.init(len(pairings), 1, 1),
        torch.zeros(len(pairings), 1, 1),
        torch.zeros(len(pairings)),
    )
    for x, y, reward in zip(pre, post, pulse, strict=True):
        d = math.exp(-1 / tau_d) * d + d0 * reward.view(-1)
        s = p.trace(s, w, Pre(x), Post(y))
        w = w + p.delta(s, w, d)
    return w.view(-1)


@pytest.mark.parametrize("tau_c, tau_d", [(1000.0, 200.0), (300.0, 200.0), (100.0, 20.0)])
def test_dopamine_after_a_pairing_changes_the_weight_by_the_closed_form(tau_c, tau_d):
    p, d0, grid = (
        RSTDP(tau_c=tau_c),
        0.5,
        list(itertools.product([1.0, 5.0, 20.0, 50.0], [0.0, 20.0, 200.0, 900.0])),
    )
    gap, delay = (torch.tensor(x) for x in zip(*grid, strict=True))
    left = torch.exp(-delay / tau_c) * d0 / (1 / tau_c + 1 / tau_d)
    causal = changes_by_reward(p, [(0.0, first, first + then) for first, then in grid], tau_d, d0)
    torch.testing.assert_close(
        causal, p.a_plus * torch.exp(-gap / p.tau_plus) * left, rtol=0.01, atol=0.0
    )
    reverse = changes_by_reward(p, [(first, 0.0, first + then) for first, then in grid], tau_d, d0)
    torch.testing.assert_close(
        reverse, -p.a_minus * torch.exp(-gap / p.tau_minus) * left, rtol=0.01, atol=0.0
    )


def test_dopamine_before_the_pairing_leaves_only_what_is_left_of_it():
    p, tau_d = RSTDP(), 200.0
    early, at_once = changes_by_reward(p, [(400.0, 405.0, 5.0), (400.0, 405.0, 405.0)], tau_d, 0.5)
    assert early / at_once == pytest.approx(math.exp(-400 / tau_d), rel=0.01)


# STDP


@pytest.mark.parametrize("mu, w", [(0.0, 0.3), (0.5, 0.3), (1.0, 0.3), (1.0, 0.9)])
@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_pair_stdp_has_its_window(mu, w, dt):
    p, gaps = PairSTDP(tau_plus=17.0, tau_minus=34.0, mu=mu), [1.0, 4.0, 10.0, 30.0]
    first, second = [[50.0]] * 4, [[50.0 + gap] for gap in gaps]
    up, down = total(p, first, second, w, dt), total(p, second, first, w, dt)
    torch.testing.assert_close(up, 0.005 * (1 - w) ** mu * decays(gaps, 17.0), rtol=1e-4, atol=0.0)
    torch.testing.assert_close(down, -0.00525 * w**mu * decays(gaps, 34.0), rtol=1e-4, atol=0.0)
    assert not total(p, first, first, w, dt).any()


def test_soft_bounds_hold_the_weight():
    p, g = PairSTDP(mu=1.0, a_plus=0.5, a_minus=0.1, w_min=-1.0, w_max=2.0), generator()
    s, w = p.init(4, 3, 3), torch.zeros(4, 3, 3)
    for _ in range(300):
        x, y = (torch.rand(4, 3, generator=g) < 0.05 for _ in range(2))
        s = p.trace(s, w, Pre(x.float()), Post(y.float()))
        w = w + p.delta(s, w, torch.ones(4))
    assert w.min() > -1.0 and w.max() < 2.0 and w.mean() > 1.0


def test_triplet_stdp_has_its_pair_window():
    p, gaps = TripletSTDP(a2_plus=3e-3), [1.0, 4.0, 10.0, 30.0]
    first, second = [[50.0]] * 4, [[50.0 + gap] for gap in gaps]
    torch.testing.assert_close(
        total(p, first, second), 3e-3 * decays(gaps, 16.8), rtol=1e-4, atol=0.0
    )
    torch.testing.assert_close(
        total(p, second, first), -7e-3 * decays(gaps, 33.7), rtol=1e-4, atol=0.0
    )
    assert not total(p, first, first).any()


def test_triplets_by_hand():
    p = TripletSTDP(a2_plus=3e-3)
    r1, r2 = lambda t: math.exp(-t / 16.8), lambda t: math.exp(-t / 101)
    o1, o2 = lambda t: math.exp(-t / 33.7), lambda t: math.exp(-t / 125)
    found = total(p, pre=[[0, 20], [10], [0, 6]], post=[[10], [0, 20], [10]])
    expected = [
        # pre 0, post 10: A2+ r1(10), no o2 yet            pre 20: o1(10) of the post, r2(20) of the
        # first pre
        3e-3 * r1(10) - o1(10) * (7e-3 + 2.3e-4 * r2(20)),
        # post 0, pre 10: A2- o1(10), no r2 yet            post 20: r1(10) of the pre, o2(20) of the
        # first post
        r1(10) * (3e-3 + 6.2e-3 * o2(20)) - 7e-3 * o1(10),
        # pre 0, pre 6, post 10: the post meets both
        3e-3 * (r1(10) + r1(4)),
    ]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=0.0)


def test_triplets_reverse_depression_at_high_rates():
    # Sjöström et al. 2001, which Pfister & Gerstner fit: 10 ms apart, slow pairings depress or do
    # nothing, fast ones potentiate
    def pairings(interval: float, n: int) -> Tensor:
        first = [interval * k for k in range(n)]
        second = [t + 10.0 for t in first]
        return total(TripletSTDP(), [first, second], [second, first])

    causal, reverse = pairings(1000.0, 3)
    assert abs(causal) < 1e-4 and reverse < -0.01
    causal, reverse = pairings(20.0, 20)
    assert causal > 0.02 and reverse > 0.02


def test_td_ltp_is_the_product_of_its_kernels():
    p = TDLTP(tau_mem=20.0, tau_syn=5.0, tau_kappa=200.0, nu_kappa=50.0)

    def kernel(t: float, slow: float, fast: float) -> float:
        return (math.exp(-t / slow) - math.exp(-t / fast)) / (slow - fast)

    # a pre spike at 3, a post spike at 10; another post spike at 25 finds nothing, it came after no
    # pre spike
    pre, post = spikes_at([[3], [3], [3, 14]], 61), spikes_at([[10], [10, 25], [10, 25]], 61)
    s, w = p.init(3, 1, 1), torch.zeros(3, 1, 1)
    for x, y in zip(pre, post, strict=True):
        s = p.trace(s, w, Pre(x), Post(y))
    one = kernel(7, 20, 5) * kernel(50, 200, 50)
    two = one + kernel(11, 20, 5) * kernel(35, 200, 50)
    found = p.delta(s, w, torch.tensor([-2.0, 1.0, 1.0])).view(-1)
    torch.testing.assert_close(found, torch.tensor([-2 * one, one, two]), rtol=1e-4, atol=0.0)


# policy gradients


def test_r_max_drifts_along_the_policy_gradient():
    # one neuron, three ticks, every one of its 8 spike trains with a reward of its own: E[R e] =
    # ∂E[R]/∂w
    p, ticks, n = RMax(tau_mem=10.0, tau_e=math.inf), 3, 4
    pre = (torch.rand(ticks, n, generator=generator()) < 0.6).float()
    trains = torch.tensor(list(itertools.product([0.0, 1.0], repeat=ticks)))  # [8, ticks]
    reward, w = normal(8, seed=1), normal(1, n, seed=2).requires_grad_()
    x, xs = torch.zeros(n), []
    for t in range(ticks):
        x = math.exp(-1 / 10.0) * x + pre[t]
        xs.append(x)
    prob = torch.sigmoid(torch.stack(xs) @ w[0])  # [ticks]
    chance = torch.where(trains > 0, prob, 1 - prob).prod(1)  # [8]
    (gradient,) = torch.autograd.grad((chance * reward).sum(), w)

    s = p.init(8, 1, n)
    for t in range(ticks):
        s = p.trace(
            s,
            w.detach(),
            Pre(pre[t].expand(8, n)),
            Post(trains[:, t : t + 1], p=prob[t].detach().expand(8, 1)),
        )
    chance = chance.detach()
    torch.testing.assert_close(
        p.delta(s, w.detach(), chance * reward).sum(0), gradient, rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(
        p.delta(s, w.detach(), chance).sum(0), torch.zeros(1, n), rtol=0.0, atol=1e-6
    )


def test_a_three_factor_actor_drifts_along_the_policy_gradient():
    p, x, reward = ThreeFactor(lr=1.0), normal(4), torch.tensor([0.5, -1.0, 2.0])
    w = normal(3, 4, seed=1).requires_grad_()
    pi = torch.softmax(w @ x, 0)
    (gradient,) = torch.autograd.grad(pi @ reward, w)
    pi, actions = pi.detach(), torch.eye(3)
    s = p.trace(
        p.init(3, 3, 4), w.detach(), Pre(x.expand(3, 4)), Post(actions), signal=actions - pi
    )
    torch.testing.assert_close(p.delta(s, w.detach(), pi * reward).sum(0), gradient)
    own = p.trace(
        p.init(3, 3, 4), w.detach(), Pre(x.expand(3, 4)), Post(actions, p=pi.expand(3, 3))
    )  # no signal: s - p
    torch.testing.assert_close(own, s)


def test_a_three_factor_critic_is_td_lambda():
    gamma, lam, decision = 0.99, 0.9, 20.0
    p, x = ThreeFactor(tau_e=-decision / math.log(gamma * lam), lr=0.1), normal(3, 5)
    s, w = p.init(1, 5), torch.zeros(1, 5)
    for t in range(3):
        s = p.trace(s, w, Pre(x[t]), Post(torch.zeros(1)), signal=torch.ones(1), dt=decision)
    e = x[2] + gamma * lam * x[1] + (gamma * lam) ** 2 * x[0]
    torch.testing.assert_close(p.delta(s, w, torch.tensor(-0.7)), 0.1 * -0.7 * e.view(1, 5))


def test_a_three_factor_rule_low_passes_its_input():
    p, s, w = ThreeFactor(tau_pre=5.0, tau_e=0.0), ThreeFactor().init(1, 1), torch.zeros(1, 1)
    for t in range(1, 21):
        s = p.trace(s, w, Pre(torch.tensor([2.0])), Post(torch.zeros(1)), signal=torch.ones(1))
        assert s.e.item() == pytest.approx(2.0 * (1 - math.exp(-t / 5.0)), rel=1e-4)


@pytest.mark.parametrize(
    "name, given",
    [
        ("r_max", {}),
        ("three_factor", {}),
        ("eprop", {"signal": torch.zeros(2)}),
        ("eprop", {"psi": torch.zeros(2)}),
    ],
)
def test_what_a_rule_misses_is_named(name, given):
    p, post = plasticity.load(name)(), Post(torch.zeros(2), psi=given.get("psi", ()))
    missing = {"r_max": "post.p", "three_factor": "neither signal nor post.p"}.get(
        name, "post.psi" if "signal" in given else "signal"
    )
    with pytest.raises(ValueError, match=f"{name}: {missing}"):
        p.trace(p.init(2, 3), torch.zeros(2, 3), Pre(torch.zeros(3)), post, given.get("signal"))


# the Hebbian family


def cloud(*deviations: float) -> Tensor:
    """[400, n] points of mean zero, with these standard deviations along random orthogonal
    directions.
    """
    n = len(deviations)
    x = normal(400, n)
    x = (x - x.mean(0)) * torch.tensor(deviations)
    return x @ torch.linalg.qr(normal(n, n, seed=1))[0].T


def components(x: Tensor) -> Tensor:
    """[n, n] the principal components in order, as rows."""
    return torch.linalg.eigh(x.T @ x)[1].flip(1).T


def learn(p, x: Tensor, w: Tensor, steps: int) -> Tensor:
    """w [post, pre] after steps with all the inputs x [B, pre], for y = W x."""
    s = p.init(len(x), *w.shape)
    for _ in range(steps):
        s = p.trace(s, w, Pre(x), Post(x @ w.T))
        w = w + p.delta(s, w, torch.ones(len(x))).mean(0)
    return w


def test_oja_finds_the_first_principal_component_with_unit_norm():
    x = cloud(2.0, 1.2, 1.0, 0.5)
    w = learn(Oja(lr=0.05), x, 0.3 * normal(1, 4, seed=3), 300)
    assert w.norm().item() == pytest.approx(1.0, abs=1e-3)
    assert abs((w[0] @ components(x)[0]).item()) > 0.9999


def test_sanger_finds_the_principal_components_in_order():
    x = cloud(2.0, 1.3, 0.8, 0.5)
    w = learn(Sanger(lr=0.05), x, 0.3 * normal(2, 4, seed=3), 500)
    torch.testing.assert_close((w @ components(x)[:2].T).abs(), torch.eye(2), rtol=0.0, atol=5e-3)


def test_bcm_neurons_become_selective():
    # three inputs in turn, in random order: one comes to evoke the response 3, the other two 0
    p, rows, g = BCM(tau_theta=50.0, lr=0.01), 24, generator()
    inputs = torch.tensor([[1.0, 0.3, 0.1], [0.2, 1.0, 0.3], [0.3, 0.1, 1.0]])
    s, w = p.init(rows, 1, 3), 0.2 + 0.3 * torch.rand(rows, 1, 3, generator=g)
    for _ in range(4000):
        x = inputs[torch.randint(3, (rows,), generator=g)]
        s = p.trace(s, w, Pre(x), Post((w @ x.unsqueeze(-1)).squeeze(-1)))
        w = w + p.delta(s, w, torch.ones(rows))
    responses = (w.squeeze(1) @ inputs.T).sort(dim=1, descending=True).values
    assert (
        abs(responses[:, 0].mean() - 3.0) < 0.3
        and responses[:, 1:].abs().mean() < 0.15
        and responses[:, 1].max() < 0.6
    )
    assert (w.squeeze(1) @ inputs.T).argmax(1).unique().numel() > 1  # which one, the start decides


def test_bcm_by_hand():
    p, w = BCM(tau_theta=1 / math.log(2), lr=0.1), torch.zeros(1, 2)  # θ keeps a half each tick
    s = p.trace(
        p.init(1, 2), w, Pre(torch.tensor([0.0, 0.0])), Post(torch.tensor([2.0]))
    )  # θ = ½ · 4 = 2
    s = p.trace(
        s, w, Pre(torch.tensor([1.0, -3.0])), Post(torch.tensor([1.0]))
    )  # θ = ½ · 2 + ½ · 1 = 1.5
    torch.testing.assert_close(
        p.delta(s, w, torch.tensor(1.0)), 0.1 * 1.0 * (1.0 - 1.5) * torch.tensor([[1.0, -3.0]])
    )


def test_anti_hebbian_lateral_weights_decorrelate():
    x = cloud(2.0, 1.0, 0.7)
    p, w, others = AntiHebbian(lr=0.05), torch.zeros(3, 3), 1.0 - torch.eye(3)
    s = p.init(len(x), 3, 3)

    def outputs() -> Tensor:
        return torch.linalg.solve(torch.eye(3) - w, x.T).T  # y = x + W y, settled

    assert (torch.corrcoef(outputs().T) * others).abs().max() > 0.4
    for _ in range(400):
        y = outputs()
        s = p.trace(s, w, Pre(y), Post(y))
        w = w + others * p.delta(s, w, torch.ones(len(x))).mean(0)
    assert (torch.corrcoef(outputs().T) * others).abs().max() < 0.01


def test_anti_hebbian_by_hand():
    p = AntiHebbian(p=0.5, lr=0.1)
    s = p.trace(
        p.init(2, 2),
        torch.zeros(2, 2),
        Pre(torch.tensor([1.0, 0.0])),
        Post(torch.tensor([1.0, 0.0])),
    )
    dw = p.delta(
        s, torch.zeros(2, 2), torch.tensor(1.0)
    )  # together: -0.1 (1 - 0.25); not together: -0.1 (0 - 0.25)
    torch.testing.assert_close(dw, torch.tensor([[-0.075, 0.025], [0.025, 0.025]]))


def distance_after(shuffled: bool) -> tuple[float, float]:
    """How far the mean outputs of noisy neurons are from their target, before and after learning
    from R = -|y - target|².
    """
    p, rows, g = ExploratoryHebb(lr=0.02), 32, generator()
    x, target, w = (
        normal(3, seed=1).expand(rows, 3),
        torch.tensor([1.0, -1.0]),
        torch.zeros(rows, 2, 3),
    )
    s, mean = p.init(rows, 2, 3), torch.zeros(rows)

    def distance() -> float:
        return ((w @ x.unsqueeze(-1)).squeeze(-1) - target).square().sum(-1).mean().item()

    before = distance()
    for _ in range(1500):
        y = (w @ x.unsqueeze(-1)).squeeze(-1) + 0.3 * torch.randn(rows, 2, generator=g)
        reward = -(y - target).square().sum(-1)
        s, modulator = p.trace(s, w, Pre(x), Post(y)), reward - mean
        mean = mean + 0.2 * (reward - mean)
        w = w + p.delta(s, w, modulator.roll(1) if shuffled else modulator)
    return before, distance()


def test_exploratory_hebb_climbs_the_reward_and_not_anothers():
    before, after = distance_after(shuffled=False)
    assert after < 0.1 * before
    before, after = distance_after(shuffled=True)
    assert after > 0.8 * before


def test_exploratory_hebb_by_hand():
    p, w, x = ExploratoryHebb(lr=0.1), torch.zeros(1, 1), torch.tensor([2.0])
    s = p.trace(p.init(1, 1), w, Pre(x), Post(torch.tensor([1.0])))  # ȳ = 0.2 · 1
    s = p.trace(s, w, Pre(x), Post(torch.tensor([3.0])))  # ȳ = 0.8 · 0.2 + 0.2 · 3 = 0.76
    assert p.delta(s, w, torch.tensor(-0.5)).item() == pytest.approx(
        0.1 * -0.5 * 2.0 * (3.0 - 0.76), rel=2e-3
    )


def test_abcd_by_hand():
    per_synapse = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    p = ABCD(a=per_synapse, b=10.0, c=100.0, d=1000.0, lr=0.1 * torch.ones(2, 3))
    s = p.trace(
        p.init(2, 3),
        torch.zeros(2, 3),
        Pre(torch.tensor([1.0, 0.0, -2.0])),
        Post(torch.tensor([3.0, 5.0])),
    )
    dw = p.delta(s, torch.zeros(2, 3), torch.tensor(2.0))
    expected = [
        # A o_i o_j     + B o_i    + C o_j + D,    o_j = 3
        [1 * 1 * 3 + 10 + 300 + 1000, 0 + 0 + 300 + 1000, 3 * -2 * 3 - 20 + 300 + 1000],
        # o_j = 5
        [4 * 1 * 5 + 10 + 500 + 1000, 0 + 0 + 500 + 1000, 6 * -2 * 5 - 20 + 500 + 1000],
    ]
    torch.testing.assert_close(dw, 0.2 * torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_scaling_brings_every_rate_to_its_target_and_keeps_the_proportions(dt):
    p = Scaling(target=10.0, tau_rate=200.0, lr=dt / (4 * 200.0 * 10.0))
    w = torch.tensor(
        [[[0.1, 0.3]], [[0.4, 1.2]], [[1.0, 3.0]]]
    )  # 2, 8 and 20 Hz at 5 Hz per weight
    s = p.init(3, 1, 2)
    for _ in range(round(4000 / dt)):
        rate = 5.0 * w.sum(-1)
        s = p.trace(
            s, w, Pre(torch.ones(3, 2)), Post(rate * dt / 1000), dt=dt
        )  # its mean spikes in a tick
        w = w + p.delta(s, w, torch.ones(3))
    torch.testing.assert_close(5.0 * w.sum(-1), torch.full((3, 1), 10.0), rtol=0.01, atol=0.0)
    torch.testing.assert_close(w[..., 1], 3.0 * w[..., 0])


# e-prop


def layer(beta: float) -> tuple[LIF | ALIF, EProp]:
    """Neurons with a soft reset, and the rule whose sum over a trial is minus their gradient."""
    if beta:
        p: LIF | ALIF = ALIF(tau_mem=5.0, tau_adapt=30.0, beta=beta)
    else:
        p = LIF(tau_mem=5.0, v_reset=None, surrogate="triangle", slope=1.0)
    return p, EProp(tau_mem=5.0, tau_out=8.0, beta=beta, tau_adapt=30.0, tau_gamma=math.inf, lr=1.0)


def pseudo_derivative(p: LIF | ALIF, s, drive: Tensor) -> Tensor:
    """ψ of the tick that takes the state s further, by hand."""
    decay = math.exp(-1 / p.tau_mem)
    threshold = 1.0 + (p.beta * s.a if isinstance(p, ALIF) else 0.0)
    return triangle(decay * s.v + (1 - decay) * drive - threshold, 1.0)


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_eprop_equals_the_gradient_when_recurrent_spikes_are_detached(beta):
    p, rule = layer(beta)
    w_in, w_rec, w_out = (
        1.5 * normal(*shape, seed=i).double() for i, shape in enumerate([(6, 4), (6, 6), (2, 6)])
    )
    inputs, targets = normal(15, 3, 4, seed=5).double() + 1.0, normal(15, 3, 2, seed=6).double()
    w_in.requires_grad_(), w_rec.requires_grad_()
    readout = LeakyIntegrator(tau_out=8.0)
    s, out, z = p.init(3, 6), readout.init(3, 2), torch.zeros(3, 6).double()
    of_input, of_recurrent = rule.init(3, 6, 4), rule.init(3, 6, 6)
    loss, count = torch.zeros(()).double(), 0.0
    for x, target in zip(inputs, targets, strict=True):
        before, z_before = s, z.detach()
        drive = x @ w_in.T + z_before @ w_rec.T
        z, s = p.step(s, drive)
        y, out = readout.step(out, z @ w_out.T)
        loss, count = loss + 0.5 * (y - target).square().sum(), count + z.sum().item()
        with torch.no_grad():
            post, signal = (
                Post(z, psi=pseudo_derivative(p, before, drive)),
                (y - target) @ w_out,
            )  # symmetric feedback
            of_input = rule.trace(of_input, w_in, Pre(x), post, signal)
            of_recurrent = rule.trace(of_recurrent, w_rec, Pre(z_before), post, signal)
    loss.backward()
    assert 50 < count < 220  # of 270: neither silent nor saturated
    for state, w in ((of_input, w_in), (of_recurrent, w_rec)):
        assert w.grad is not None and (w.grad != 0).double().mean() > 0.5
        torch.testing.assert_close(
            rule.delta(state, w.detach(), torch.ones(3)).sum(0), -w.grad, rtol=1e-5, atol=1e-8
        )


def test_eprop_discounts_what_a_later_modulator_gates():
    now, later = EProp(), EProp(tau_gamma=7.0)
    a, b, w, terms = now.init(2, 3), later.init(2, 3), torch.zeros(2, 3), []
    for t in range(6):
        pre, post, signal = (
            Pre(normal(3, seed=t)),
            Post(torch.zeros(2), psi=normal(2, seed=10 + t)),
            normal(2, seed=20 + t),
        )
        a, b = now.trace(a, w, pre, post, signal), later.trace(b, w, pre, post, signal)
        terms.append(now.delta(a, w, torch.tensor(1.0)))
    discounted = sum(math.exp(-(5 - t) / 7.0) * term for t, term in enumerate(terms))
    torch.testing.assert_close(later.delta(b, w, torch.tensor(-3.0)), -3.0 * discounted)


def test_a_modulator_of_each_neuron_gates_its_row():
    e = normal(2, 3, 4)
    torch.testing.assert_close(
        gate(torch.tensor([[1.0, 0.0, 2.0], [3.0, 1.0, 0.0]]), e)[1, 0], 3.0 * e[1, 0]
    )
    torch.testing.assert_close(gate(torch.tensor([1.0, 2.0]), e)[1], 2.0 * e[1])


def test_instar_neurons_that_compete_come_to_stand_for_the_clusters_of_their_inputs():
    g = torch.Generator().manual_seed(0)
    clusters = torch.tensor([[0.0, 4.0], [4.0, 0.0], [-3.0, -3.0]])
    p, w = plasticity.load("instar")(lr=0.05), torch.tensor([[0.5, 1.0], [1.0, 0.5], [-0.5, -0.5]])
    s = p.init(3, 2)
    for _ in range(600):
        x = clusters[torch.randint(3, (), generator=g)] + 0.1 * torch.randn(2, generator=g)
        y = torch.nn.functional.one_hot((x - w).square().sum(-1).argmin(), 3).float()
        s = p.trace(s, w, Pre(x), Post(y))
        w = w + p.delta(s, w, torch.tensor(1.0))
    torch.testing.assert_close(w, clusters, atol=0.15, rtol=0.0)
