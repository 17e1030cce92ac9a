"""Settings of every spiking network, and the neurons that they ask for."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, NoReturn

from bio_rl import checks, connections, discovery, neurons, seeding
from bio_rl.checks import Among, Between, check_settings, owner, tunable
from bio_rl.connections import BaseConnection
from bio_rl.contracts import NetworkConfig
from bio_rl.networks._encoder import Encoder
from bio_rl.networks._layers import Layer
from bio_rl.neurons import Neuron
from bio_rl.surrogates import SURROGATES

DECODERS = ("leaky_average", "max_membrane")


@dataclass(frozen=True, kw_only=True)
class Spikes(NetworkConfig):
    """Settings of every spiking network; one of this kind says what encodes the input, and which
    layers follow.
    """

    neuron: str = field(default="lif", metadata={"flag": "neuron"})
    """Kind of neuron (see: train.py list neurons)."""
    constants: tuple[str, ...] = ()
    """Constants of the neuron that differ from its own defaults: NAME=NUMBER, as in tau_adapt=100
    beta=1.6.
    """
    hidden: tuple[int, ...] = (128,)
    """Neurons per dense layer."""
    connection: str = "dense"
    """Kind of synapses onto these layers: dense, sparse, stp (short-term plasticity) or delay (see:
    train.py list connections).
    """
    synapses: tuple[str, ...] = ()
    """Constants of the connection that differ from its own defaults: NAME=NUMBER, as in
    density=0.2 of sparse, U=0.15 tau_f=1500 tau_d=200 (ms) of stp, max_delay=5 (ticks) of delay.
    """
    ticks: int = tunable(4, Among((2, 4, 8)))
    """K, simulation ticks of 1 ms per decision."""
    memory: bool = False
    """Carry the neurons' state from one decision to the next."""
    tau_mem: tuple[float, ...] | None = None
    """ms, membrane time constant of all layers, or one for each layer; None for the neuron's own
    (2 ms of a lif).
    """
    tau_out: float = 2.0
    """ms, time constant of the leaky readout that averages the last layer's spikes; 0 for the plain
    firing rate.
    """
    decode: str = "leaky_average"
    """How an output reads the last layer: by the leaky_average of its spikes, which is the last
    potential of a neuron that leaks and never fires; or as max_membrane, by the highest potential
    in the decision (DSQN, Chen et al. 2022), which local rules cannot teach.
    """
    soft_reset: bool = False
    """Subtract the threshold after a spike instead of resetting to zero."""
    detach_reset: bool = True
    """Let no gradient pass through the reset after a spike. Off, it does, as in SpikingJelly, and
    the time loops are torch's.
    """
    surrogate: str | None = None
    """Derivative of the spike: atan, fast_sigmoid, triangle, damped_triangle, rectangle or sigmoid;
    None for the neuron's own (atan of a lif).
    """
    slope: tuple[float, ...] | None = None
    """Slope of the surrogate, per threshold; None for the neuron's own (2 of a lif). Two numbers
    are a schedule from the first to the second over the run (shallow slopes early learn better in
    RL: Van den Berghe 2025).
    """
    gain: float = tunable(5.0, Between(1.0, 20.0, log=True))
    """Gain of the orthogonal initial weights: high enough that neurons fire at first."""
    target_rate: float = 0.0
    """Spikes per tick towards which a homeostat moves every neuron's bias after each update; 0 for
    none.
    """
    out_population: int = 0
    """Neurons of a further layer for each output, which reads these alone (PopSAN, Tang et al.
    2020); 0 for outputs that read all of the last layer.
    """
    lateral: bool = False
    """Let the neurons of an output's population drive each other and themselves (Chen et al. 2024,
    ILC-SAN).
    """

    @abstractmethod
    def encoder(self, n_in: Any) -> Encoder:
        """The code of an input of size n_in."""

    @abstractmethod
    def layers(self, n_in: Any) -> list[Layer]:
        """The layers of neurons behind the code, without those of `out_population`."""

    @property
    def depth(self) -> int:
        """Number of layers of neurons."""
        populated = self.out_population > 0
        return len(self.hidden) + populated

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("ticks", "gain", "tau_mem", "slope"),
            non_negative=("tau_out", "out_population"),
            unit=("target_rate",),
        )
        positive_sizes = len(self.hidden) > 0 and min(self.hidden) >= 1
        self.require(positive_sizes, "hidden", "positive layer sizes such as 64 64")
        one_or_all = self.tau_mem is None or len(self.tau_mem) in (1, self.depth)
        expected = f"one time constant, or one for each layer ({self.depth})"
        self.require(one_or_all, "tau_mem", expected)
        one_or_two = self.slope is None or len(self.slope) in (1, 2)
        self.require(one_or_two, "slope", "one number, or two: from, to")
        populated = not self.lateral or self.out_population > 0
        self.require(populated, "lateral", "False without an out_population, such as 10")
        if self.decode not in DECODERS:
            known = discovery.suggestion(self.decode, DECODERS)
            raise ValueError(f"decode is {self.decode!r}; {known}")
        if self.surrogate is not None and self.surrogate not in SURROGATES:
            known = discovery.suggestion(self.surrogate, SURROGATES)
            raise ValueError(f"surrogate is {self.surrogate!r}; {known}")
        # made once here, so that constants that no neuron has are refused with the flags
        self.neurons(0, 1)
        self._check_connection()

    def _check_connection(self) -> None:
        """Raise ValueError for a connection or constants that there are not, or whose spikes come
        too late.
        """
        if self.connection == "dense" and not self.synapses:
            return
        # made once, but for the draws of the network that is made afterwards
        with seeding.drawing_from(0):
            made = self.connect(2, 2, graded=True)
        if made.max_delay >= self.ticks and not self.memory:
            raise ValueError(
                f"{owner(self)}.synapses: a spike takes up to {made.max_delay} ticks, and a "
                f"decision of {self.ticks} ticks without memory forgets what arrives later; "
                "give memory, more ticks or a shorter max_delay"
            )

    def connect(self, n_pre: int, n_post: int, graded: bool) -> BaseConnection:
        """The connection onto a layer of n_post neurons; graded: see `connections`.

        Raises ValueError for an unknown connection or constant.
        """
        constants = checks.numbers(self.synapses, f"{owner(self)}.synapses", "density=0.2")
        return connections.make(
            self.connection,
            n_pre,
            n_post,
            gain=self.gain,
            graded=graded,
            settings=constants,
        )

    def require(self, fits: bool, name: str, expected: str) -> None:
        """Raise ValueError unless the setting `name` fits."""
        if not fits:
            value = vars(self)[name]
            raise ValueError(f"{owner(self)}.{name} is {value}, expected {expected}")

    def neurons(self, depth: int, n: int) -> Neuron:
        """The constants of the `n` neurons of layer `depth`, from 0: those that are set here, else
        the neuron's own.

        Raises ValueError for an unknown neuron, one that does not spike, a constant that is none,
        and a setting that the neuron lacks.
        """
        kind = neurons.load(self.neuron)
        if not kind.spikes:
            known = ", ".join(neurons.spiking())
            raise ValueError(
                f"neuron is {self.neuron!r}, which never spikes: it is for readouts; known: {known}"
            )
        values = self._constants(kind, depth)
        tau_mem = values.get("tau_mem")
        # no constant, but where one that learns starts
        if "tau_mem" not in kind._fields:
            values.pop("tau_mem", None)
        for text in self.constants:
            name, _, number = text.partition("=")
            values[name] = constant(self.neuron, kind, name, text, number)
        try:
            p = kind(**values)
        except ValueError as error:
            raise ValueError(f"constants: {error}" if self.constants else str(error)) from error
        return p.learning(tau_mem, n)

    def _constants(self, kind: type[Neuron], depth: int) -> dict[str, Any]:
        """The constants of layer `depth` that settings of their own name."""
        values: dict[str, Any] = {}
        if self.tau_mem is not None:
            of_all = len(self.tau_mem) == 1
            values["tau_mem"] = self.tau_mem[0 if of_all else depth]
        if self.surrogate is not None:
            values["surrogate"] = self.surrogate
        if self.slope is not None:
            values["slope"] = self.slope[0] / kind.span
        if self.soft_reset:
            values["v_reset"] = None
        if not self.detach_reset:
            values["detach_reset"] = False
        for name in values:
            if not has(kind, name):
                refuse_setting(self.neuron, name)
        return values


