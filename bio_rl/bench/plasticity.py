"""One step of plastic synapses: ours against the best in-place torch, and torch.compile.

Every side changes the same w and e in place: the gated change, clamped, the eligibility, and the
product with the next input; one modulator a row, one learning rate and one decay, which leaves
torch its cheapest operations. `times_floor` is the time in multiples of what a sign change of w and
e takes, which reads and writes both once and does nothing else.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bio_rl.bench._report import Rounds, Shared, interleave, rounded, speed, spread
from bio_rl.bench.neurons import LEAST_S, threads
from bio_rl.kernels.plastic import plastic_step

SHAPES = (
    (1, 3, 576),  # an agent alone in its world
    (64, 64, 64),
    (1024, 64, 64),
    (4096, 64, 64),
    (64, 256, 256),
    (1024, 256, 256),
    (4096, 256, 256),
)
LR = 0.01
DECAY = 0.9
BOUND = 1.0
SIDES = ("torch", "compile")
"""Sides that have several forms, of which the fastest counts."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Measure the plastic step; ratios `vs_` above 1 say that ours is faster."""

    shapes: tuple[tuple[int, int, int], ...] = SHAPES
    """(batch, post, pre), each shape in turn."""
    device: str = "cpu"
    """The device that everyone computes on: cpu or cuda."""
    compile: bool = True
    """Also measure torch.compile, which needs a C++ compiler on the CPU."""
    threads: int = 2
    """Torch threads, and ours."""
    rounds: int = 11
    """Measurements of each side, in turn."""
    seconds: float = LEAST_S
    """Least duration of one measurement."""

    def __post_init__(self) -> None:
        sizes = itertools.chain((self.threads,), *self.shapes)
        if not self.shapes or min(sizes) < 1 or self.seconds <= 0:
            raise ValueError("--shapes, --threads and --seconds: expected positive numbers")
        if torch.device(self.device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"--device is {self.device}, but torch {torch.__version__} sees no CUDA device; "
                "known: cpu"
            )


def run(settings: Settings) -> dict[str, Any]:
    """Figures of every shape for which there is memory."""
    device = torch.device(settings.device)
    results = {}
    with threads(settings.threads), torch.no_grad():
        for shape in settings.shapes:
            case = "B{} {}x{}".format(*shape)
            # w and e in float32
            need = 8.0 * math.prod(shape)
            free = memory(device)
            # some room for temporaries
            if 1.25 * need > free:
                print(
                    f"{case} is left out: it needs {need / 2**30:.1f} GiB, "
                    f"and {free / 2**30:.1f} are free"
                )
                continue
            forms = sides(Synapses(*shape, device), settings.compile)
            timers = {name: timer(call, settings.seconds, device) for name, call in forms.items()}
            results[case] = figures(interleave(timers, settings.rounds), need)
    return results


def sides(synapses: Synapses, compile: bool) -> dict[str, Callable[[], Any]]:
    """The calls of every form of every side."""
    if not compile:
        return calls(synapses)
    return {**calls(synapses), **compiled(synapses)}


