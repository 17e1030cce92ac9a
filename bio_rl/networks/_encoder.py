"""Codes in front of the first layer of a spiking network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bio_rl import discovery
from bio_rl.checks import check_settings
from bio_rl.codes import delta
from bio_rl.codes.latency import linear_latency
from bio_rl.codes.population import FIELDS, Population, deterministic
from bio_rl.codes.rate import poisson
from bio_rl.contracts import State
from bio_rl.networks import _parts
from bio_rl.parts import Cost, Part

CODES = ("current", "deterministic", "latency", "poisson")


class Encoder(nn.Module, ABC):
    """Observations as the input of the first layer."""

    size: int
    """Numbers F that it gives to the first layer."""
    draws: bool = False
    """Whether it needs a noise key for each decision."""
    gives_spikes: bool = False
    """Whether its output is spikes, 0 or 1; else it is a current."""

    def initial_state(self, batch: int, device: torch.device) -> tuple[State, ...]:
        """The state of `batch` fresh encoders, empty for one that remembers nothing."""
        return ()

    @abstractmethod
    def forward(
        self, obs: Tensor, reset: Tensor, keys: Tensor | None, state: tuple[State, ...]
    ) -> tuple[Tensor, tuple[State, ...]]:
        """(input, state) of observations [T, B, ...]: [T, B, F] is held for the K ticks of a
        decision, [T, K, B, F] changes at every tick.

        reset: [T, B]. keys: [T, B], a noise key for each decision, where it draws.
        """

    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """It as parts of a network, that which the first layer reads last."""


@dataclass(frozen=True, kw_only=True)
class Populations:
    """Settings of the code of numbers: populations of neurons with receptive fields."""

    population: int = 12
    """Neurons that code one input dimension."""
    fields: str = "gaussian"
    """Shape of their receptive fields: gaussian, to which all of a dimension's neurons answer, or
    linear or quadratic splines, to which two or three of them answer: the others cost no operation.
    """
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

    def check_code(self) -> None:
        """Raise ValueError for settings that no code has."""
        check_settings(self, positive=("reach", "population"), non_negative=("events",))
        if self.code not in CODES:
            raise ValueError(f"code is {self.code!r}; {discovery.suggestion(self.code, CODES)}")
        if self.fields not in FIELDS:
            raise ValueError(
                f"fields is {self.fields!r}; {discovery.suggestion(self.fields, FIELDS)}"
            )
        if self.events > 0 and self.code != "current":
            raise ValueError(
                f"events is {self.events}, "
                "expected 0, or a positive threshold with the code current"
            )


class PopulationEncoder(Encoder):
    """Numbers [T, B, n_in] as the activity of populations, one for each, and of event encoders."""

    def __init__(self, config: Populations, n_in: int, ticks: int) -> None:
        super().__init__()
        self.config = config
        self.n_in = n_in
        self.ticks = ticks
        self.draws = config.code == "poisson"
        self.gives_spikes = config.code != "current"
        self.size = n_in * (config.population + (2 if config.events else 0))
        self.population = Population(config.population, config.reach, fields=config.fields)

    def initial_state(self, batch: int, device: torch.device) -> tuple[State, ...]:
        if not self.config.events:
            return ()
        return (delta.init(batch, self.n_in, device),)

    def forward(
        self, obs: Tensor, reset: Tensor, keys: Tensor | None, state: tuple[State, ...]
    ) -> tuple[Tensor, tuple[State, ...]]:
        fields = self.fields(obs, keys)
        if not state:
            return fields, state
        moved, after = self.events(obs, reset, state[0])
        return torch.cat((fields, moved), -1), (after,)

    def fields(self, obs: Tensor, keys: Tensor | None) -> Tensor:
        """The answer of the receptive fields: currents [T, B, F] or spikes [T, K, B, F]."""
        code = self.config.code
        reach = self.config.reach
        # beyond the last field no cell would fire: a blind network
        currents = self.population(obs.clamp(-reach, reach))
        if code == "current":
            return currents
        # [T·B, F]: a decision is coded alike whenever it is taken
        rows = currents.flatten(0, 1)
        if code == "poisson":
            assert keys is not None, "a network whose code draws gives it keys"
            train = poisson(rows, keys.flatten(), self.ticks)
        elif code == "latency":
            train = linear_latency(rows, self.ticks)
        else:
            train, _ = deterministic(rows, self.ticks)
        # [K, T·B, F] → [K, T, B, F] → [T, K, B, F]
        return train.unflatten(1, currents.shape[:2]).transpose(0, 1)

    def events(
        self, obs: Tensor, reset: Tensor, state: delta.DeltaState
    ) -> tuple[Tensor, delta.DeltaState]:
        """(events up and down [T, B, 2 n_in] of each decision, state)."""
        if not len(obs):  # no steps
            return obs.new_zeros(0, obs.shape[1], 2 * self.n_in), state
        moved = []
        no_reset = torch.zeros_like(reset[0])
        for x, begins in zip(obs, reset, strict=True):
            # an episode begins without events: its first observation counts as sent
            state = delta.DeltaState(torch.where(begins[:, None], x, state.sent))
            events, state = delta.events(state, x, no_reset, self.config.events)
            moved.append(events)
        return torch.stack(moved), state

    def parts(self) -> tuple[Part, ...]:
        kind = "population" if self.config.code == "current" else self.config.code
        n = self.n_in * self.config.population
        module = self.population
        fields = _parts.code("fields", kind, n, "input", module=module, cost=self._cost(n))
        if not self.config.events:
            return (fields,)
        # the first layer reads one row of both
        # what was sent last is subtracted and compared with the threshold on either side
        moved = Cost(adds=3.0 * self.n_in)
        events = _parts.code("events", "delta", 2 * self.n_in, "input", cost=moved)
        both = _parts.code("code", "together", self.size, "fields", "events")
        return fields, events, both

    def _cost(self, cells: int) -> Cost:
        """The arithmetic of the code in a decision: the fields, and how they become spikes."""
        fields = self.population.cost(self.n_in)
        ticks = self.ticks
        spiking = {
            "current": Cost(),
            # a random number for each cell and tick, compared with its field
            "poisson": Cost(adds=cells * ticks, functions=cells * ticks),
            # a neuron that adds its field and compares, at every tick
            "deterministic": Cost(adds=2 * cells * ticks),
            # the tick of its spike
            "latency": Cost(macs=cells),
        }[self.config.code]
        return Cost(*(a + b for a, b in zip(fields, spiking, strict=True)))