FLAGS = {"v_reset": "soft-reset", "detach_reset": "no-detach-reset"}
"""Settings whose flag is not the name of the constant."""


def refuse_setting(neuron: str, name: str) -> NoReturn:
    """Raise ValueError: the neuron lacks a constant that is set."""
    flag = FLAGS.get(name, name)
    having = [other for other in neurons.spiking() if has(neurons.load(other), name)]
    raise ValueError(
        f"{flag} is set, which the neuron {neuron} does not have; "
        f"those that have it: {', '.join(having)}"
    )


def has(kind: type[Neuron], name: str) -> bool:
    """Whether a setting of a network is a constant of this kind of neuron, or where one starts."""
    if name == "v_reset" and kind.span != 1.0:
        # a membrane in mV always resets to a potential of its own
        return False
    return name in kind._fields or name in kind.learned.values()


def constant(neuron: str, kind: type[Neuron], name: str, text: str, number: str) -> float:
    """The number of one of the `constants`. Raises ValueError for a constant that is no number, or
    that a network sets.
    """
    if name not in kind._fields:
        known = discovery.suggestion(name, kind._fields)
        raise ValueError(f"constants: {neuron} has no constant called {name!r}; {known}")
    default = kind._field_defaults[name]
    if isinstance(default, str | bool):
        raise ValueError(f"constants: {name} of {neuron} is no number; it is a setting of its own")
    if name in kind.learned:
        setting = kind.learned[name]
        raise ValueError(
            f"constants: {name} of {neuron} is learned, and starts from {setting}: set that instead"
        )
    whole = isinstance(default, int)
    try:
        return int(number) if whole else float(number)
    except ValueError:
        example = f"{name}=2, a whole number" if whole else f"{name}=2.5"
        raise ValueError(f"constants: {text!r} is not NAME=NUMBER, as in {example}") from None
