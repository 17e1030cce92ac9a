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
"""The three-factor rule at half its strength."""
from bio_rl.plasticity.three_factor import ThreeFactor


class Half(ThreeFactor):
    def delta(self, state, w, modulator):
        return 0.5 * super().delta(state, w, modulator)
'''
WORLD = '''
"""Drift-v0: hold a point in the middle against a drift that is another in each episode."""
from functools import partial

import gymnasium as gym
import numpy as np

from bio_rl.vector import NativeVectorEnv, SingleEnv


class Drift(NativeVectorEnv):
    def __init__(self, num_envs=1, **kwargs):
        super().__init__(num_envs, **kwargs)
        self.x = self.state_array("x")
        self.drift = self.state_array("drift", start=None)
        place = gym.spaces.Box(-2.0, 2.0, (1,), np.float32)
        self.set_spaces(place, gym.spaces.Discrete(3))

    def reset_rows(self, rows):
        for i in rows.tolist():
            self.drift[i] = self.rngs[i].uniform(-0.1, 0.1)

    def advance(self, actions, begun):
        self.x = self.x + self.drift + 0.1 * (actions - 1)

    def outcome(self, actions):
        return 1.0 - np.abs(self.x), np.abs(self.x) > 1.0, {}

    def observe(self, rows):
        return self.x[rows, None].astype(np.float32)


gym.register(
    "OwnDrift-v0",
    entry_point=partial(SingleEnv, Drift),
    vector_entry_point=Drift,
    max_episode_steps=100,
)
'''
FILES = {
    "own_agent": AGENT,
    "own_network": NETWORK,
    "own_neuron": NEURON,
    "own_rule": RULE,
    "own_world": WORLD,
}
RUNS = {
    "agent and network": (
        "--agent own_agent:Agent --network own_network:Stretched --own-network.hidden 4"
        " --own-agent.lr 0.5",
        ("own_agent", "own_network"),
    ),
    "world, neuron and rule": (
        "--env own_world:OwnDrift-v0 --agent three_factor --network spiking"
        " --neuron own_neuron:Loud --rule own_rule:Half --spiking.hidden 4",
        ("own_world", "own_rule", "own_neuron"),
    ),
}
"""Command lines that use every file, and the modules that they need."""


def write(folder: Path) -> None:
    """Put every file into a folder."""
    for name, source in FILES.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
