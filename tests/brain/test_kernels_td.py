"""The prediction error in one pass: by hand, and fused against the reference."""

from __future__ import annotations

import pytest
import torch

from bio_rl.kernels.td import td_error


def flags(*rows: int) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.bool)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_four_rows_by_hand(backend):
    pytest.importorskip("numba")
    # a row that goes on, one that terminated, one that a time limit cut at the first decision of
    # its episode, and a junk one
    found = td_error(
        torch.tensor([1.0, 1.0, 2.0, 5.0]),
        torch.tensor([0.5, 0.5, 1.0, 0.0]),
        torch.tensor([2.0, 2.0, 4.0, 8.0]),
        flags(0, 1, 0, 1),
        flags(0, 1, 1, 1),
        flags(0, 0, 1, 0),
        flags(1, 1, 1, 0),
        gamma=0.5,
        lam=0.8,
        backend=backend,
    )
    # 1 + ½·2 - ½;  1 - ½;  2 + ½·4 - 1;  0
    assert found.rpe.tolist() == [1.5, 0.5, 3.0, 0.0]
    assert found.decay.tolist() == pytest.approx([0.4, 0.4, 0.0, 0.4])
    assert (found.valid, found.ended) == (3, 2)
    assert (found.mean, found.mean_abs, found.mean_value) == pytest.approx((1.25, 1.25, 0.5))


def test_the_fused_loop_agrees_with_the_reference_to_the_last_bit():
    pytest.importorskip("numba")
    torch.manual_seed(0)
    numbers = [torch.randn(300) for _ in range(2)] + [
        torch.randn(300, 2)[:, 1]
    ]  # one that is not contiguous
    bools = [torch.rand(300) < 0.3 for _ in range(4)]
    ours, expected = (
        td_error(*numbers, *bools, gamma=0.99, lam=0.9, backend=name) for name in ("numba", "torch")
    )
    assert torch.equal(ours.rpe, expected.rpe) and torch.equal(ours.decay, expected.decay)
    assert ours[2:] == pytest.approx(expected[2:], abs=1e-6)


def test_what_does_not_fit_is_refused():
    pytest.importorskip("numba")
    x, b = torch.zeros(3), flags(0, 0, 0)
    with pytest.raises(ValueError, match=r"all arguments are \[B\]"):
        td_error(x, x, x[:2], b, b, b, b, gamma=0.9, lam=0.9)
    with pytest.raises(ValueError, match=r"expected torch\.bool"):
        td_error(x, x, x, b, b, b, x, gamma=0.9, lam=0.9, backend="numba")
    with pytest.raises(ValueError, match="no kernel backend"):
        td_error(x, x, x, b, b, b, b, gamma=0.9, lam=0.9, backend="jax")
