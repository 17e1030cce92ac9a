"""Two spiking layers through T ticks, forward and backward: ours against SpikingJelly, snnTorch,
norse and a plain MLP.

Every side computes dense in -> hidden, neurons, dense hidden -> hidden, neurons, dense hidden ->
out at each tick, from the same weights and inputs, and the gradients of all weights; the MLP has
ReLU in the neurons' place: about what the products alone cost. The peers run in their fastest eager
form: layer by layer, the product of all ticks at once, then the neurons.
"""

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
LEAST_S = 0.06
"""Of one measurement of one side."""
GAIN = 5.0
"""Of the weights, as in networks/spiking.py: about one neuron in four spikes."""

TAU_MEM = 1.0 / math.log(2.0)
"""ms: a membrane keeps half of its potential per tick, as SpikingJelly's default does (its tau =
2).
"""


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
    """Figures of every shape, once forward and backward and once forward alone, and their geometric
    means.
    """
    both: dict[str, Rounds] = {}
    alone: dict[str, Rounds] = {}
    with threads(settings.threads), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "PyTree type", UserWarning
        )  # norse registers its tuples twice
        for shape in settings.shapes:
            forwards, x = sides(*shape)
            case = "T{} B{} {}-{}-{}".format(*shape)
            both[case] = measured(forwards, x, settings, backward=True)
            alone[f"{case} forward"] = measured(forwards, x, settings, backward=False)
    results = {case: figures(rounds) for case, rounds in (both | alone).items()}
    return results | {"geometric mean": means(both), "geometric mean forward": means(alone)}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch with so many threads."""
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
    shape = next(iter(forwards.values()))(x).shape
    cotangent = torch.randn(shape) if backward else None
    calls = {name: call(module, x, cotangent) for name, module in forwards.items()}
    return interleave(
        {name: timer(f, settings.seconds) for name, f in calls.items()}, settings.rounds
    )


def call(forward: nn.Module, x: Tensor, cotangent: Tensor | None) -> Callable[[], None]:
    """One call of `forward`, and with a cotangent the gradients of its weights, allocated anew."""
    weights = list(forward.parameters())

    def learn() -> None:
        for weight in weights:
            weight.grad = None
        forward(x).backward(cotangent)

    def look() -> None:
        with torch.no_grad():
            forward(x)

    return look if cotangent is None else learn


def timer(once: Callable[[], None], seconds: float) -> Callable[[], float]:
    """A measurement: calls per second of as many calls as fill `seconds`, counted at its first,
    uncounted use.
    """
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
    """Median time per call of each side in ms, and the median of paired ratios of the others' time
    to ours.
    """
    found = {}
    for side, speeds in rounds.speeds.items():
        found |= spread(f"{side}_ms", [1e3 / speed for speed in speeds])
    peers = [side for side in rounds.speeds if side != "ours"]
    ratios = rounds.figures("ours", *peers, name="calls_per_s")
    return found | {name: value for name, value in ratios.items() if name.startswith("vs_")}


def means(cases: Mapping[str, Rounds]) -> dict[str, Any]:
    """Over all shapes: geometric mean and minimum of the ratios to the MLP and to the fastest of
    the peers at each shape.
    """
    against: dict[str, list[float]] = {"vs_fastest_peer": [], "vs_mlp": []}
    for rounds in cases.values():
        peers = [side for side in rounds.speeds if side in PACKAGES]
        pairs = (
            {"vs_fastest_peer": rounds.fastest(*peers), "vs_mlp": "mlp"}
            if peers
            else {"vs_mlp": "mlp"}
        )
        for name, peer in pairs.items():
            against[name].append(rounds.figures("ours", peer)[f"vs_{peer}"])
    found = {}
    for name, ratios in against.items():
        if ratios:
            found |= {
                name: rounded(float(np.exp(np.log(ratios).mean()))),
                f"{name}_min": min(ratios),
            }
    return found


def sides(
    T: int, batch: int, n_in: int, hidden: int, n_out: int
) -> tuple[dict[str, nn.Module], Tensor]:
    """The network of each side, ours first, with the same weights; peers that are not installed are
    left out. And an input.
    """
    torch.manual_seed(0)
    ours, x = Ours(n_in, hidden, n_out), torch.randn(T, batch, n_in)
    found: dict[str, nn.Module] = {"ours": ours}
    for name, make in PEERS.items():
        try:
            found[name] = make(n_in, hidden, n_out)
        except ImportError as error:
            print(f"{name} is left out ({error}): pip install 'bio-rl[bench]'")
    for module in found.values():
        for own, weight in zip(module.parameters(), ours.parameters(), strict=True):
            own.data.copy_(weight.data)
    return found, x


class Ours(nn.Module):
    """As networks/spiking.py runs its layers: one decision of T ticks that starts at rest."""

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
        reset = torch.ones(1, x.shape[1], dtype=torch.bool)
        for connection in self.connections:
            drive, _ = connection(x, ())
            x, _ = unroll(self.p, self.p.init(*drive.shape[1:]), drive, reset, ticks=len(x))
        return self.readout(x, ())[0]


def linears(n_in: int, hidden: int, n_out: int) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    return nn.Linear(n_in, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, n_out)


class SpikingJelly(nn.Module):
    """Multi-step LIFNode on its torch code, all that it has on the CPU; its state must be reset
    before every call.
    """

    def __init__(self, n_in: int, hidden: int, n_out: int) -> None:
        super().__init__()
        from spikingjelly.activation_based import functional, neuron, surrogate

        first, second, readout = linears(n_in, hidden, n_out)
        nodes = [
            neuron.LIFNode(surrogate_function=surrogate.ATan(), detach_reset=True, step_mode="m")
            for _ in range(2)
        ]
        self.network, self.reset = (
            nn.Sequential(first, nodes[0], second, nodes[1], readout),
            functional.reset_net,
        )

    def forward(self, x: Tensor) -> Tensor:
        self.reset(self.network)
        return self.network(x)


class SnnTorch(nn.Module):
    """Leaky (by default with atan) in a loop over time, its membrane carried by hand, so that no
    hidden state must be reset.
    """

    def __init__(self, n_in: int, hidden: int, n_out: int) -> None:
        super().__init__()
        import snntorch

        self.linears = nn.ModuleList(linears(n_in, hidden, n_out))
        self.neurons = nn.ModuleList(snntorch.Leaky(beta=0.5) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for linear, neuron in zip(self.linears, self.neurons, strict=False):
            drive, spikes, membrane = linear(x), [], None
            for now in drive.unbind():
                spike, membrane = neuron(
                    now, torch.zeros_like(now) if membrane is None else membrane
                )
                spikes.append(spike)
            x = torch.stack(spikes)
        return self.linears[-1](x)


class Norse(nn.Module):
    """Functional LIFBox, its cheapest LIF (no synaptic current), in a loop over time; its default
    surrogate SuperSpike.
    """

    def __init__(self, n_in: int, hidden: int, n_out: int) -> None:
        super().__init__()
        from norse.torch.functional import lif_box

        self.linears = nn.ModuleList(linears(n_in, hidden, n_out))
        self.step, self.at_rest = lif_box.lif_box_feed_forward_step, lif_box.LIFBoxFeedForwardState
        self.p = lif_box.LIFBoxParameters(
            tau_mem_inv=torch.tensor(500.0)
        )  # times its tick of 1 ms: half

    def forward(self, x: Tensor) -> Tensor:
        for linear in self.linears[:-1]:
            drive, spikes = linear(x), []
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
