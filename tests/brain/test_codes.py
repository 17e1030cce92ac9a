"""Codes: numbers to spikes, spikes to numbers, and the homeostat, against hand-worked steps and
closed forms.
"""

import math

import pytest
import torch

from bio_rl import seeding
from bio_rl.codes import DRAWS, ENCODERS, delta, encode, population, rate
from bio_rl.codes.conjunctive import Grid, Scattered
from bio_rl.codes.homeostat import activity, homeostat
from bio_rl.codes.latency import first_spike, latency, linear_latency
from bio_rl.codes.membrane import max_membrane, membranes
from bio_rl.codes.population import Population, deterministic
from bio_rl.codes.rate import poisson
from bio_rl.contracts import Percept, Probe
from bio_rl.kernels.unroll import leaky_average
from bio_rl.networks import Blueprint, spiking
from bio_rl.neurons.leaky_integrator import LeakyIntegrator


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def lif_spikes(drive, ticks, tau, threshold=1.0):
    """[K, B, N] of leaky integrate-and-fire neurons from rest: v ← e^{-1/τ} v + (1 - e^{-1/τ})
    drive, zero after a spike.
    """
    v, train = torch.zeros_like(drive), []
    for _ in range(ticks):
        v = math.exp(-1.0 / tau) * v + (1.0 - math.exp(-1.0 / tau)) * drive
        train.append((v >= threshold).to(v.dtype))
        v = v * (1.0 - train[-1])
    return torch.stack(train)


# --- rate code ---


def test_poisson_draws_are_those_of_earlier_versions():
    rates = torch.tensor([[0.2, 0.5, 0.8], [0.8, 0.5, 0.2]])
    spikes = population.poisson(rates, seeding.keys(7, 2), 3)  # the old place of the same function
    # recorded before the function moved to codes/rate.py: stored seeds must re-derive the same
    # noise
    assert spikes.tolist() == [
        [[0, 0, 1], [1, 0, 0]],
        [[0, 1, 1], [0, 1, 0]],
        [[0, 0, 0], [1, 1, 1]],
    ]
    assert population.poisson is rate.poisson


def test_poisson_rates_lie_within_their_binomial_error():
    rates, ticks = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]).repeat(50, 1), 400
    spikes = poisson(rates, seeding.keys(1, 50), ticks)
    error = (spikes.mean((0, 1)) - rates[0]).abs()
    assert spikes.shape == (400, 50, 5) and bool(((spikes == 0) | (spikes == 1)).all())
    assert bool(
        (error <= 4 * (rates[0] * (1 - rates[0]) / (50 * ticks)).sqrt()).all()
    )  # 0 and 1 exactly


def test_poisson_rows_depend_on_their_own_key_alone():
    rates, key = torch.full((4, 6), 0.5), seeding.keys(3, 4)
    spikes = poisson(rates, key, 20)
    assert torch.equal(spikes, poisson(rates, key, 20))
    assert torch.equal(spikes[:, 2:3], poisson(rates[2:3], key[2:3], 20))
    assert not torch.equal(spikes, poisson(rates, seeding.advance(key), 20))


# --- population code ---


def test_deterministic_population_by_hand():
    # A = 0.4:  V = 0.4 | 0.8 | 1.2 fires, 0.201 left | 0.601 | 1.001 fires, 0.002 left
    # A = 1.0:  fires at every tick, 0.001 more is left each time
    spikes, v = deterministic(torch.tensor([[0.4, 1.0]]), 5)
    assert spikes[:, 0, 0].tolist() == [0, 0, 1, 0, 1] and spikes[:, 0, 1].tolist() == [1] * 5
    torch.testing.assert_close(v, torch.tensor([[0.002, 0.005]]), rtol=0, atol=1e-6)


def test_deterministic_population_fires_as_often_as_its_threshold_fits_into_its_charge():
    currents = 0.999 * uniform(3, 200, seed=1).double().clamp(min=1e-3)
    for ticks in (1, 4, 37):
        count = deterministic(currents, ticks)[0].sum(0)
        assert torch.equal(count, (ticks * currents / 0.999).ceil() - 1)


def test_deterministic_population_goes_on_where_it_stopped():
    currents = uniform(3, 8)
    whole, final = deterministic(currents, 9)
    first, v = deterministic(currents, 4)
    rest, last = deterministic(currents, 5, v)
    assert torch.equal(torch.cat((first, rest)), whole) and torch.equal(last, final)
    assert torch.equal(deterministic(currents[1:2], 9)[0], whole[:, 1:2])  # rows never mix


