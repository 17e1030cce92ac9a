"""Connections: by hand, closed forms, and the packed product against F.linear."""

import math

import pytest
import torch
import torch.nn.functional as F

from bio_rl import connections
from bio_rl.connections import conv, delay, dense, recurrent, sparse, stp
from bio_rl.neurons.lif import LIF
from bio_rl.state import where_reset

FACILITATING = stp.STP(U=0.15, tau_f=1500.0, tau_d=200.0)


def gradients(linear, spikes, weight, bias, grad):
    """(drive, gradients of those inputs that need one)."""
    drive = linear(spikes, weight, bias)
    wanted = [x for x in (spikes, weight, bias) if x is not None and x.requires_grad]
    return drive.detach(), *torch.autograd.grad(drive, wanted, grad)


@pytest.mark.parametrize("shape", [(dense.SMALL // 64, 64), (2, dense.SMALL // 128, 64), (9, 5)])
@pytest.mark.parametrize(
    "needs", [(s, w, b) for s in (0, 1) for w in (0, 1) for b in (0, 1, None) if s or w or b]
)
def test_spike_linear_is_f_linear_gradients_included(shape, needs):
    torch.manual_seed(0)
    spikes = (torch.rand(shape) < 0.3).float().requires_grad_(bool(needs[0]))
    weight = torch.randn(8, shape[-1]).requires_grad_(bool(needs[1]))
    bias = None if needs[2] is None else torch.randn(8).requires_grad_(bool(needs[2]))
    grad = torch.randn(*shape[:-1], 8)
    ours, reference = (
        gradients(f, spikes, weight, bias, grad) for f in (dense.spike_linear, F.linear)
    )
    for a, e in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-6, atol=1e-6 * e.abs().max().item())


def test_spike_linear_keeps_one_byte_an_element_and_no_weight_that_it_does_not_need():
    spikes, weight = torch.ones(dense.SMALL // 16, 16), torch.randn(4, 16, requires_grad=True)
    kept = dense.spike_linear(spikes, weight).grad_fn.saved_tensors
    assert kept[0].dtype == torch.int8 and kept[0].shape == spikes.shape and kept[1] is None
    kept = dense.spike_linear(spikes.requires_grad_(), weight).grad_fn.saved_tensors
    assert kept[1] is weight
    assert not dense.spike_linear(spikes.detach(), weight.detach()).requires_grad


def test_spike_linear_keeps_double_precision_and_refuses_gradients_of_gradients():
    spikes = (
        (torch.rand(dense.SMALL // 16, 16, dtype=torch.float64) < 0.5).double().requires_grad_()
    )
    weight = torch.randn(4, 16, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(dense.spike_linear(spikes, weight).square().sum(), weight)
    (expected,) = torch.autograd.grad(F.linear(spikes, weight).square().sum(), weight)
    torch.testing.assert_close(grad, expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(
            dense.spike_linear(spikes, weight).square().sum(), weight, create_graph=True
        )


def test_spike_linear_compiles_whole():
    spikes = (torch.rand(dense.SMALL // 16, 16) < 0.5).float().requires_grad_()
    weight = torch.randn(4, 16, requires_grad=True)
    torch.compiler.reset()
    compiled = torch.compile(dense.spike_linear, backend="eager", fullgraph=True)
    grad = torch.randn(len(spikes), 4)
    for a, e in zip(
        gradients(compiled, spikes, weight, None, grad),
        gradients(F.linear, spikes, weight, None, grad),
        strict=True,
    ):
        torch.testing.assert_close(a, e, rtol=1e-5, atol=1e-5)


def test_graded_input_is_left_whole_unless_spikes_are_promised():
    torch.manual_seed(0)
    rates, layer = torch.rand(dense.SMALL // 8, 8), dense.Connection(8, 4)
    layer(rates, ())[0].sum().backward()
    torch.testing.assert_close(layer.weight.grad, rates.sum(0).expand(4, 8), rtol=1e-5, atol=0)


def test_no_neuron_drives_itself_unless_asked():
    torch.manual_seed(0)
    alone = torch.eye(6)  # row i: only neuron i fires
    for dale in (False, True):
        layer = recurrent.Connection(6, 6, dale=dale, inhibitory=0.5)
        optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1)
        for _ in range(3):
            drive, _ = layer(alone, ())
            assert torch.equal(drive.diagonal(), torch.zeros(6)) and (drive != 0).sum() == 30
            optimiser.zero_grad()
            (drive + 1.0).square().sum().backward()
            assert torch.equal(layer.weight.grad.diagonal(), torch.zeros(6))
            optimiser.step()
            assert torch.equal(layer.weight.diagonal(), torch.zeros(6))
    assert (recurrent.Connection(6, 6, autapses=True)(alone, ())[0].diagonal() != 0).all()


def test_dales_law_holds_through_learning():
    torch.manual_seed(0)
    layer = recurrent.Connection(20, 20, dale=True)
    assert (layer.signs == -1).sum() == 4 and (layer.signs == 1).sum() == 16  # a fifth of 20
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(20):
        drive, _ = layer((torch.rand(30, 20) < 0.5).float(), ())
        optimiser.zero_grad()
        drive.square().mean().backward()
        optimiser.step()
    assert (layer.weight < 0).any()  # a magnitude crossed zero, its synapse kept the sign
    assert (layer.effective_weight() * layer.signs >= 0).all()


@pytest.mark.parametrize("inhibitory", [0.2, 0.5])
def test_excitation_and_inhibition_start_in_balance(inhibitory):
    # E|N(0, σ²)| = σ √(2/π) and n_E σ_E = n_I σ_I, so a neuron's weights sum to zero in expectation
    # with E Σ w² = gain².
    torch.manual_seed(0)
    draws = [
        recurrent.Connection(40, 40, dale=True, inhibitory=inhibitory, gain=2.0).effective_weight()
        for _ in range(100)
    ]
    w = torch.stack(draws).detach()
    excitation = w.clamp(min=0).sum(-1).mean().item()
    assert excitation > 1.0 and w.sum(-1).mean().abs() < 0.01 * excitation
    assert w.square().sum(-1).mean().item() == pytest.approx(4.0, rel=0.02)


def test_a_sparse_neuron_has_its_number_of_inputs_and_no_other_ever():
    torch.manual_seed(0)
    layer = sparse.Connection(50, 30, density=0.1)
    assert (layer.mask.sum(1) == 5).all() and torch.equal(layer.weight != 0, layer.mask != 0)
    assert (sparse.Connection(50, 30, density=0.001).mask.sum(1) == 1).all()
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        layer(torch.ones(2, 50), ())[0].square().sum().backward()
        assert torch.equal(layer.weight.grad != 0, layer.mask != 0)
        optimiser.step()
    assert torch.equal(layer.weight != 0, layer.mask != 0)


def test_a_thinned_neuron_is_driven_as_strongly_as_a_full_one():
    torch.manual_seed(0)
    lengths = [
        sparse.Connection(100, 100, density=d, gain=2.0).weight.square().sum(1).mean().item()
        for d in (0.05, 1.0)
    ]
    assert lengths == pytest.approx([4.0, 4.0], rel=0.1)


def test_a_lone_spike_drives_its_patch_with_the_kernel():
    layer, picture = conv.Connection(1, 1, kernel=2, stride=2), torch.zeros(1, 1, 4, 5)
    picture[0, 0, 3, 0] = (
        1.0  # below left in patch (1, 0); the last column is beyond the last patch
    )
    drive, _ = layer(picture, ())
    assert drive.shape == (1, *layer.output_shape((1, 4, 5))) == (1, 1, 2, 2)
    expected = torch.zeros(2, 2)
    expected[1, 0] = layer.weight[0, 0, 1, 0].item()
    assert torch.equal(drive[0, 0], expected)
    with pytest.raises(ValueError, match="H, W >= 2"):
        layer.output_shape((1, 1, 5))


def test_two_spikes_of_a_depressing_synapse_by_hand():
    # U = ½, no facilitation, τ_d = 1/ln 2 so that half of what is missing recovers in a tick:
    # spike: release ½, x = ½; silence: x = ¾; spike: x recovers to ⅞, release 7/16, x = 7/16
    p, s = stp.STP(U=0.5, tau_f=0.0, tau_d=1 / math.log(2)), stp.init(stp.STP(), 1, 1)
    seen = []
    for spike in (1.0, 0.0, 1.0):
        release, s = stp.step(p, s, torch.full((1, 1), spike))
        seen.append((release.item(), s.x.item(), s.u.item()))
    assert seen == [
        pytest.approx(x)
        for x in [(1 / 2, 1 / 2, 1 / 2), (0.0, 3 / 4, 1 / 2), (7 / 16, 7 / 16, 1 / 2)]
    ]


def test_facilitation_acts_before_release_and_release_before_depression():
    # rested, U = ½, τ_f = 1/ln 2: u = ½ + ½·½ = ¾, release ¾·1, x = ¼; a tick later u = ½ + ½·¼ = ⅝
    p = stp.STP(U=0.5, tau_f=1 / math.log(2), tau_d=1e9)
    release, s = stp.step(p, stp.init(p, 1, 1), torch.ones(1, 1))
    assert (release.item(), s.u.item(), s.x.item()) == pytest.approx((3 / 4, 3 / 4, 1 / 4))
    _, s = stp.step(p, s, torch.zeros(1, 1))
    assert s.u.item() == pytest.approx(5 / 8)


@pytest.mark.parametrize("p", [stp.STP(), FACILITATING, stp.STP(0.45, 50.0, 750.0)])
@pytest.mark.parametrize("dt", [1.0, 5.0])
def test_a_regular_train_settles_at_the_closed_form(p, dt):
    # Period D, a = e^{-D/τ_f}, b = e^{-D/τ_d}; u⁻, x⁻ just before a spike and u⁺, x⁺ just after it.
    # u⁺ = u⁻ + U (1 - u⁻) and u⁻ = U + a (u⁺ - U):   u⁻ = U + a (1 - U) u⁻      =>  u⁻ = U / (1 - a
    # (1 - U))
    # x⁺ = x⁻ (1 - u⁺)      and x⁻ = 1 + b (x⁺ - 1):   x⁻ = 1 - b + b (1 - u⁺) x⁻ =>  x⁻ = (1 - b) /
    # (1 - b (1 - u⁺))
    # With τ_f = 0, u⁺ = U. The release of each spike is u⁺ x⁻.
    period = 20.0
    u = p.U
    if p.tau_f > 0:
        before = p.U / (1 - math.exp(-period / p.tau_f) * (1 - p.U))
        u = before + p.U * (1 - before)
    b = math.exp(-period / p.tau_d)
    x = (1 - b) / (1 - b * (1 - u))
    s = stp.STPState(*(leaf.double() for leaf in stp.init(p, 1, 1)))
    ticks = round(period / dt)
    for t in range(300 * ticks + 1):  # 6 s, four times the longest constant; ends with a spike
        release, s = stp.step(
            p, s, torch.full((1, 1), float(t % ticks == 0), dtype=torch.float64), dt
        )
    assert (s.u.item(), s.x.item(), release.item()) == pytest.approx(
        (u, x * (1 - u), u * x), rel=1e-5
    )


def test_releases_fall_where_a_synapse_depresses_and_rise_first_where_it_facilitates():
    def releases(p):
        s, seen = stp.init(p, 1, 1), []
        for t in range(401):  # 20 Hz
            release, s = stp.step(p, s, torch.full((1, 1), float(t % 50 == 0)))
            seen += [release.item()] if t % 50 == 0 else []
        return torch.tensor(seen)

    assert (releases(stp.STP(U=0.5, tau_f=0.0, tau_d=800.0)).diff() < 0).all()
    rising = releases(FACILITATING).diff()
    assert rising[0] > 0 and rising[-1] < 0  # its resources run down in the end


def test_a_spike_arrives_after_its_delay_and_once():
    layer = delay.Connection(4, 4, max_delay=3)
    layer.delays.copy_(torch.tensor([0, 1, 2, 3]))
    layer.weight.data = torch.eye(4)
    state, seen = layer.initial_state(1), []
    for t in range(6):
        drive, state = layer(torch.full((1, 4), float(t == 0)), state)
        seen.append(drive[0].tolist())
    assert seen == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_delays_cover_their_range_and_gradients_travel_back_along_them():
    torch.manual_seed(0)
    layer = delay.Connection(100, 2, max_delay=3)
    assert sorted(set(layer.delays.tolist())) == [0, 1, 2, 3]
    spikes, state = torch.rand(6, 1, 100).round().requires_grad_(), layer.initial_state(1)
    for s in spikes:
        drive, state = layer(s, state)
    drive.sum().backward()  # the last tick's drive hears neuron i at tick 5 - d_i and no other
    heard = torch.zeros(6, 100).scatter(
        0, (5 - layer.delays)[None], layer.weight.sum(0).detach()[None]
    )
    torch.testing.assert_close(spikes.grad[:, 0], heard)


def test_impossible_settings_are_refused_at_construction():
    for module, settings, sentence in [
        (recurrent, {"dale": True, "inhibitory": 0.0}, "inhibitory is 0.0"),
        (recurrent, {"dale": True, "inhibitory": 1.0}, "inhibitory is 1.0"),
        (sparse, {"density": 0.0}, r"density is 0.0, expected a fraction in \(0, 1\]"),
        (sparse, {"density": 1.5}, "density is 1.5"),
        (stp, {"U": 0.0}, "U, tau_f, tau_d are 0.0"),
        (stp, {"tau_f": -1.0}, "tau_f >= 0 ms"),
        (stp, {"tau_d": 0.0}, "tau_d > 0 ms"),
        (delay, {"max_delay": 0}, "max_delay is 0"),
        (delay, {"max_delay": 1001}, "max_delay is 1001, expected at most 1000 ticks"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            module.Connection(4, 4, **settings)
    with pytest.raises(ValueError, match="n_pre is 4 and n_post 5, expected the same"):
        recurrent.Connection(4, 5)
    with pytest.raises(ValueError, match="no synapse"):
        recurrent.Connection(1, 1)


def test_neurons_of_a_population_drive_only_their_own():
    connection = recurrent.Connection(6, 6, autapses=True, populations=2, gain=0.5)
    weight = connection.effective_weight()
    assert not weight[:3, 3:].any() and not weight[3:, :3].any() and (weight[:3, :3] != 0).all()
    torch.testing.assert_close(weight.norm(dim=1), torch.full((6,), 0.5))
    drive, _ = connection(torch.ones(1, 6), ())
    drive.square().sum().backward()
    with torch.no_grad():
        connection.weight -= connection.weight.grad
    assert not connection.effective_weight()[:3, 3:].any()
    with pytest.raises(ValueError, match="6 neurons cannot be 4 populations"):
        recurrent.Connection(6, 6, populations=4)


# made by their name, as a network makes them


class TwoLayers(torch.nn.Module):
    """Spikes [T·K, B, 6] that drive ten LIF neurons through a connection of any kind; their mean
    membrane potential [T, B, 10] in each decision of K ticks.
    """

    def __init__(self, connection, ticks):
        super().__init__()
        self.connection, self.ticks = connection, ticks

    def forward(self, spikes, reset, state):
        drive, state = self.connection.unroll(spikes, state, reset, self.ticks)
        neuron, means = LIF(), []
        neurons = neuron.init(spikes.shape[1], 10)
        for t, now in enumerate(drive):
            if t % self.ticks == 0:
                neurons = where_reset(reset[t // self.ticks], neuron.init(len(now), 10), neurons)
            _, neurons = neuron.step(neurons, now)
            means.append(neurons.v)
        return torch.stack(means).unflatten(0, (-1, self.ticks)).mean(1), state


@pytest.mark.parametrize(
    "name, settings",
    [
        ("dense", {}),
        ("sparse", {"density": 0.5}),
        ("stp", {"U": 0.15, "tau_f": 1500.0, "tau_d": 200.0}),
        ("delay", {"max_delay": 3.0}),
    ],
)
def test_a_network_takes_any_kind_by_its_name(name, settings):
    torch.manual_seed(0)
    connection = connections.make(name, 6, 10, gain=5.0, settings=settings)
    assert connection.weight.shape == (10, 6)
    network, spikes = TwoLayers(connection, ticks=4), (torch.rand(20, 3, 6) < 0.5).float()
    reset = torch.zeros(5, 3, dtype=torch.bool)
    reset[2, 1] = True
    whole, _ = network(spikes, reset, connection.initial_state(3))
    assert whole.shape == (5, 3, 10) and (whole != 0).any(-1).all()
    fresh, _ = network(spikes[8:], reset[2:] * 0 > 0, connection.initial_state(3))
    torch.testing.assert_close(whole[2:, 1], fresh[:, 1])  # a reset row is a fresh row
    whole.square().sum().backward()
    assert (connection.weight.grad.abs().sum(0) > 0).all()
    for key, value in settings.items():
        there = connection.synapse if name == "stp" else connection
        if key != "density":
            assert getattr(there, key) == value


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("sparce", {}, "no connection called 'sparce'; did you mean 'sparse'"),
        ("sparse", {"densit": 1.0}, "no setting called 'densit'; did you mean 'density'"),
        ("dense", {"gain": 1.0}, "dense has no setting called 'gain'; it has none"),
        ("delay", {"max_delay": 2.5}, "max_delay of the connection delay is 2.5, expected a whole"),
        ("recurrent", {}, "the connection recurrent cannot join a layer of 6 neurons to one of 10"),
        ("conv", {}, "it is for pictures, or from a layer to itself; give dense, sparse"),
    ],
)
def test_a_connection_that_cannot_be_made_says_why(name, settings, message):
    with pytest.raises(ValueError) as error:
        connections.make(name, 6, 10, settings=settings)
    assert message in str(error.value)


def test_delays_let_a_neuron_tell_the_order_of_its_inputs():
    # input 0 is late by two ticks, so that 0 then 1, two ticks apart, arrive together
    torch.manual_seed(0)
    connection = connections.make("delay", 2, 1, settings={"max_delay": 2})
    connection.delays.copy_(torch.tensor([2, 0]))
    with torch.no_grad():
        connection.weight.fill_(1.0)
    orders = torch.zeros(6, 2, 2)
    orders[0, 0, 0] = orders[2, 0, 1] = 1.0  # row 0: neuron 0, then neuron 1
    orders[0, 1, 1] = orders[2, 1, 0] = 1.0  # row 1: the other way round
    drive, _ = connection.unroll(
        orders, connection.initial_state(2), torch.zeros(1, 2, dtype=torch.bool), 6
    )
    assert drive.max(0).values.flatten().tolist() == [2.0, 1.0]
