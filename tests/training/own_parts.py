"""Files of a user's own, as text: each adds one part in one file; `write` puts them somewhere."""

from __future__ import annotations

from pathlib import Path

AGENT = (Path(__file__).parent / "toy_agent.py").read_text(encoding="utf-8")
NETWORK = '''
"""A perceptron whose output is stretched."""
from dataclasses import dataclass

from bio_rl.networks import mlp


@dataclass(frozen=True, kw_only=True)
class Config(mlp.Config):
    stretch: float = 1.0
    """Factor of every output."""


class Stretched(mlp.Network):
    def __init__(self, config, n_in, n_out, out_gain=1.0):
        super().__init__(config, n_in, n_out, out_gain)
        self.stretch = config.stretch

    def forward(self, x, state, probe=None):
        out, state = super().forward(x, state, probe)
        return self.stretch * out, state

    def unroll(self, xs, state):
        out, state = super().unroll(xs, state)
        return self.stretch * out, state
'''
NEURON = '''
"""A leaky neuron that hears everything twice as loud."""
from bio_rl.neurons.lif import LIF


class Loud(LIF):
    def step(self, s, drive, dt=1.0):
        return super().step(s, 2.0 * drive, dt)

    def core(self, dt):
        core = super().core(dt)
        return core._replace(gain=2.0 * core.gain)
'''
RULE = '''
"""The pairing of a rule in this project, under a name of one's own."""
from bio_rl.plasticity.instar import RULE as INSTAR


class Mine(INSTAR):
    pass
'''
FILES = {
    "own_agent": AGENT,
    "own_network": NETWORK,
    "own_neuron": NEURON,
    "own_rule": RULE,
}


def write(folder: Path) -> None:
    """Put every file into a folder."""
    for name, source in FILES.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