def test_the_gradient_passes_straight_through_the_encoders_threshold_and_reset():
    currents = uniform(2, 3).double().requires_grad_()
    spikes, _ = deterministic(currents, 5)
    for k, z in enumerate(spikes, start=1):
        (grad,) = torch.autograd.grad(z.sum(), currents, retain_graph=True)
        torch.testing.assert_close(grad, torch.full_like(grad, (1 - 0.001**k) / 0.999))


def test_receptive_fields_can_be_learned_through_the_deterministic_encoder():
    fields, wanted = Population(5).requires_grad_(), torch.tensor([0.5, 0.3, 0.8])
    fields.centres.requires_grad_(), fields.scale.requires_grad_()
    features = torch.tensor([[-1.0, 0.2, 2.0]], requires_grad=True)
    rates = deterministic(fields(features), 10)[0].mean(0).view(1, 3, 5)
    (rates.amax(-1) - wanted).square().sum().backward()
    for tensor in (features, fields.centres, fields.scale):
        assert (
            tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.abs().sum() > 0
        )


@pytest.mark.parametrize(("fields", "answering"), [("linear", 2), ("quadratic", 3)])
def test_splines_answer_two_or_three_at_a_time_and_their_answers_sum_to_one(fields, answering):
    inside = uniform(50, 3).double() * 1.5 - 0.75  # between the outermost centres
    answers = Population(7, reach=1.2, fields=fields).double()(inside).unflatten(-1, (3, 7))
    assert ((answers > 0).sum(-1) == answering).all() and (answers >= 0).all()
    torch.testing.assert_close(answers.sum(-1), torch.ones(50, 3).double())


def test_linear_fields_by_hand():
    # centres at -1, 0, 1: a quarter of the way from 0 to 1
    answers = Population(3, reach=1.0, fields="linear")(torch.tensor([0.25, 0.0]))
    assert answers.tolist() == [0.0, 0.75, 0.25, 0.0, 1.0, 0.0]


def test_quadratic_fields_by_hand():
    # d = 1.25, 0.25, 0.75:  ½ 0.25²,  ½ 1.25² - 3/2 0.25²,  ½ 0.75²
    answers = Population(3, reach=1.0, fields="quadratic")(torch.tensor([0.25]))
    torch.testing.assert_close(answers, torch.tensor([0.03125, 0.6875, 0.28125]))


# --- latency code ---


def test_latency_by_hand():
    # τ = 2 ms, θ = 0.5:  x = 1.0: t = 2 ln 2     = 1.39 ms, tick 1 (from 1 to 2 ms)
    #                     x = 0.6: t = 2 ln 6     = 3.58 ms, tick 3
    #                     x = 0.501: t = 2 ln 501 = 12.4 ms, after the window: its last tick
    #                     x = 0.5 and 0.0 never reach the threshold
    spikes = latency(torch.tensor([[1.0, 0.6, 0.501, 0.5, 0.0]]), 5, tau=2.0, theta=0.5)
    assert spikes.shape == (5, 1, 5) and spikes.sum(0).tolist() == [[1, 1, 1, 0, 0]]
    assert spikes.argmax(0)[0, :3].tolist() == [1, 3, 4]


def test_latency_follows_its_closed_form_and_finer_ticks_come_closer():
    x, tau, theta = 0.3 + 0.7 * uniform(4, 100).double(), 5.0, 0.25
    t = tau * (x / (x - theta)).log()
    for dt in (1.0, 0.1):
        end = (
            latency(x, round(20 / dt), tau=tau, theta=theta, dt=dt).argmax(0) + 1
        ) * dt  # of the tick that fired
        assert bool(((end >= t - 1e-9) & (end < t + dt)).all())


def test_latency_is_the_first_spike_of_a_lif_neuron_under_that_current():
    x = uniform(3, 50, seed=2).double()
    train = lif_spikes(x, 30, tau=4.0, threshold=0.3)
    fired = train.sum(0) > 0
    spikes = latency(x, 30, tau=4.0, theta=0.3)
    assert 0.5 < fired.double().mean() < 0.9
    assert torch.equal(spikes.argmax(0)[fired], train.argmax(0)[fired])
    assert torch.equal(spikes.sum(0) == 1, x > 0.3)


