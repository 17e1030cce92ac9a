"""Two spiking layers through T ticks: ours against SpikingJelly, snnTorch, norse and an MLP.

Every side computes dense in -> hidden, neurons, dense hidden -> hidden, neurons, dense hidden ->
out at each tick, from the same weights and inputs, and the gradients of all weights; the MLP has
ReLU in the neurons' place: about what the products alone cost. The peers run in their fastest eager
form: layer by layer, the product of all ticks at once, then the neurons.
"""

# The peers may be missing: the bench extra brings them.
# pyright: reportMissingImports=false

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bio_rl.bench._report import Rounds, Shared, interleave, rounded, spread
from bio_rl.connections import dense
from bio_rl.kernels.unroll import unroll
from bio_rl.neurons.lif import LIF

SHAPES = (
    (4, 16, 17, 64, 6),
    (4, 2048, 17, 64, 6),
    (16, 64, 64, 256, 6),
    (16, 256, 128, 512, 8),
    (128, 32, 128, 512, 8),
)
PACKAGES = {"spikingjelly": "spikingjelly", "snntorch": "snntorch", "norse": "norse"}
"""{side: the module that it needs}."""
LEAST_S = 0.06
"""s of one measurement of one side, at least."""
GAIN = 5.0
"""Gain of the weights, as in networks/spiking.py: about one neuron in four spikes."""

TAU_MEM = 1.0 / math.log(2.0)
"""ms: a membrane keeps half of its potential per tick, as SpikingJelly's default tau of 2 does."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Measure the neurons' time loop; ratios above 1 say that ours is faster."""

    shapes: tuple[tuple[int, int, int, int, int], ...] = SHAPES
    """(T, batch, in, hidden, out), each shape in turn."""
    threads: int = 2
    """Torch threads, ours and the peers'."""
    rounds: int = 11
    """Measurements of each side, in turn."""
    seconds: float = LEAST_S
    """Least duration of one measurement."""

    def __post_init__(self) -> None:
        if (
            min(itertools.chain((self.threads,), *self.shapes)) < 1
            or self.seconds <= 0
            or not self.shapes
        ):
            raise ValueError("--shapes, --threads and --seconds: expected positive numbers")


def run(settings: Settings) -> dict[str, Any]:
    """Figures of every shape, forward and backward and forward alone, and their geometric means."""
    both: dict[str, Rounds] = {}
    alone: dict[str, Rounds] = {}
    with threads(settings.threads), warnings.catch_warnings():
        # norse registers its tuples twice
        warnings.filterwarnings("ignore", "PyTree type", UserWarning)
        for shape in settings.shapes:
            forwards, x = sides(*shape)
            case = "T{} B{} {}-{}-{}".format(*shape)
            both[case] = measured(forwards, x, settings, backward=True)
            alone[f"{case} forward"] = measured(forwards, x, settings, backward=False)
    results = {case: figures(rounds) for case, rounds in (both | alone).items()}
    return results | {"geometric mean": means(both), "geometric mean forward": means(alone)}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """A context in which torch has so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measured(
    forwards: Mapping[str, nn.Module], x: Tensor, settings: Settings, *, backward: bool
) -> Rounds:
    """Calls per second of every side."""
    # every side computes the same shape
    shape = next(iter(forwards.values()))(x).shape
    cotangent = torch.randn(shape) if backward else None
    sides = {}
    for name, module in forwards.items():
        once = call(module, x, cotangent)
        sides[name] = timer(once, settings.seconds)
    return interleave(sides, settings.rounds)


def call(forward: nn.Module, x: Tensor, cotangent: Tensor | None) -> Callable[[], None]:
    """A function that runs `forward` once, and with a cotangent computes its weights' gradients."""
    weights = list(forward.parameters())

    def learn() -> None:
        # allocated anew, as every optimiser has it
        for weight in weights:
            weight.grad = None
        forward(x).backward(cotangent)

    def look() -> None:
        with torch.no_grad():
            forward(x)

    return look if cotangent is None else learn


def timer(once: Callable[[], None], seconds: float) -> Callable[[], float]:
    """A measurement: calls per second of as many calls as fill `seconds`.

    Their number is found at the first use, which is not counted.
    """
    # 0: not found yet
    repeats = 0

    def measure() -> float:
        nonlocal repeats
        if not repeats:
            once()
            began = time.perf_counter()
            once()
            repeats = max(1, math.ceil(seconds / (time.perf_counter() - began)))
        began = time.perf_counter()
        for _ in range(repeats):
            once()
        return repeats / (time.perf_counter() - began)

    return measure


def figures(rounds: Rounds) -> dict[str, Any]:
    """ms per call of each side, and the ratios of the others' time to ours; medians over rounds."""
    figures: dict[str, Any] = {}
    for side, speeds in rounds.speeds.items():
        figures |= spread(f"{side}_ms", [1e3 / speed for speed in speeds])
    for side in rounds.speeds:
        if side != "ours":
            figures |= spread(f"vs_{side}", rounds.ratios("ours", side))
    return figures


def means(cases: Mapping[str, Rounds]) -> dict[str, Any]:
    """Geometric means and minima over all shapes of the ratios to the MLP and to the peers.

    At each shape the fastest of the peers counts.
    """
    ratios: dict[str, list[float]] = {"vs_fastest_peer": [], "vs_mlp": []}
    for rounds in cases.values():
        peers = [side for side in rounds.speeds if side in PACKAGES]
        if peers:
            ratios["vs_fastest_peer"].append(median_ratio(rounds, rounds.fastest(*peers)))
        ratios["vs_mlp"].append(median_ratio(rounds, "mlp"))
    figures = {}
    for name, values in ratios.items():
        if values:
            figures[name] = rounded(float(np.exp(np.log(values).mean())))
            figures[f"{name}_min"] = min(values)
    return figures


