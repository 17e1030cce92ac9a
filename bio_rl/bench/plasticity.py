"""One step of plastic synapses: ours against the best in-place torch, torch.compile, and reading
and writing both arrays.

Every side changes the same w and e in place: the gated change, clamped, the eligibility, and the
product with the next input; one modulator a row, one learning rate and one decay, which leaves
torch its cheapest operations. `times_floor` is the time in multiples of what a sign change of w and
e takes, which reads and writes both once and does nothing else.
"""

from __future__ import annotations

import functools
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
LR, DECAY, BOUND = 0.01, 0.9, 1.0
SIDES = ("torch", "compile")


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Measure the plastic step; ratios `vs_` above 1 say that ours is faster."""

    shapes: tuple[tuple[int, int, int], ...] = SHAPES
    """(batch, post, pre), each shape in turn."""
    device: str = "cpu"
    """Of torch: cpu or cuda."""
    compile: bool = True
    """Also measure torch.compile, which needs a C++ compiler on the CPU."""
    threads: int = 2
    """Torch threads, and ours."""
    rounds: int = 11
    """Measurements of each side, in turn."""
    seconds: float = LEAST_S
    """Least duration of one measurement."""

    def __post_init__(self) -> None:
        if (
            not self.shapes
            or min(self.threads, *(size for shape in self.shapes for size in shape)) < 1
            or self.seconds <= 0
        ):
            raise ValueError("--shapes, --threads and --seconds: expected positive numbers")
        if torch.device(self.device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"--device is {self.device}, but torch {torch.__version__} sees no CUDA device; known: cpu"
            )


def run(settings: Settings) -> dict[str, Any]:
    """Figures of every shape for which there is memory."""
    device, results = torch.device(settings.device), {}
    with threads(settings.threads), torch.no_grad():
        for shape in settings.shapes:
            case = "B{} {}x{}".format(*shape)
            need, free = 8.0 * math.prod(shape), memory(device)
            if 1.25 * need > free:
                print(
                    f"{case} is left out: it needs {need / 2**30:.1f} GiB, and {free / 2**30:.1f} are free"
                )
                continue
            synapses = Synapses(*shape, device)
            forms = calls(synapses) | (compiled(synapses) if settings.compile else {})
            sides = {name: timer(call, settings.seconds, device) for name, call in forms.items()}
            results[case] = figures(interleave(sides, settings.rounds), need)
    return results


def memory(device: torch.device) -> float:
    """Bytes that are free; without bound where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError):
        return math.inf


class Synapses:
    """Weights, eligibilities and one decision, at random; every side works on the same."""

    def __init__(self, batch: int, post: int, pre: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.w, self.e = (torch.randn(batch, post, pre, device=device) for _ in range(2))
        self.x, self.x_next = (torch.rand(batch, pre, device=device) for _ in range(2))
        self.signal, self.modulator = (
            torch.randn(batch, post, device=device),
            torch.randn(batch, device=device),
        )
        self.gate, self.y = (
            torch.empty(batch, 1, 1, device=device),
            torch.empty(batch, post, device=device),
        )

    def ours(self) -> None:
        inputs = self.x, self.signal, self.modulator, self.x_next
        plastic_step(
            self.w, self.e, *inputs, lr=LR, decay=DECAY, w_min=-BOUND, w_max=BOUND, out=self.y
        )

    def change(self) -> None:
        torch.mul(self.modulator.view(-1, 1, 1), LR, out=self.gate)
        self.w.addcmul_(self.gate, self.e).clamp_(-BOUND, BOUND)

    def torch_baddbmm(self) -> None:
        torch.baddbmm(self.e, self.signal.unsqueeze(2), self.x.unsqueeze(1), beta=DECAY, out=self.e)
        self.change()
        torch.bmm(self.w, self.x_next.unsqueeze(2), out=self.y.unsqueeze(2))

    def torch_addcmul(self) -> None:
        self.e.mul_(DECAY).addcmul_(self.signal.unsqueeze(2), self.x.unsqueeze(1))
        self.change()
        torch.bmm(self.w, self.x_next.unsqueeze(2), out=self.y.unsqueeze(2))

    def floor(self) -> None:
        self.w.neg_()
        self.e.neg_()


def with_bmm(
    w: Tensor, e: Tensor, x: Tensor, signal: Tensor, modulator: Tensor, x_next: Tensor, y: Tensor
) -> None:
    """The same for a compiler, the product left to its library."""
    e.copy_(DECAY * e + signal.unsqueeze(2) * x.unsqueeze(1))
    w.copy_((w + LR * modulator.view(-1, 1, 1) * e).clamp(-BOUND, BOUND))
    torch.bmm(w, x_next.unsqueeze(2), out=y.unsqueeze(2))


def with_sum(
    w: Tensor, e: Tensor, x: Tensor, signal: Tensor, modulator: Tensor, x_next: Tensor, y: Tensor
) -> None:
    """The same for a compiler, the product as a sum that it can fuse with what makes the weights."""
    trace = DECAY * e + signal.unsqueeze(2) * x.unsqueeze(1)
    new = (w + LR * modulator.view(-1, 1, 1) * trace).clamp(-BOUND, BOUND)
    y.copy_((new * x_next.unsqueeze(1)).sum(2))
    e.copy_(trace)
    w.copy_(new)


FORMS = (with_bmm, with_sum)


def calls(s: Synapses) -> dict[str, Callable[[], Any]]:
    """What each side calls; one has several forms where it depends on the shape which is fastest."""
    return {
        "ours": s.ours,
        "torch baddbmm": s.torch_baddbmm,
        "torch addcmul": s.torch_addcmul,
        "floor": s.floor,
    }


def compiled(s: Synapses) -> dict[str, Callable[[], Any]]:
    """The same of torch.compile; none, and said so, where that does not run."""
    tensors, found = (s.w, s.e, s.x, s.signal, s.modulator, s.x_next, s.y), {}
    torch.compiler.reset()  # or it would give up after eight shapes
    try:
        for form in FORMS:
            call = functools.partial(torch.compile(form, dynamic=False, fullgraph=True), *tensors)
            call()
            found[f"compile {form.__name__}"] = call
    except Exception as error:  # whatever a compiler that is missing or broken raises
        print(
            f"torch.compile is left out: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
        )
        return {}
    return found


def timer(call: Callable[[], Any], seconds: float, device: torch.device) -> Callable[[], float]:
    """A measurement: calls per second of as many calls as fill `seconds`."""
    speed(call, 1, device)()
    return speed(call, max(1, math.ceil(seconds * speed(call, 1, device)())), device)


def figures(rounds: Rounds, moved: float) -> dict[str, Any]:
    """Median ms of the fastest form of each side; paired ratios; GB/s of ours, each number of w and
    e read and written once.
    """
    found = {"forms": {}}
    for side in ("ours", *SIDES, "floor"):
        forms = [name for name in rounds.speeds if name.split()[0] == side]
        if not forms:
            continue
        form = rounds.fastest(*forms)
        found |= spread(f"{side}_ms", [1e3 / speed for speed in rounds.speeds[form]])
        if side in SIDES:
            found["forms"][side] = form
            ratios = [
                a / b for a, b in zip(rounds.speeds["ours"], rounds.speeds[form], strict=True)
            ]
            found |= spread(f"vs_{side}", ratios)
    ratios = [a / b for a, b in zip(rounds.speeds["floor"], rounds.speeds["ours"], strict=True)]
    return (
        found
        | spread("times_floor", ratios)
        | {"gb_per_s": rounded(2.0 * moved / found["ours_ms"] / 1e6)}
    )
