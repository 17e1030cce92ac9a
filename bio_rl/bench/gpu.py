"""What runs on a GPU, checked and timed: Triton kernels against torch and SpikingJelly, acting in a
CUDA graph, training.

Nothing here has a meaning on the CPU: without a CUDA device it says so and measures nothing. A part
that fails is reported in its place, and the others are measured all the same.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bio_rl import vector
from bio_rl.bench._report import Shared, interleave, rounded
from bio_rl.contracts import Percept, State
from bio_rl.kernels.unroll import unroll
from bio_rl.networks import Blueprint
from bio_rl.neurons.alif import ALIF
from bio_rl.neurons.cuba_lif import CubaLIF
from bio_rl.neurons.lif import LIF
from bio_rl.neurons.plif import PLIF
from bio_rl.state import clone, leaves, tree_map
from bio_rl.surrogates import SURROGATES
from bio_rl.training import api, config
from bio_rl.training.runner import Runner

ENV = "CartPole-v1"
LIF_SHAPE = (32, 64, 65_536)
"""T, B, N of SpikingJelly's published table (its triton_backend page: 3.366 ms forward and backward
on an RTX 4090).
"""
OBS, ACTIONS = 17, 6
"""Sizes of HalfCheetah-v5."""
GOAL = 1e7
"""Decisions per second of the acting part."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Check and time everything that runs on a GPU, in one command of at most eight minutes."""

    minutes: float = 7.0
    """No further part is begun after this time."""
    rounds: int = 11
    """Measurements of each side, in turn."""
    num_envs: int = 4096
    """Environments that the acting part steps."""
    updates: int = 3
    """Rollouts and updates of each training."""

    def __post_init__(self) -> None:
        if min(self.minutes, self.rounds, self.num_envs, self.updates) <= 0:
            raise ValueError(
                "--minutes, --rounds, --num-envs and --updates: expected positive numbers"
            )


def run(settings: Settings) -> dict[str, Any]:
    """Figures of each part; empty without a CUDA device."""
    if not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no CUDA device: nothing was measured")
        return {}
    device = torch.device("cuda")
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        f"kernel/{name}": functools.partial(parity, name, device) for name in neurons(1)
    }
    parts["lif"] = lambda: multi_step(LIF_SHAPE, settings.rounds, device)
    parts["acting"] = lambda: acting(settings.num_envs, settings.rounds, device)
    parts |= {
        f"ppo/{name}": functools.partial(ppo, name, settings.updates) for name in ("spiking", "mlp")
    }
    blind = [name for name in config.network_names() if not Blueprint.default(name).image]
    parts |= {f"train/{name}": functools.partial(train, name, settings.updates) for name in blind}
    return in_time(parts, 60.0 * settings.minutes)


