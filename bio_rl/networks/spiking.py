"""A spiking network: population-coded input, layers of neurons, K ticks per decision, a linear
readout of averaged spikes.

Memoryless by default; with `memory` the neurons' state is carried across decisions. PopSAN's form:
Tang et al. 2020.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bio_rl import discovery
from bio_rl.checks import check_settings
from bio_rl.codes import delta
from bio_rl.codes.latency import linear_latency
from bio_rl.codes.population import Population, deterministic
from bio_rl.codes.rate import poisson
from bio_rl.connections import dense
from bio_rl.contracts import Percept
from bio_rl.networks._layers import Layer, like_weights
from bio_rl.networks._spikes import Spikes, SpikingNetwork

CODES = ("current", "deterministic", "latency", "poisson")


@dataclass(frozen=True, kw_only=True)
class Config(Spikes):
    hidden: tuple[int, ...] = (128,)
    """Neurons per layer."""
    population: int = 12
    """Neurons that code one input dimension."""
    reach: float = 3.0
    """Their fields cover [-reach, reach] standard deviations of the input; what lies beyond is
    taken as the border.
    """
    code: str = "current"
    """How the fields drive the first layer: as a direct current, by deterministic or poisson
    spikes, or by latency, one spike each that comes the sooner the stronger.
    """
    events: float = 0.0
    """Threshold, in standard deviations, of an event encoder beside the fields: two more inputs per
    dimension say how often it has moved so far up and down since the last decision. It remembers
    across decisions; 0 for none. Needs the code current.
    """
    critic: str = "mlp"
    """Network that values states while training; `spiking` for one like this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(self, positive=("reach", "population"), non_negative=("events",))
        self._refuse(
            not self.hidden or min(self.hidden, default=0) < 1,
            "hidden",
            "positive layer sizes such as 64 64",
        )
        depth = len(self.hidden) + (self.out_population > 0)
        self._refuse(
            len(self.tau_mem) not in (1, depth),
            "tau_mem",
            f"one time constant, or one for each layer ({depth})",
        )
        impossible = self.events > 0 and self.code != "current"
        self._refuse(impossible, "events", "0, or a positive threshold with the code current")
        if self.code not in CODES:
            raise ValueError(f"code is {self.code!r}; {discovery.suggestion(self.code, CODES)}")


def layers(
    config: Config, n_in: int, kind: Callable[..., Layer], *, spikes_in: bool
) -> list[Layer]:
    """The dense layers of `config`, the first on `n_in` inputs that are spikes or currents."""
    sizes = (n_in, *config.hidden)
    return [
        kind(
            config,
            depth,
            dense.Connection(a, b, gain=config.gain, graded=not spikes_in and depth == 0),
            b,
        )
        for depth, (a, b) in enumerate(itertools.pairwise(sizes))
    ]


class Network(SpikingNetwork):
    """[B, n_in] features to [B, n_out]."""

    LAYER: Callable[..., Layer] = Layer
    """Kind of its layers."""

    def __init__(self, config: Config, n_in: int, n_out: int, out_gain: float = 1.0) -> None:
        cells = config.population + (2 if config.events else 0)
        stack = layers(config, n_in * cells, self.LAYER, spikes_in=config.code != "current")
        super().__init__(config, stack, n_out, out_gain, draws=config.code == "poisson")
        self.encodes_graded = config.code == "current"
        self.n_in = n_in
        self.population = Population(config.population, config.reach)

    def rest_of_code(self, batch: int) -> tuple[delta.DeltaState, ...]:
        weight = self.weight
        return (
            (like_weights(delta.init(batch, self.n_in, weight.device), weight),)
            if self.config.events
            else ()
        )

    def changes(self, xs: Percept, code: delta.DeltaState) -> tuple[Tensor, delta.DeltaState]:
        if not len(xs.obs):  # no steps
            return xs.obs.new_zeros(0, xs.obs.shape[1], 2 * self.n_in), code
        moved, never = [], torch.zeros_like(xs.reset[0])
        for x, reset in zip(xs.obs, xs.reset, strict=True):
            code = delta.DeltaState(
                torch.where(reset[:, None], x, code.sent)
            )  # an episode begins without events
            events, code = delta.events(code, x, never, self.config.events)
            moved.append(events)
        return torch.stack(moved), code

    def encode(self, obs: Tensor, keys: Tensor | None) -> Tensor:
        c = self.config
        fields = self.population(
            obs.clamp(-c.reach, c.reach)
        )  # beyond the last field no cell would fire: a blind network
        if c.code == "current":
            return fields
        flat, k = fields.flatten(0, 1), c.ticks
        if c.code == "poisson":
            train = poisson(flat, keys.flatten(), k)
        elif c.code == "latency":
            train = linear_latency(flat, k)
        else:
            train, _ = deterministic(flat, k)
        return train.unflatten(1, fields.shape[:2]).transpose(0, 1)  # [T, K, B, F]
