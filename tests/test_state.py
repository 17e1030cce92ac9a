"""States of nested tuples: reset row by row, refused for another batch."""

from __future__ import annotations

import pytest
import torch

from bio_rl import state
from bio_rl.neurons.lif import LIFState


def test_where_reset_takes_fresh_rows_and_keeps_the_structure() -> None:
    old = LIFState(torch.ones(3, 2))
    new = LIFState(torch.zeros(3, 2))
    mixed = state.where_reset(torch.tensor([True, False, True]), ((new,), ()), ((old,), ()))
    assert isinstance(mixed[0][0], LIFState)
    assert mixed[1] == ()
    assert mixed[0][0].v[:, 0].tolist() == [0.0, 1.0, 0.0]


def test_a_state_of_another_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"initial_state\(5\)"):
        state.check_batch((LIFState(torch.zeros(3, 2)),), 5, "lif")
