"""The speed of a GPU's kernels: a layer of neurons against SpikingJelly, acting in a CUDA graph."""

# The peers may be missing: the bench extra brings them.
# pyright: reportMissingImports=false

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bio_rl.bench._report import interleave, rounded, speed
from bio_rl.contracts import Percept, State
from bio_rl.kernels.unroll import unroll
from bio_rl.networks import Blueprint
from bio_rl.neurons.lif import LIF
from bio_rl.state import clone, leaves
from bio_rl.training import config

LIF_SHAPE = (32, 64, 65_536)
"""T, B, N of SpikingJelly's table (its triton_backend page: 3.366 ms both ways on an RTX 4090)."""
BYTES = 12.0
"""Bytes moved for a neuron and tick in float16: drive, spikes, x and the gradients, each once."""
POLICY = {"hidden": (256, 256), "ticks": 4, "memory": True}
"""Settings of the spiking network that acts."""
# Sizes of HalfCheetah-v5.
OBS = 17
ACTIONS = 6
GOAL = 1e7
"""Decisions per second of the acting part."""

# A layer of neurons


def multi_step(shape: tuple[int, int, int], rounds: int, device: torch.device) -> dict[str, Any]:
    """T ticks of B x N leaky neurons forward and backward in float16: `ms`, `gb_per_s`.

    `vs_spikingjelly` is there where that is installed. Both start at rest, decay by ½ and reset to
    zero without a gradient. The states at either end do not count as bytes moved.
    """
    drive = torch.randn(shape, dtype=torch.float16, device=device).requires_grad_()
    grad = torch.randn_like(drive)
    forwards = {"ours": our_lif(drive)}
    peer = spikingjelly_lif(drive)
    if peer is not None:
        forwards["spikingjelly"] = peer
    sides = {
        name: speed(lambda f=forward: torch.autograd.grad(f(), drive, grad), 10, device)
        for name, forward in forwards.items()
    }
    measured = interleave(sides, rounds)
    times = {name: 1e3 / float(np.median(speeds)) for name, speeds in measured.speeds.items()}
    ours = times.pop("ours")
    return {
        **measured.figures("ours", *times, name="calls_per_s"),
        "ms": rounded(ours),
        "gb_per_s": rounded(BYTES * drive.numel() / ours / 1e6),
        **{f"{name}_ms": rounded(ms) for name, ms in times.items()},
    }


def our_lif(drive: Tensor) -> Callable[[], Tensor]:
    """Spikes of our neurons."""
    ticks, batch, n = drive.shape
    p: Any = LIF(tau_mem=1.0 / math.log(2.0))
    reset = torch.zeros(1, batch, dtype=torch.bool, device=drive.device)

    def forward() -> Tensor:
        state = p.init(batch, n, drive.device)
        return unroll(p, state, drive, reset, ticks=ticks, backend="triton")[0]

    return forward


def spikingjelly_lif(drive: Tensor) -> Callable[[], Tensor] | None:
    """Spikes of SpikingJelly's Triton LIF; None, and said so, where that is missing or too old."""
    # read at its import; else its CUDA extension comes first
    os.environ.setdefault("SJ_LIF_CUDA_IMPLEMENTATION", "triton")
    try:
        from spikingjelly.activation_based.functional import lif_multi_step
        from spikingjelly.activation_based.surrogate import ATan
    except ImportError as error:
        print(f"SpikingJelly is left out: {error}; pip install 'spikingjelly>=2.0'")
        return None
    atan = ATan(alpha=2.0)

    def forward() -> Tensor:
        return lif_multi_step(
            drive,
            torch.zeros(drive.shape[1:], device=drive.device),
            tau=2.0,
            decay_input=True,
            v_threshold=1.0,
            v_reset=0.0,
            surrogate_function=atan,
            detach_reset=True,
        )[0]

    return forward


# Acting


@torch.no_grad()
def acting(num_envs: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """Decisions per second of a spiking policy, in a CUDA graph and without one.

    `graph_error`: the largest difference between the graph's first decision (output, state) and the
    plain network's.
    """
    network, percept, state = policy(num_envs, device)
    fresh = torch.randn_like(percept.obs)
    expected = network(percept, clone(state))
    graph, out = captured(network, percept, state)
    graph.replay()
    pairs = zip(leaves((out, state)), leaves(expected), strict=True)
    differences = [(a - b).abs().max().item() for a, b in pairs]

    def replay() -> None:
        percept.obs.copy_(fresh)
        graph.replay()

    plain = clone(state)

    def decide() -> None:
        nonlocal plain
        percept.obs.copy_(fresh)
        _, plain = network(percept, plain)

    sides = {
        "graph": speed(replay, 300, device, num_envs),
        "eager": speed(decide, 100, device, num_envs),
    }
    figures = interleave(sides, rounds).figures("graph", "eager", name="decisions_per_s")
    figures["of_goal"] = rounded(figures["decisions_per_s"] / GOAL)
    figures["graph_error"] = rounded(max(differences))
    return figures


def policy(num_envs: int, device: torch.device) -> tuple[Any, Percept, State]:
    """The network, a percept in the middle of an episode, and the state at rest."""
    settings = config.fill(Blueprint.default("spiking").config, POLICY, "spiking")
    network: Any = Blueprint("spiking", settings).build(OBS, ACTIONS).to(device)
    percept = Percept(
        torch.randn(num_envs, OBS, device=device),
        torch.zeros(num_envs, ACTIONS, device=device),
        torch.zeros(num_envs, device=device),
        torch.zeros(num_envs, dtype=torch.bool, device=device),
        torch.zeros(num_envs, dtype=torch.bool, device=device),
    )
    # A copy, as a graph writes into the state that it was captured with.
    return network, percept, clone(network.initial_state(num_envs))


def captured(
    network: nn.Module, percept: Percept, state: State
) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """(graph, its output): a replay decides on `percept` and leaves the new state in `state`."""
    # Kernels compile and cuBLAS makes its workspace before the capture, on another stream.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            network(percept, state)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out, after = network(percept, state)
        for old, new in zip(leaves(state), leaves(after), strict=True):
            old.copy_(new)
    return graph, out