def test_linear_latency_by_hand():
    # (1 - x) · 4 = 0 | 1 | 2 | 3.6 → 4; an input of zero stays silent
    spikes = linear_latency(torch.tensor([[1.0, 0.75, 0.5, 0.1, 0.0]]), 5)
    assert spikes.sum(0).tolist() == [[1, 1, 1, 1, 0]] and spikes.argmax(0)[0, :4].tolist() == [
        0,
        1,
        2,
        4,
    ]


def test_the_first_spike_code_by_hand():
    # K = 10: τ = 5 ms, θ = 0.1:  x = 1: t = 5 ln(1 / 0.9) = 0.53 ms | 0.2: 5 ln 2 = 3.47 ms
    #                            | 0.11: 5 ln 11 = 12.0 ms, its last tick | 0.1: never
    spikes = first_spike(torch.tensor([[1.0, 0.2, 0.11, 0.1]]), 10)
    assert spikes.sum(0).tolist() == [[1, 1, 1, 0]]
    assert spikes.argmax(0)[0, :3].tolist() == [0, 3, 9]


# --- any code, as a network calls it ---


@pytest.mark.parametrize("code", ENCODERS)
def test_every_encoder_says_more_of_a_stronger_input_and_nothing_of_none(code):
    intensity = torch.tensor([0.0, 0.15, 0.3, 1.0]).repeat(200, 1)
    key = seeding.keys(0, 200) if code in DRAWS else None
    spikes = encode(code, intensity, 8, key)
    assert spikes.shape == (8, 200, 4) and set(spikes.unique().tolist()) <= {0.0, 1.0}
    assert not spikes[..., 0].any()
    # a spike counts the more the earlier it is: so it does in a rate and in a latency code
    said = (spikes * torch.arange(8, 0, -1).view(8, 1, 1)).sum(0).mean(0)
    assert (said.diff() > 0).all()


def test_an_encoder_that_cannot_be_called_says_why():
    with pytest.raises(ValueError, match="code is 'latent'; did you mean 'latency'"):
        encode("latent", ROW, 4)
    with pytest.raises(ValueError, match="the code poisson draws, and needs a noise key"):
        encode("poisson", ROW, 4)


# --- delta code ---


def test_delta_events_by_hand():
    # θ = 0.5, one input:  x = 1.2: 2 ON, x̂ = 1.0 | 0.75: -0.25, nothing | 0.5: 1 OFF, x̂ = 0.5 |
    # -0.5: 2 OFF, x̂ = -0.5
    state, seen = delta.init(1, 1), []
    for x in (1.2, 0.75, 0.5, -0.5):
        out, state = delta.events(state, torch.tensor([[x]]), torch.zeros(1, dtype=torch.bool), 0.5)
        seen.append((*out[0].tolist(), state.sent.item()))
    assert seen == [(2, 0, 1.0), (0, 0, 1.0), (0, 1, 0.5), (0, 2, -0.5)]


def test_delta_events_reconstruct_the_signal_within_the_threshold():
    walk = (uniform(60, 4, 3, seed=3).double() - 0.5).cumsum(0)
    state, heard = delta.DeltaState(torch.zeros(4, 3).double()), torch.zeros(4, 3).double()
    for x in walk:
        out, state = delta.events(state, x, torch.zeros(4, dtype=torch.bool), 0.2)
        on, off = out.chunk(2, -1)
        assert not bool(((on > 0) & (off > 0)).any())
        heard = heard + 0.2 * (on - off)  # what a receiver knows who sees the events alone
        assert (x - heard).abs().max() < 0.2 + 1e-9


def test_a_reset_row_of_the_delta_code_equals_a_fresh_one_and_rows_never_mix():
    x, reset = 4 * uniform(5, 3, 2) - 2, torch.zeros(5, 3, dtype=torch.bool)
    reset[3, 1] = True

    def run(x, reset):
        state, train = delta.init(x.shape[1], 2), []
        for t in range(len(x)):
            out, state = delta.events(state, x[t], reset[t], 0.3)
            train.append(out)
        return torch.stack(train)

    train = run(x, reset)
    assert torch.equal(train[3:, 1:2], run(x[3:, 1:2], reset[3:, 1:2]))
    assert not torch.equal(train[3, 1], run(x, torch.zeros_like(reset))[3, 1])
    assert torch.equal(train[:, [0, 2]], run(x[:, [0, 2]], reset[:, [0, 2]]))


