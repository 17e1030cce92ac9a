"""The common mode of action values, from a network that is thrown away after training.

    Q(s, a) = Q_S(s, a) - mean_b Q_S(s, b) + C(s)

A spiking network with few ticks can say few values, and errors that all actions share reach the
targets of temporal differences, though they change no choice. Here the spiking network Q_S says
only how actions differ, and C, a network of numbers, says how good the state is. The greedy action
is that of Q_S alone, so that C is not needed to act. CMC-DSQN, arXiv 2610.07808.
"""

from __future__ import annotations

from torch import Tensor

from bio_rl.contracts import Network, Percept, Probe, State
from bio_rl.parts import Part


class CommonMode(Network):
    """Values [B, n] of n actions: differences by one network, their mean by another."""

    def __init__(self, differences: Network, common: Network) -> None:
        """differences: [B, n]. common: [B, 1]; it remembers nothing."""
        super().__init__()
        self.differences = differences
        self.common = common

    def initial_state(self, batch: int) -> State:
        return self.differences.initial_state(batch)

    def forward(self, x: Percept, state: State, probe: Probe | None = None) -> tuple[Tensor, State]:
        out, state = self.differences(x, state, probe)
        return self._corrected(out, self.common(x, ())[0]), state

    def unroll(self, xs: Percept, state: State) -> tuple[Tensor, State]:
        out, state = self.differences.unroll(xs, state)
        return self._corrected(out, self.common.unroll(xs, ())[0]), state

    def _corrected(self, out: Tensor, common: Tensor) -> Tensor:
        return out - out.mean(-1, keepdim=True) + common

    def anneal(self, progress: float) -> None:
        """Set what follows a schedule in the network of differences."""
        self.differences.anneal(progress)

    @property
    def follows_schedule(self) -> bool:
        """Whether the network of differences follows one."""
        return self.differences.follows_schedule

    def parts(self) -> tuple[Part, ...]:
        return self.differences.parts()