def in_time(parts: Mapping[str, Callable[[], dict[str, Any]]], seconds: float) -> dict[str, Any]:
    """The figures of each part that could be begun within `seconds`; {"error": …} of one that
    failed.
    """
    began, results = time.perf_counter(), {}
    for name, measure in parts.items():
        if time.perf_counter() - began > seconds:
            results[name] = {"error": f"not begun within {seconds:.0f} s"}
            continue
        try:
            results[name] = measure()
        # one part's failure must not cost the figures of a machine that is seldom at hand
        except Exception as error:
            traceback.print_exc()
            results[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(f"[{time.perf_counter() - began:4.0f} s] {name}: {results[name]}", flush=True)
    return results


# ---------------------------------- the kernels against the torch reference


class Given(NamedTuple):
    """What goes into a time loop, and the gradients that come back to it."""

    state: State
    drive: Tensor
    """[T·K / hold, B, N]."""
    reset: Tensor
    grad_out: Tensor
    grad_state: tuple[Tensor, ...]
    """Of v, i and a where the neuron has them."""


def neurons(n: int) -> dict[str, Any]:
    """Every neuron with a fused time loop, in layers of n, with constants that hide no term of its
    equations.
    """
    w = torch.linspace(-1.0, 2.0, n)
    return {
        "lif": LIF(tau_mem=3.0, v_leak=0.1, slope=1.7),
        "lif_refractory": LIF(tau_mem=3.0, v_leak=0.1, slope=1.7, tau_refractory=2.0),
        "cuba_lif": CubaLIF(v_leak=0.1, slope=1.3),
        "alif": ALIF(tau_mem=3.0, tau_adapt=5.0, beta=0.4, v_leak=0.1, slope=0.8),
        "plif": PLIF(w=torch.tensor(0.7), v_leak=0.1, slope=1.7),
        "plif_each": PLIF(w=w, v_leak=0.1, slope=1.7),
    }


def parity(name: str, device: torch.device) -> dict[str, Any]:
    """The largest errors over surrogates, resets, held and changing drives and readouts; the same
    of bf16, with less of each.

    The rectangle is left out of the second: where the rounded x has crossed its border, its
    derivative is another one.
    """
    found: dict[str, list[float]] = {}
    for surrogate, v_reset, hold, readout in itertools.product(
        SURROGATES, (0.0, None), (1, 4), (None, 0.6)
    ):
        smooth = hold == 1 and readout is None and surrogate != "rectangle"
        for dtype in (torch.float32, torch.bfloat16) if smooth else (torch.float32,):
            p = neurons(33)[name]._replace(surrogate=surrogate, v_reset=v_reset)
            ending = "" if dtype is torch.float32 else "_bf16"
            for key, error in errors(
                p, hold, readout, device=device, dtype=dtype, batch=16
            ).items():
                found.setdefault(key + ending, []).append(error)
    return {
        key: rounded(np.max(all_of_them)) for key, all_of_them in found.items()
    }  # a NaN stays one


def errors(
    p: Any,
    hold: int,
    readout: float | None,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    decisions: int = 3,
    ticks: int = 4,
    batch: int = 5,
    n: int = 33,
) -> dict[str, float]:
    """Of the Triton loop against the reference: {"out", "state", "grad", "grad_w"}, each |ours -
    reference| / max |reference|.

    The drive has this dtype, and the reference takes the very same numbers in float32. The gradient
    of a single learned w, a sum over all neurons and ticks that nearly cancels, is compared with
    that of a float64 reference.
    """
    given = draw(p, hold, readout, decisions, ticks, batch, n)
    given = tree_map(lambda x: x.to(device), given._replace(drive=given.drive.to(dtype)))
    single = given._replace(drive=given.drive.float())
    ours, reference = (
        outcome(p, x, ticks, hold, readout, name)
        for x, name in ((given, "triton"), (single, "torch"))
    )
    if "grad_w" in reference and reference["grad_w"][0].dim() == 0:
        double = tree_map(lambda x: x if x.dtype == torch.bool else x.double(), single)
        reference["grad_w"] = outcome(
            p._replace(w=p.w.double()), double, ticks, hold, readout, "torch"
        )["grad_w"]
    return {
        key: float(np.max([_error(a, e) for a, e in zip(ours[key], reference[key], strict=True)]))
        for key in reference
    }


def _error(ours: Tensor, reference: Tensor) -> float:
    """NaN where both are zero: a case that tests nothing."""
    return ((ours.double() - reference).abs().max() / reference.abs().max()).item()


def draw(
    p: Any, hold: int, readout: float | None, decisions: int, ticks: int, batch: int, n: int
) -> Given:
    """Random numbers, the same on every device: about a third of the neurons fire, a third of the
    rows are reset.
    """
    source = torch.Generator().manual_seed(0)
    normal, uniform = (
        functools.partial(torch.randn, generator=source),
        functools.partial(torch.rand, generator=source),
    )
    state = p.init(batch, n)
    state = state._replace(v=normal(batch, n))
    if hasattr(state, "i"):
        state = state._replace(i=normal(batch, n))
    if hasattr(state, "a"):
        state = state._replace(a=uniform(batch, n))
    if getattr(p, "tau_refractory", 0.0) > 0:
        state = state._replace(refractory=(3.0 * uniform(batch, n)).floor())
    steps = decisions * ticks
    return Given(
        state=state,
        drive=2.0 * normal(steps // hold, batch, n),
        reset=uniform(decisions, batch) < 0.3,
        grad_out=normal(steps if readout is None else decisions, batch, n),
        grad_state=tuple(normal(batch, n) for _ in differentiable(state)),
    )


def differentiable(state: Any) -> dict[str, Tensor]:
    """The fields of a neuron's state that gradients flow through."""
    return {name: getattr(state, name) for name in ("v", "i", "a") if hasattr(state, name)}


def outcome(
    p: Any, given: Given, ticks: int, hold: int, readout: float | None, backend: str
) -> dict[str, tuple[Tensor, ...]]:
    """{"out", "state", "grad" of the drive and of the state, "grad_w" where there is one} of one
    run forward and backward.
    """
    drive, state = given.drive.clone().requires_grad_(), differentiable(given.state)
    state = {name: x.clone().requires_grad_() for name, x in state.items()}
    inputs = [drive, *state.values()]
    if hasattr(p, "w"):
        p = p._replace(w=p.w.detach().to(drive.device).requires_grad_())
        inputs.append(p.w)
    out, after = unroll(
        p,
        given.state._replace(**state),
        drive,
        given.reset,
        ticks=ticks,
        hold=hold,
        readout=readout,
        backend=backend,
    )
    ends = tuple(differentiable(after).values())
    grads = torch.autograd.grad(
        (out, *ends), inputs, (given.grad_out.to(out.dtype), *given.grad_state)
    )
    found = {
        "out": (out.detach(),),
        "state": tuple(x.detach() for x in leaves(after)),
        "grad": grads[: 1 + len(state)],
    }
    return found | ({"grad_w": grads[-1:]} if hasattr(p, "w") else {})


# ---------------------------------- against SpikingJelly


def multi_step(shape: tuple[int, int, int], rounds: int, device: torch.device) -> dict[str, Any]:
    """T ticks of B x N leaky neurons forward and backward in float16: `ms`, `gb_per_s`, and
    `vs_spikingjelly` where installed.

    Both start at rest, decay by ½ and reset to zero without a gradient. Bytes moved: the drive, the
    spikes, x and the gradients, each once, 12 a neuron and tick; the states at either end do not
    count.
    """
    ticks, batch, n = shape
    drive = torch.randn(shape, dtype=torch.float16, device=device).requires_grad_()
    grad = torch.randn_like(drive)
    reset = torch.zeros(1, batch, dtype=torch.bool, device=device)
    p: Any = LIF(tau_mem=1.0 / math.log(2.0))
    forwards = {
        "ours": lambda: unroll(
            p, p.init(batch, n, device), drive, reset, ticks=ticks, backend="triton"
        )[0]
    }
    if peer := spikingjelly_lif():
        forwards["spikingjelly"] = lambda: peer(drive, torch.zeros(batch, n, device=device))
    sides = {
        name: speed(lambda f=forward: torch.autograd.grad(f(), drive, grad), 10, device)
        for name, forward in forwards.items()
    }
    measured = interleave(sides, rounds)
    times = {name: 1e3 / float(np.median(speeds)) for name, speeds in measured.speeds.items()}
    peers = {f"{name}_ms": rounded(ms) for name, ms in times.items() if name != "ours"}
    moved = {
        "ms": rounded(times["ours"]),
        "gb_per_s": rounded(12.0 * drive.numel() / times["ours"] / 1e6),
    }
    return measured.figures("ours", *sides.keys() - {"ours"}, name="calls_per_s") | moved | peers


def spikingjelly_lif() -> Callable[[Tensor, Tensor], Tensor] | None:
    """SpikingJelly's Triton LIF as spikes(drive, v); None, and said so, where it is missing or
    older than 2.0.
    """
    os.environ.setdefault(
        "SJ_LIF_CUDA_IMPLEMENTATION", "triton"
    )  # read at its import; else its CUDA extension comes first
    try:
        from spikingjelly.activation_based.functional import lif_multi_step
        from spikingjelly.activation_based.surrogate import ATan
    except ImportError as error:
        print(f"SpikingJelly is left out: {error}; pip install 'spikingjelly>=2.0'")
        return None
    atan = ATan(alpha=2.0)
    return lambda drive, v: lif_multi_step(
        drive,
        v,
        tau=2.0,
        decay_input=True,
        v_threshold=1.0,
        v_reset=0.0,
        surrogate_function=atan,
        detach_reset=True,
    )[0]


def speed(
    call: Callable[[], Any], calls: int, device: torch.device, work: float = 1.0
) -> Callable[[], float]:
    """A measurement: work done per second, `work` a call, the device's queue drained before and
    after.
    """
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def measure() -> float:
        wait()
        began = time.perf_counter()
        for _ in range(calls):
            call()
        wait()
        return work * calls / (time.perf_counter() - began)

    return measure


# ---------------------------------- acting


@torch.no_grad()
def acting(num_envs: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """Decisions per second of a spiking policy of 2 x 256 neurons with memory, K = 4, in a CUDA
    graph and without one.

    `graph_error`: the largest difference between the graph's first decision (output, state) and the
    plain network's.
    """
    network, percept, state = policy(num_envs, device)
    fresh = torch.randn_like(percept.obs)
    expected = network(percept, clone(state))
    graph, out = captured(network, percept, state)
    graph.replay()
    differences = [
        (a - b).abs().max().item()
        for a, b in zip(leaves((out, state)), leaves(expected), strict=True)
    ]

    def replay() -> None:
        percept.obs.copy_(fresh)
        graph.replay()

    plain: dict[str, State] = {"state": clone(state)}

    def decide() -> None:
        percept.obs.copy_(fresh)
        _, plain["state"] = network(percept, plain["state"])

    sides = {
        "graph": speed(replay, 300, device, num_envs),
        "eager": speed(decide, 100, device, num_envs),
    }
    figures = interleave(sides, rounds).figures("graph", "eager", name="decisions_per_s")
    return figures | {
        "of_goal": rounded(figures["decisions_per_s"] / GOAL),
        "graph_error": rounded(max(differences)),
    }


def policy(num_envs: int, device: torch.device) -> tuple[Any, Percept, State]:
    """The network, a percept in the middle of an episode, and the state at rest."""
    own = {"hidden": (256, 256), "ticks": 4, "memory": True}
    settings = config.fill(Blueprint.default("spiking").config, own, "spiking")
    network: Any = Blueprint("spiking", settings).build(OBS, ACTIONS).to(device)
    zeros, never = (
        torch.zeros(num_envs, device=device),
        torch.zeros(num_envs, dtype=torch.bool, device=device),
    )
    obs, action = (
        torch.randn(num_envs, OBS, device=device),
        torch.zeros(num_envs, ACTIONS, device=device),
    )
    return (
        network,
        Percept(obs, action, zeros, never, never.clone()),
        clone(network.initial_state(num_envs)),
    )


def captured(
    network: nn.Module, percept: Percept, state: State
) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """(graph, its output): a replay looks at `percept`, decides, and leaves the new state in
    `state`.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(
        side
    ):  # kernels compile and cuBLAS makes its workspace before the capture
        for _ in range(3):
            network(percept, state)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out, after = network(percept, state)
        for old, new in zip(leaves(state), leaves(after), strict=True):
            old.copy_(new)
    return graph, out


# ---------------------------------- training


def ppo(network: str, updates: int, device: str = "cuda") -> dict[str, Any]:
    """PPO on CartPole-v1 with its preset: updates, gradient steps and environment steps per second,
    after one update.
    """
    experiment = config.experiment(ENV, "ppo", network, device=device)
    env = vector.make(ENV, experiment.run.num_envs, device=api.pick_device(device))
    runner = Runner(api.make_agent(experiment, env), env)
    runner.start(seed=0)
    with api.single_thread():
        runner.step()
        seen, collect, learn = runner.seen, runner.collect_s, runner.learn_s
        for _ in range(updates):
            runner.step()
    env.close()
    c, seen, collect, learn = (
        experiment.agent,
        runner.seen - seen,
        runner.collect_s - collect,
        runner.learn_s - learn,
    )
    batches = c.epochs * math.ceil(c.rollout * experiment.run.num_envs / c.minibatch)
    return {
        "updates_per_s": rounded(updates / learn),
        "gradient_steps_per_s": rounded(updates * batches / learn),
        "steps_per_s": rounded(seen / (collect + learn)),
    }


def train(network: str, updates: int, device: str = "cuda") -> dict[str, Any]:
    """A whole run on CartPole-v1 of a few updates, compilation and evaluation included, in a folder
    that is thrown away.
    """
    experiment = config.experiment(
        ENV, "ppo", network, device=device, checkpoints=1, eval_episodes=0
    )
    steps = updates * experiment.agent.rollout * experiment.run.num_envs
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trained = api.run_experiment(
            config.replace_run(experiment, steps=steps, run_dir=Path(folder))
        )
    final = {} if trained.evaluation is None else {"final_return": rounded(trained.evaluation.mean)}
    return {
        "steps_per_s": rounded(trained.steps / trained.seconds),
        "seconds": rounded(trained.seconds),
    } | final