def test_a_slow_signal_sends_nothing_and_carries_no_gradient():
    x = torch.full((2, 3), 0.19, requires_grad=True)
    out, state = delta.events(delta.init(2, 3), x, torch.zeros(2, dtype=torch.bool), 0.2)
    assert out.abs().sum() == 0 and state.sent.abs().sum() == 0
    assert not out.requires_grad and not state.sent.requires_grad


# --- decoders ---


def test_the_highest_potential_by_hand_with_the_gradient_at_its_tick():
    # two decisions of three ticks: 0.1 0.7 0.2 | -3 -2 -1
    v = torch.tensor([0.1, 0.7, 0.2, -3.0, -2.0, -1.0]).view(6, 1, 1).requires_grad_()
    read = max_membrane(v, 3)
    assert read.shape == (2, 1, 1)
    torch.testing.assert_close(read.flatten(), torch.tensor([0.7, -1.0]))
    (grad,) = torch.autograd.grad(read.sum(), v)
    assert grad.flatten().nonzero().flatten().tolist() == [1, 5] and grad.sum() == 2


def test_the_membranes_of_a_decision_by_hand():
    # two decisions of two ticks, κ = 0.5, so the largest is 1.5: drives 1 1 | 3 0
    v = membranes(torch.tensor([1.0, 1.0, 3.0, 0.0]).view(4, 1, 1), 2, 0.5)
    torch.testing.assert_close(v.flatten() * 1.5, torch.tensor([1.0, 1.5, 3.0, 1.5]))


@pytest.mark.parametrize("keep", [1.0, 0.6, 0.0])
def test_a_linear_readout_of_averaged_spikes_is_the_last_membrane(keep):
    # so that a network with tau_out has this decoder, and the firing rate where nothing is lost
    spikes, weight = (uniform(12, 3, 5) < 0.4).float(), uniform(2, 5, seed=1) - 0.5
    out = leaky_average(spikes, 4, keep) @ weight.T
    v = membranes(spikes @ weight.T, 4, keep)
    last = v[3::4]
    torch.testing.assert_close(last, out)
    if keep == 1.0:
        torch.testing.assert_close(spikes.unflatten(0, (3, 4)).mean(1) @ weight.T, out)
    assert (max_membrane(v, 4) >= last).all()
    assert (max_membrane(v, 4) > out + 1e-3).any()


def test_decoders_never_mix_rows():
    train = uniform(8, 3, 2)
    assert torch.equal(max_membrane(train, 4)[:, 1:2], max_membrane(train[:, 1:2], 4))


def test_a_network_that_decodes_by_the_peak_reads_the_highest_potential_of_each_output():
    torch.manual_seed(0)
    config = spiking.Config(decode="max_membrane", gain=8.0, memory=True)
    net = Blueprint("spiking", config).build(3, 4)
    no = torch.zeros(5, 2, dtype=torch.bool)
    xs = Percept(torch.randn(5, 2, 3), no, no, no, no)
    out, _ = net.unroll(xs, net.initial_state(2))
    state = net.initial_state(2)
    p = LeakyIntegrator(tau_out=config.tau_out)
    largest = 1.0 - math.exp(-config.ticks / config.tau_out)
    later = 0
    for t in range(5):
        probe = Probe()
        _, state = net(Percept(*(x[t] for x in xs)), state, probe)
        outputs = p.init(2, 4)
        potentials = []
        for spikes in probe.records["spikes/1"][-1]:
            v, outputs = p.step(outputs, spikes @ net.readout.weight.t())
            potentials.append(v / largest + net.readout.bias)
        highest = torch.stack(potentials).amax(0)
        torch.testing.assert_close(out[t], highest)
        later += int((highest > potentials[-1]).sum())
    assert later  # the last potential is not always the highest


def test_outputs_of_a_spiking_network_are_membranes_that_never_fire():
    """They are LIs that its last spikes drive, in units of what a spike at every tick gives."""
    net = Blueprint.default("spiking").build(3, 4)
    k, tau = net.config.ticks, net.config.tau_out
    zero = torch.zeros(2, dtype=torch.bool)
    probe = Probe()
    out, _ = net(Percept(torch.randn(2, 3), zero, zero, zero, zero), (), probe)
    p = LeakyIntegrator(tau_out=tau)
    state = p.init(2, 4)
    for spikes in probe.records["spikes/1"][-1]:
        v, state = p.step(state, spikes @ net.readout.weight.t())
    largest = 1.0 - math.exp(-k / tau)  # of a potential that is driven by 1 for k ticks
    torch.testing.assert_close(out, v / largest + net.readout.bias)