def median_ratio(rounds: Rounds, peer: str) -> float:
    """The median over rounds of our speed over a peer's."""
    return spread("ratio", rounds.ratios("ours", peer))["ratio"]


# The sides


def sides(
    T: int, batch: int, n_in: int, hidden: int, n_out: int
) -> tuple[dict[str, nn.Module], Tensor]:
    """The network of each side, ours first, all with the same weights; and an input.

    Peers that are not installed are left out.
    """
    torch.manual_seed(0)
    ours = Ours(n_in, hidden, n_out)
    x = torch.randn(T, batch, n_in)
    networks: dict[str, nn.Module] = {"ours": ours}
    for name, make in PEERS.items():
        try:
            networks[name] = make(n_in, hidden, n_out)
        except ImportError as error:
            print(f"{name} is left out ({error}): pip install 'bio-rl[bench]'")
    for network in networks.values():
        for copy, weight in zip(network.parameters(), ours.parameters(), strict=True):
            copy.data.copy_(weight.data)
    return networks, x


class Ours(nn.Module):
    """Layers as networks/spiking.py runs them: one decision of T ticks that starts at rest."""

    def __init__(self, n_in: int, hidden: int, n_out: int) -> None:
        super().__init__()
        self.p: Any = LIF(tau_mem=TAU_MEM)
        self.connections = nn.ModuleList(
            [
                dense.Connection(n_in, hidden, gain=GAIN),
                dense.Connection(hidden, hidden, gain=GAIN, graded=False),
            ]
        )
        self.readout = dense.Connection(hidden, n_out, graded=False)

    def forward(self, x: Tensor) -> Tensor:
        # a reset at the only decision: neurons start at rest
        reset = torch.ones(1, x.shape[1], dtype=torch.bool)
        for connection in self.connections:
            drive, _ = connection(x, ())
            x, _ = unroll(self.p, self.p.init(*drive.shape[1:]), drive, reset, ticks=len(x))
        return self.readout(x, ())[0]


def linears(n_in: int, hidden: int, n_out: int) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    """The three connections of a peer."""
    return (
        nn.Linear(n_in, hidden),
        nn.Linear(hidden, hidden),
        nn.Linear(hidden, n_out),
    )


class SpikingJelly(nn.Module):
    """Multi-step LIFNode on its torch code, which is all that it has on the CPU.

    Its state must be reset before every call.
    """

    def __init__(self, n_in: int, hidden: int, n_out: int) -> None:
        super().__init__()
        from spikingjelly.activation_based import functional, neuron, surrogate

        def node() -> nn.Module:
            atan = surrogate.ATan()
            return neuron.LIFNode(surrogate_function=atan, detach_reset=True, step_mode="m")

        first, second, readout = linears(n_in, hidden, n_out)
        self.network = nn.Sequential(first, node(), second, node(), readout)
        self.reset = functional.reset_net

    def forward(self, x: Tensor) -> Tensor:
        self.reset(self.network)
        return self.network(x)


class SnnTorch(nn.Module):
    """Leaky (by default with atan) in a loop over time.

    Its membrane is carried by hand, so that no hidden state must be reset.
    """

    def __init__(self, n_in: int, hidden: int, n_out: int) -> None:
        super().__init__()
        import snntorch

        self.linears = nn.ModuleList(linears(n_in, hidden, n_out))
        self.neurons = nn.ModuleList(snntorch.Leaky(beta=0.5) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        # the readout, which comes last, has no neurons
        for linear, neuron in zip(self.linears, self.neurons, strict=False):
            drive = linear(x)
            membrane = torch.zeros_like(drive[0])
            spikes = []
            for now in drive.unbind():
                spike, membrane = neuron(now, membrane)
                spikes.append(spike)
            x = torch.stack(spikes)
        return self.linears[-1](x)


class Norse(nn.Module):
    """Functional LIFBox in a loop over time: its cheapest LIF, without a synaptic current.

    The surrogate is its default, SuperSpike.
    """

    def __init__(self, n_in: int, hidden: int, n_out: int) -> None:
        super().__init__()
        from norse.torch.functional import lif_box

        self.linears = nn.ModuleList(linears(n_in, hidden, n_out))
        self.step = lif_box.lif_box_feed_forward_step
        self.at_rest = lif_box.LIFBoxFeedForwardState
        # times its tick of 1 ms: half
        self.p = lif_box.LIFBoxParameters(tau_mem_inv=torch.tensor(500.0))

    def forward(self, x: Tensor) -> Tensor:
        for linear in self.linears[:-1]:
            drive = linear(x)
            spikes = []
            state = self.at_rest(v=torch.zeros_like(drive[0]))
            for now in drive.unbind():
                spike, state = self.step(now, state, self.p)
                spikes.append(spike)
            x = torch.stack(spikes)
        return self.linears[-1](x)


class Mlp(nn.Module):
    """ReLU in the neurons' place; all ticks are rows of one batch."""

    def __init__(self, n_in: int, hidden: int, n_out: int) -> None:
        super().__init__()
        first, second, readout = linears(n_in, hidden, n_out)
        self.network = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), readout)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.flatten(0, 1)).unflatten(0, x.shape[:2])


PEERS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "spikingjelly": SpikingJelly,
    "snntorch": SnnTorch,
    "norse": Norse,
    "mlp": Mlp,
}
