"""Scattered cells whose centres move: competitive learning, cell by cell.

    μ_k ← μ_k + η x_k (o - μ_k)        x_k: activity of cell k, o: the features (plasticity.instar)

Cells that answer to an input move towards it, so that they come to lie where inputs do. η falls
exponentially to a hundredth over the run: what is learned of the cells must not lose its meaning.
"""

from __future__ import annotations

from torch import Tensor

from bio_rl.codes.conjunctive import Scattered
from bio_rl.contracts import Network
from bio_rl.plasticity import instar

LAST = 0.01
"""Factor of the learning rate at the end of the run."""


class MovingCells:
    """The scattered cells of a network, of which the activity of each is what its readout reads."""

    def __init__(self, network: Network, lr: float, setting: str) -> None:
        """lr: η at first. Raises ValueError, which names the `setting`, for a network without such
        cells.
        """
        codes = [part.module for part in network.parts() if isinstance(part.module, Scattered)]
        if len(codes) != 1 or codes[0].n != network.width:
            raise ValueError(
                f"{setting} moves scattered cells, which --network cells has with a single number "
                "of --cells.cells; this network has none"
            )
        self.code = codes[0]
        self.lr = lr

    def learn(self, features: Tensor, activity: Tensor, valid: Tensor, lived: float) -> None:
        """Move the centres by the sum over rows.

        features: [B, F]. activity: [B, N] of the cells. valid: [B] bool, rows that count. lived:
        the part of the run that is over, 0 to 1.
        """
        columns, cells, _ = self.code.centres.shape
        inputs = self.code.column_features(features).squeeze(-2)
        local = instar.LastTick(inputs, activity.view(-1, columns, cells))
        rule = instar.RULE(self.lr * LAST**lived)
        # no neuromodulator gates the rule, so that a row counts or does not
        change = rule.delta(local, self.code.centres, valid.to(activity.dtype).unsqueeze(-1))
        self.code.centres.add_(change.sum(0))