def test_an_output_reads_its_own_population():
    readout = population.Readout(2, 3, gain=2.0)
    torch.testing.assert_close(readout.weight.norm(dim=-1), torch.tensor([2.0, 2.0]))
    with torch.no_grad():
        readout.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.0, 1.0]]))
        readout.bias.copy_(torch.tensor([0.5, 0.0]))
    rates = torch.tensor([[1.0, 0.0, 0.5, 0.2, 1.0, 0.8]])
    torch.testing.assert_close(readout(rates), torch.tensor([[3.0, 0.6]]))


# --- homeostasis ---


def test_homeostat_by_hand():
    # r* = 0.2, η = 0.5:  r = 0: b + 0.1 | r = 0.2: b | r = 1: b - 0.4
    bias = torch.tensor([1.0, 1.0, 1.0], requires_grad=True)
    after = homeostat(bias, torch.tensor([0.0, 0.2, 1.0]), 0.2, 0.5)
    torch.testing.assert_close(after, torch.tensor([1.1, 1.0, 0.6]))
    assert not after.requires_grad and bias.detach().tolist() == [1, 1, 1]
    assert torch.equal(homeostat(bias, uniform(3), 0.2, 0.0), bias.detach())


def test_homeostat_brings_dead_and_saturated_neurons_to_their_target_rate():
    drive, bias = torch.tensor([-2.0, 0.5, 9.0]).expand(4, 3), torch.zeros(3)
    before = activity(lif_spikes(drive + bias, 60, tau=2.0))
    assert math.isclose(before.dead.item(), 2 / 3, rel_tol=1e-6) and math.isclose(
        before.saturated.item(), 1 / 3, rel_tol=1e-6
    )
    for _ in range(120):
        bias = homeostat(bias, lif_spikes(drive + bias, 60, tau=2.0).mean((0, 1)), 0.2, 0.2)
    after = lif_spikes(drive + bias, 60, tau=2.0)
    torch.testing.assert_close(after.mean((0, 1)), torch.full((3,), 0.2), rtol=0, atol=0.05)
    assert activity(after).dead == 0 and activity(after).saturated == 0


def test_activity_by_hand():
    # two ticks, two rows, four neurons: silent | always | one spike | in one row alone: 7 of 16
    # possible spikes
    spikes = torch.zeros(2, 2, 4)
    spikes[:, :, 1], spikes[0, 1, 2], spikes[:, 0, 3] = 1, 1, 1
    found = activity(spikes.requires_grad_())
    assert [x.item() for x in found] == [7 / 16, 1 / 4, 1 / 4] and not any(
        x.requires_grad for x in found
    )


# --- refusals ---

ROW = torch.full((2, 3), 0.5)
NO_RESET = torch.zeros(2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: poisson(ROW, seeding.keys(0, 2), 0), r"poisson: ticks is 0, expected at least 1"),
        (
            lambda: poisson(ROW, seeding.keys(0, 3), 4),
            r"\(2, 3\) and key \(3,\), expected \[B, N\] and \[B\]",
        ),
        (lambda: deterministic(ROW, -1), r"deterministic: ticks is -1"),
        (
            lambda: deterministic(ROW, 4, torch.zeros(3, 3)),
            r"v has shape \(3, 3\), expected that of currents, \(2, 3\)",
        ),
        (lambda: latency(ROW, 0, tau=1.0, theta=0.1), r"latency: ticks is 0"),
        (
            lambda: latency(ROW, 4, tau=0.0, theta=0.1),
            r"tau is 0\.0, expected a positive number of ms",
        ),
        (
            lambda: latency(ROW, 4, tau=1.0, theta=0.1, dt=-1.0),
            r"dt is -1\.0, expected a positive number of ms",
        ),
        (
            lambda: latency(ROW, 4, tau=1.0, theta=1.0),
            r"theta is 1\.0, expected a number between 0 and 1",
        ),
        (lambda: linear_latency(ROW, 0), r"latency: ticks is 0"),
        (
            lambda: delta.events(delta.init(2, 3), ROW, NO_RESET, 0.0),
            r"threshold is 0\.0, expected a positive number",
        ),
        (
            lambda: delta.events(delta.init(4, 3), ROW, NO_RESET, 0.1),
            r"state has shape \(4, 3\), x \(2, 3\).*init\(B, N\)",
        ),
        (lambda: delta.events(delta.init(2, 3), ROW, NO_RESET[:1], 0.1), r"reset \(1,\), expected"),
        (
            lambda: membranes(torch.zeros(7, 2, 3), 4, 1.0),
            r"membranes: got shape \(7, 2, 3\).*K = 4 ticks",
        ),
        (lambda: max_membrane(ROW, 1), r"max_membrane: got shape \(2, 3\), expected \[T·K, B, N\]"),
        (lambda: max_membrane(torch.zeros(4, 2, 3), 0), r"max_membrane: ticks is 0"),
        (
            lambda: homeostat(ROW[0], ROW[0], 1.5, 0.1),
            r"target is 1\.5, expected a rate between 0 and 1",
        ),
        (lambda: homeostat(ROW[0], ROW[0], 0.5, -0.1), r"lr is -0\.1, expected 0 or a positive"),
        (
            lambda: homeostat(ROW[0], ROW, 0.5, 0.1),
            r"rate has shape \(2, 3\), expected that of bias, \(3,\)",
        ),
        (lambda: activity(ROW), r"spikes have shape \(2, 3\), expected \[S, B, N\]"),
        (lambda: Population(1), r"size 1"),
        (lambda: Population(2, fields="linaer"), r"linear"),
    ],
)
def test_impossible_settings_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# conjunctive cells