def memory(device: torch.device) -> float:
    """Bytes that are free; without bound where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError):
        return math.inf


# The sides


class Synapses:
    """Weights, eligibilities and one decision, at random; every side works on the same."""

    def __init__(self, batch: int, post: int, pre: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.w = torch.randn(batch, post, pre, device=device)
        self.e = torch.randn(batch, post, pre, device=device)
        self.x = torch.rand(batch, pre, device=device)
        self.x_next = torch.rand(batch, pre, device=device)
        self.signal = torch.randn(batch, post, device=device)
        self.modulator = torch.randn(batch, device=device)
        self.gate = torch.empty(batch, 1, 1, device=device)
        self.y = torch.empty(batch, post, device=device)

    def ours(self) -> None:
        """Make a step with our kernel."""
        plastic_step(
            self.w,
            self.e,
            self.x,
            self.signal,
            self.modulator,
            self.x_next,
            lr=LR,
            decay=DECAY,
            w_min=-BOUND,
            w_max=BOUND,
            out=self.y,
        )

    def change(self) -> None:
        """Change the weights in place with torch."""
        torch.mul(self.modulator.view(-1, 1, 1), LR, out=self.gate)
        self.w.addcmul_(self.gate, self.e).clamp_(-BOUND, BOUND)

    def torch_baddbmm(self) -> None:
        """Make a step in torch, the eligibility by its batched matrix product."""
        torch.baddbmm(self.e, self.signal.unsqueeze(2), self.x.unsqueeze(1), beta=DECAY, out=self.e)
        self.change()
        torch.bmm(self.w, self.x_next.unsqueeze(2), out=self.y.unsqueeze(2))

    def torch_addcmul(self) -> None:
        """Make a step in torch, the eligibility by elementwise operations."""
        self.e.mul_(DECAY).addcmul_(self.signal.unsqueeze(2), self.x.unsqueeze(1))
        self.change()
        torch.bmm(self.w, self.x_next.unsqueeze(2), out=self.y.unsqueeze(2))

    def floor(self) -> None:
        """Read and write both arrays once."""
        self.w.neg_()
        self.e.neg_()


def with_bmm(
    w: Tensor, e: Tensor, x: Tensor, signal: Tensor, modulator: Tensor, x_next: Tensor, y: Tensor
) -> None:
    """Make a step in a form for a compiler, the product left to its library."""
    e.copy_(DECAY * e + signal.unsqueeze(2) * x.unsqueeze(1))
    w.copy_((w + LR * modulator.view(-1, 1, 1) * e).clamp(-BOUND, BOUND))
    torch.bmm(w, x_next.unsqueeze(2), out=y.unsqueeze(2))


def with_sum(
    w: Tensor, e: Tensor, x: Tensor, signal: Tensor, modulator: Tensor, x_next: Tensor, y: Tensor
) -> None:
    """Make a step in a form for a compiler, which can fuse the product with the new weights."""
    trace = DECAY * e + signal.unsqueeze(2) * x.unsqueeze(1)
    new = (w + LR * modulator.view(-1, 1, 1) * trace).clamp(-BOUND, BOUND)
    y.copy_((new * x_next.unsqueeze(1)).sum(2))
    e.copy_(trace)
    w.copy_(new)


FORMS = (with_bmm, with_sum)


def calls(s: Synapses) -> dict[str, Callable[[], Any]]:
    """The calls of each side but the compiler's; the fastest form depends on the shape."""
    return {
        "ours": s.ours,
        "torch baddbmm": s.torch_baddbmm,
        "torch addcmul": s.torch_addcmul,
        "floor": s.floor,
    }


def compiled(s: Synapses) -> dict[str, Callable[[], Any]]:
    """The calls of torch.compile; none, and said so, where that does not run."""
    tensors = (s.w, s.e, s.x, s.signal, s.modulator, s.x_next, s.y)
    calls = {}
    torch.compiler.reset()  # or it would give up after eight shapes
    try:
        for form in FORMS:
            fused = torch.compile(form, dynamic=False, fullgraph=True)
            call = functools.partial(fused, *tensors)
            call()
            calls[f"compile {form.__name__}"] = call
    # whatever a compiler that is missing or broken raises
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        print(f"torch.compile is left out: {type(error).__name__}: {reason}")
        return {}
    return calls


# Timing


def timer(call: Callable[[], Any], seconds: float, device: torch.device) -> Callable[[], float]:
    """A measurement: calls per second of as many calls as fill `seconds`."""
    # the first call may compile
    once = speed(call, 1, device)
    once()
    calls = max(1, math.ceil(seconds * once()))
    return speed(call, calls, device)


def figures(rounds: Rounds, moved: float) -> dict[str, Any]:
    """Median ms of the fastest form of each side, paired ratios, and the GB/s of ours.

    moved: bytes of w and e, each of which is read and written once.
    """
    figures: dict[str, Any] = {}
    fastest = {}
    for side in ("ours", *SIDES, "floor"):
        forms = [name for name in rounds.speeds if name.split()[0] == side]
        if not forms:
            continue
        form = rounds.fastest(*forms)
        figures |= spread(f"{side}_ms", [1e3 / speed for speed in rounds.speeds[form]])
        if side in SIDES:
            fastest[side] = form
            figures |= spread(f"vs_{side}", rounds.ratios("ours", form))
    figures |= spread("times_floor", rounds.ratios("floor", "ours"))
    figures["gb_per_s"] = rounded(2.0 * moved / figures["ours_ms"] / 1e6)
    return {"forms": fastest, **figures}
