"""The fused answer of a population's cells: not a spike other than the reference's, and gradients
where they are wanted.
"""

from __future__ import annotations

import pytest
import torch

from bio_rl.codes.conjunctive import Grid, Scattered
from bio_rl.kernels.cells import respond
from bio_rl.networks.cells import Given
from bio_rl.neurons.lif import LIF

NEURON = LIF(tau_mem=4.5, v_reset=None)
CODES = {
    "grid": (Grid([4, 3, 6], [1.8, 3.0, 0.2], 0.75), 3),
    "line": (Grid([7]), 1),
    "scattered": (Scattered(30, 5, torch.Generator().manual_seed(0), columns=3, order=2), 5),
    "given": (Given(20), 20),
}


@pytest.mark.parametrize(("ticks", "gain"), [(8, 6.0), (5, 3.0), (1, 20.0)])
@pytest.mark.parametrize("name", CODES)
def test_the_fused_pass_fires_the_very_spikes_of_the_reference(name, ticks, gain):
    pytest.importorskip("numba")
    code, n_in = CODES[name]
    torch.manual_seed(1)
    for lead in ((), (1,), (37,), (3, 400)):  # beyond a block of rows, too
        features = 2.0 * torch.randn(*lead, n_in)  # also beyond the borders
        rates, power = respond(code, NEURON, features, gain=gain, ticks=ticks, backend="torch")
        fused, total = respond(code, NEURON, features, gain=gain, ticks=ticks, backend="numba")
        assert torch.equal(fused, rates) and rates.any()
        torch.testing.assert_close(total, power)


def test_cells_that_stay_silent_and_features_that_are_not_contiguous():
    pytest.importorskip("numba")
    code, _ = CODES["grid"]
    features = torch.randn(3, 10).T
    for backend in ("torch", "numba"):
        rates, power = respond(code, NEURON, features, gain=0.5, ticks=8, backend=backend)
        assert not rates.any() and not power.any()


def test_a_gradient_reaches_the_features():
    code, _ = CODES["grid"]
    features = torch.zeros(2, 3, requires_grad=True)
    rates, _ = respond(code, NEURON, features + 0.1, gain=6.0, ticks=8)
    rates.sum().backward()
    assert features.grad.any()


@pytest.mark.parametrize(
    ("features", "backend", "message"),
    [
        (torch.zeros(2, 3), "jax", "no kernel backend"),
        (torch.zeros(2, 3, dtype=torch.float64), "numba", "float32"),
        (torch.zeros(2, 4), "numba", "F = 3"),
        (torch.zeros(2, 4), "torch", "F = 3"),
    ],
)
def test_what_does_not_fit_is_refused(features, backend, message):
    pytest.importorskip("numba")
    with pytest.raises(ValueError, match=message):
        respond(CODES["grid"][0], NEURON, features, gain=6.0, ticks=8, backend=backend)