def divided_fields(features, centres, sigma):
    """Gaussian fields [n, N] of cells with centres [N, F], over the largest: the definition, cell
    by cell.
    """
    distance = ((features[:, None] - centres) / sigma).square().sum(-1)
    fields = (-0.5 * distance).exp()
    return fields / fields.amax(1, keepdim=True)


def test_a_grid_of_conjunctive_cells_is_what_its_equation_says():
    code = Grid((3, 4), reach=(2.0, 6.0), width=0.7)
    x, y = torch.linspace(-2.0, 2.0, 3), torch.linspace(-6.0, 6.0, 4)
    centres = torch.cartesian_prod(x, y)
    features = 4.0 * uniform(50, 2) - 2.0
    expected = divided_fields(features, centres, 0.7 * torch.tensor([2.0, 4.0]))
    torch.testing.assert_close(code(features), expected)
    torch.testing.assert_close(code(centres).argmax(1), torch.arange(12))


def test_beyond_the_reach_cells_answer_as_on_the_border():
    code = Grid((4, 4), reach=1.0)
    torch.testing.assert_close(code(torch.tensor([[9.0, -5.0]])), code(torch.tensor([[1.0, -1.0]])))


def test_scattered_cells_are_what_their_equation_says_and_the_same_for_a_seed():
    first, again = (Scattered(30, 3, torch.Generator().manual_seed(4), reach=2.0) for _ in range(2))
    features = 3.0 * uniform(20, 3) - 1.5
    assert torch.equal(first(features), again(features))
    torch.testing.assert_close(
        first(features),
        divided_fields(features, first.centres[0][:, first.looks[0].argsort()], first.sigma),
    )


@pytest.mark.parametrize(
    "code", [Grid((3, 5, 4)), Scattered(50, 3, torch.Generator().manual_seed(0))]
)
def test_the_strongest_conjunctive_cell_is_at_one_wherever_the_input_lies(code):
    activities = code(20.0 * uniform(2, 7, 3) - 10.0)
    assert activities.shape == (2, 7, code.n) and (activities >= 0).all()
    torch.testing.assert_close(activities.amax(-1), torch.ones(2, 7))


def test_conjunctive_cells_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="at least 2 cells"):
        Grid((4, 1))
    with pytest.raises(ValueError, match="F = 2"):
        Grid((4, 4))(torch.zeros(5, 3))
    with pytest.raises(ValueError, match="F = 3"):
        Scattered(10, 3, torch.Generator())(torch.zeros(5, 2))


def test_columns_look_at_few_features_each_and_at_every_feature_as_often():
    code = Scattered(6, 5, torch.Generator().manual_seed(1), columns=10, order=2)
    assert all(len(set(hand)) == 2 for hand in code.looks.tolist())
    assert torch.equal(code.looks.flatten().bincount(), torch.full((5,), 4))
    features = 4.0 * uniform(7, 5) - 2.0
    for column, activities in enumerate(code(features).view(7, 10, 6).unbind(1)):
        expected = divided_fields(features[:, code.looks[column]], code.centres[column], code.sigma)
        torch.testing.assert_close(activities, expected)
