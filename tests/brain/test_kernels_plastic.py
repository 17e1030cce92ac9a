"""The fused step of plastic synapses: by hand, against the three-factor rule, and every backend
against the reference.
"""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bio_rl.kernels.backends import BACKENDS
from bio_rl.kernels.plastic import plastic_step
from bio_rl.plasticity import Post, Pre
from bio_rl.plasticity.three_factor import ThreeFactor

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FUSED = ["numba", "triton"]
WEIGHTS = ["own", "groups", "shared", "one group"]
SIZES = [(6, 5, 7), (4, 3, 130), (2, 33, 300)]
"""B, post, pre: within one tile of the Triton kernels, and beyond one either way."""
OPTIONS = list(itertools.product([False, True], [False, True], [False, True]))
"""A modulator, a learning rate and a decay for each, or one for all."""


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    return needed(request.param)


def needed(backend: str) -> str:
    if backend != "torch":
        pytest.importorskip(backend)
    return backend


def device_of(backend: str) -> torch.device:
    return DEVICE if backend == "triton" else torch.device("cpu")


def draw(
    size: tuple[int, int, int],
    weights: str = "own",
    each: bool = True,
    lrs: bool = True,
    decays: bool = True,
) -> dict:
    """Arguments of a call at random: about a third of the weights end at a bound, and of the rows
    with no eligibility.
    """
    torch.manual_seed(0)
    batch, post, pre = size
    lead = {"own": (batch,), "groups": (2,), "shared": (), "one group": (1,)}[weights]
    return {
        "w": torch.randn(*lead, post, pre),
        "e": torch.randn(size),
        "x": torch.randn(batch, pre),
        "signal": torch.randn(batch, post),
        "modulator": torch.randn((batch, post) if each else batch),
        "x_next": torch.randn(batch, pre),
        "lr": 0.3 + torch.rand(post) if lrs else 0.3,
        "decay": torch.rand(batch) * (torch.arange(batch) % 3 > 0) if decays else 0.9,
    }


def results(given: dict[str, Any], backend: str, **settings) -> dict[str, Tensor]:
    """What a call leaves, on the CPU; what it is given is not touched."""
    mine = {
        k: v.clone().to(device_of(backend)) if isinstance(v, Tensor) else v
        for k, v in given.items()
    }
    y = plastic_step(**mine, **settings, backend=backend)
    return {name: x.cpu() for name, x in (("w", mine["w"]), ("e", mine["e"]), ("y", y))}


def assert_agree(given: dict[str, Any], backend: str, **settings) -> None:
    """Within 1e-5 of the largest value."""
    reference, ours = results(given, "torch", **settings), results(given, backend, **settings)
    for name, expected in reference.items():
        error = (ours[name] - expected).abs().max() / expected.abs().max()
        assert error <= 1e-5, f"{name}: relative error {error:.1e}"
    assert not torch.equal(reference["w"], given["w"]) and not torch.equal(
        reference["e"], given["e"]
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "weights"), list(itertools.product(FUSED, WEIGHTS)))
def test_a_fused_step_agrees_with_the_reference(name, weights, size):
    needed(name)
    for each, lrs, decays in (
        OPTIONS if size == SIZES[0] else [(True, True, True), (False, False, False)]
    ):
        assert_agree(draw(size, weights, each, lrs, decays), name, w_min=-0.7, w_max=0.5)


@pytest.mark.parametrize("bounds", [{}, {"w_min": 0.0}, {"w_max": 0.3}])
@pytest.mark.parametrize(("name", "weights"), list(itertools.product(FUSED, WEIGHTS)))
def test_either_bound_may_be_left_out(name, weights, bounds):
    assert_agree(draw(SIZES[0], weights), needed(name), **bounds)


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers])


def test_two_decisions_by_hand(backend):
    # one neuron, two synapses, η ½, κ ½, weights within ±1
    device = device_of(backend)
    w, e, y = (torch.tensor(x, device=device) for x in ([[[0.2, 0.9]]], [[[1.0, 2.0]]], [[0.0]]))
    given = {"lr": 0.5, "decay": 0.5, "w_min": -1.0, "w_max": 1.0, "out": y, "backend": backend}
    first = [x.to(device) for x in (row(1.0, 0.0), row(3.0), torch.tensor([0.4]), row(0.0, 2.0))]
    assert plastic_step(w, e, *first, **given) is y
    # e = ½ (1, 2) + 3 (1, 0) = 3.5, 1; w = (0.2, 0.9) + ½ 0.4 e = 0.9, 1.1 and so 1; y = 2 · 1
    assert (
        e.flatten().tolist() == [3.5, 1.0]
        and w.flatten().tolist() == pytest.approx([0.9, 1.0])
        and y.item() == 2.0
    )
    second = [x.to(device) for x in (row(0.0, 2.0), row(-1.0), torch.tensor([-0.8]), row(1.0, 1.0))]
    plastic_step(w, e, *second, **given)
    # e = (1.75, 0.5) - (0, 2); w = (0.9, 1) - 0.4 e = 0.2, 1.6 and so 1; y = 0.2 + 1
    assert e.flatten().tolist() == [1.75, -1.5] and w.flatten().tolist() == pytest.approx(
        [0.2, 1.0]
    )
    assert y.item() == pytest.approx(1.2)


def test_shared_weights_change_by_the_sum_over_their_rows_and_are_clamped_after_it(backend):
    # two rows: +3 and -2.5 of one weight at ½, which each alone would leave ±1 for
    device = device_of(backend)
    w, e = torch.tensor([[0.5]], device=device), torch.tensor([[[3.0]], [[2.5]]], device=device)
    x, m = torch.zeros(2, 1, device=device), torch.tensor([1.0, -1.0], device=device)
    y = plastic_step(
        w, e, x, x, m, x + 2, lr=1.0, decay=1.0, w_min=-1.0, w_max=1.0, backend=backend
    )
    assert w.item() == 1.0 and y.flatten().tolist() == [2.0, 2.0]


def test_rows_are_a_block_for_each_group(backend):
    given = draw((4, 2, 3), "groups")
    given["modulator"] = torch.zeros(4, 2)
    given["modulator"][2] = 1.0  # the third row of four is the first of the second block
    found = results(given, backend)
    assert torch.equal(found["w"][0], given["w"][0]) and not torch.equal(
        found["w"][1], given["w"][1]
    )


def test_a_group_does_what_its_block_does_alone(backend):
    together = draw((6, 5, 7), "groups")
    found = results(together, backend)
    for g in range(2):
        block = slice(3 * g, 3 * g + 3)
        of_rows = ("e", "x", "signal", "modulator", "x_next", "decay")
        alone = together | {name: together[name][block] for name in of_rows}
        expected = results(alone | {"w": together["w"][g]}, backend)
        torch.testing.assert_close(found["w"][g], expected["w"])
        torch.testing.assert_close(found["e"][block], expected["e"])
        torch.testing.assert_close(found["y"][block], expected["y"])


@pytest.mark.parametrize("each", [False, True])
def test_it_is_the_three_factor_rule(backend, each):
    torch.manual_seed(0)
    rule, T, device = ThreeFactor(tau_e=30.0, lr=0.2), 5, device_of(backend)
    w, state = torch.randn(3, 4, 6), rule.init(3, 4, 6)
    ours, e, decay = w.clone().to(device), state.e.clone().to(device), math.exp(-10.0 / 30.0)
    xs, signals, modulators = (
        torch.rand(T + 1, 3, 6),
        torch.randn(T, 3, 4),
        torch.randn(T, *((3, 4) if each else (3,))),
    )
    for t in range(T):
        state = rule.trace(state, w, Pre(xs[t]), Post(signals[t]), signals[t], dt=10.0)
        w = w + rule.delta(state, w, modulators[t])
        now = [x.to(device) for x in (xs[t], signals[t], modulators[t], xs[t + 1])]
        y = plastic_step(ours, e, *now, lr=rule.lr, decay=decay, backend=backend).cpu()
        torch.testing.assert_close(
            y, (w @ xs[t + 1].unsqueeze(-1)).squeeze(-1), rtol=1e-5, atol=1e-5
        )
    torch.testing.assert_close(ours.cpu(), w, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(e.cpu(), state.e, rtol=1e-5, atol=1e-5)


def test_rows_never_mix(backend):
    given = draw(SIZES[0])
    other = {k: v.clone() for k, v in given.items()}
    for name in ("w", "e", "x", "signal", "modulator", "x_next", "decay"):
        other[name][2] += 1.0
    ours, others = results(given, backend), results(other, backend)
    for name in ours:
        same = [torch.equal(a, b) for a, b in zip(ours[name], others[name], strict=True)]
        assert same == [True, True, False, True, True, True], name


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_modulator_of_zero_changes_no_weight_and_its_sign_turns_the_change(backend, weights):
    given = draw(SIZES[0], weights)
    changes = [
        results(given | {"modulator": sign * given["modulator"]}, backend)["w"] - given["w"]
        for sign in (0.0, 1.0, -1.0)
    ]
    assert changes[0].abs().sum() == 0 and changes[1].abs().sum() > 0
    torch.testing.assert_close(changes[1], -changes[2], rtol=1e-4, atol=1e-5)


def test_a_row_whose_episode_began_with_the_decision_has_nothing_else_eligible(backend):
    given = draw(SIZES[0])
    given["decay"] = torch.tensor([0.9, 0.0, 0.9, 0.9, 0.9, 0.9])
    found, going_on = results(given, backend), results(given | {"decay": 0.9}, backend)
    expected = given["signal"][1].unsqueeze(-1) * given["x"][1]
    torch.testing.assert_close(found["e"][1], expected)
    for name in ("w", "y"):
        same = [torch.equal(a, b) for a, b in zip(found[name], going_on[name], strict=True)]
        assert same == [True, False, True, True, True, True], name


@pytest.mark.parametrize("weights", ["own", "shared"])
def test_nan_is_not_hidden_by_the_bounds(backend, weights):
    given = draw(SIZES[0], weights)
    given["w"][..., 1, 2] = math.nan
    found = results(given, backend, w_min=-1.0, w_max=1.0)
    assert (
        found["w"].isnan().nonzero()[:, -2:].unique(dim=0).tolist() == [[1, 2]]
        and found["y"][:, 1].isnan().all()
    )
    assert found["y"].isnan().sum() == len(given["x"])


def test_strided_inputs_are_read_as_they_are(backend):
    batch, post, _ = SIZES[0]
    given = draw(SIZES[0]) | {
        "modulator": torch.randn(batch, 1).expand(batch, post),
        "lr": torch.rand(2 * post)[::2],
    }
    given |= {name: given[name].t().contiguous().t() for name in ("x", "signal", "x_next")}
    mine = {
        k: v.to(device_of(backend)) for k, v in given.items()
    }  # not cloned: that would lay some out anew
    w, e = mine["w"].clone(), mine["e"].clone()
    y = plastic_step(**mine | {"w": w, "e": e}, backend=backend)
    expected = results({k: v.contiguous() for k, v in given.items()}, "torch")
    for ours, name in ((w, "w"), (e, "e"), (y, "y")):
        torch.testing.assert_close(ours.cpu(), expected[name], rtol=1e-5, atol=1e-5)


def test_no_gradient_flows(backend):
    given = draw(SIZES[0])
    for name in ("w", "x", "modulator", "lr"):
        given[name].requires_grad_()
    mine = {k: v.to(device_of(backend)) for k, v in given.items()}
    assert not plastic_step(**mine, backend=backend).requires_grad


@pytest.mark.parametrize("weights", WEIGHTS)
def test_threads_share_the_work_and_change_no_bit(weights, monkeypatch):
    pytest.importorskip("numba")
    from bio_rl.kernels.numba import plastic as numba_plastic
    from bio_rl.kernels.numba import threads as workers

    monkeypatch.setattr(workers, "WORTH", 1)
    monkeypatch.setattr(numba_plastic, "WORTH", 100)  # parts of the sum over rows: as many as rows
    counts = []
    pool = workers.pool
    monkeypatch.setattr(workers, "pool", lambda count: counts.append(count) or pool(count))
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(results(draw((8, 5, 70), weights), "numba"))
    assert counts == [3] * (1 if weights == "own" else 2) and all(
        torch.equal(found[0][k], found[1][k]) for k in found[0]
    )
    reference = results(draw((8, 5, 70), weights), "torch")
    for name, expected in reference.items():
        torch.testing.assert_close(found[1][name], expected, rtol=1e-4, atol=1e-5)


def test_sizes_and_options_compile_no_loop_of_their_own():
    pytest.importorskip("numba")
    from bio_rl.kernels.numba import plastic as numba_plastic

    def signatures_after(size, weights, *options) -> int:
        results(draw(size, weights, *options), "numba", w_min=-1)
        return sum(
            len(loop.signatures)
            for loop in (numba_plastic._step_each, numba_plastic._sum_parts, numba_plastic._settle)
        )

    first = [signatures_after(SIZES[0], weights) for weights in WEIGHTS][-1]
    assert [
        signatures_after(size, w, *o) for size, w, o in itertools.product(SIZES, WEIGHTS, OPTIONS)
    ] == [first] * 96


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"e": torch.zeros(5, 7)}, r"e has shape \(5, 7\), expected \[B, post, pre\]"),
        ({"w": torch.zeros(4, 5, 7)}, r"w has shape \(4, 5, 7\), expected .* G a divisor of B = 6"),
        ({"w": torch.zeros(0, 5, 7)}, "G a divisor of B"),
        ({"w": torch.zeros(6, 7, 5)}, r"post, pre = \(5, 7\)"),
        ({"x": torch.zeros(6, 5)}, r"x has shape \(6, 5\), expected \(6, 7\)"),
        ({"x_next": torch.zeros(7)}, r"x_next has shape \(7,\), expected \(6, 7\)"),
        ({"signal": torch.zeros(6)}, r"signal has shape \(6,\), expected \(6, 5\)"),
        ({"modulator": torch.zeros(5)}, r"modulator has shape \(5,\), expected \(6,\)"),
        ({"modulator": torch.zeros(6, 1)}, r"modulator has shape \(6, 1\), expected \(6, 5\)"),
        ({"lr": torch.zeros(6)}, r"lr has shape \(6,\), expected \(5,\)"),
        ({"decay": torch.zeros(5)}, r"decay has shape \(5,\), expected \(6,\)"),
        ({"out": torch.zeros(6, 7)}, r"out has shape \(6, 7\), expected \(6, 5\)"),
        ({"e": torch.zeros(6, 7, 5).mT}, "e is not contiguous"),
        ({"w": torch.zeros(5, 7).expand(6, 5, 7)}, "w is not contiguous"),
        (
            {"x": torch.zeros(6, 7, dtype=torch.float64)},
            "x is of torch.float64 on cpu, but e of torch.float32",
        ),
        (
            {"lr": torch.zeros(5, device="meta")},
            "lr is of torch.float32 on meta, but e of torch.float32 on cpu",
        ),
        (
            {"backend": "cuda-magic"},
            f"no kernel backend called 'cuda-magic'; known: {', '.join(BACKENDS)}",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        plastic_step(**draw(SIZES[0]) | {"backend": "torch"} | changed)


def test_what_a_fused_step_does_not_run_on_is_refused(monkeypatch):
    double = {k: v.double() for k, v in draw(SIZES[0]).items()}
    for name in FUSED:
        with pytest.raises(ValueError, match=f"backend '{name}' got synapses of torch.float64"):
            results(double, needed(name))
    from bio_rl.kernels.triton import toolbox

    monkeypatch.setattr(toolbox, "INTERPRETED", False)
    with pytest.raises(ValueError, match="needs a CUDA device, or TRITON_INTERPRET=1"):
        plastic_step(**draw(SIZES[0]), backend="triton")


@pytest.mark.parametrize("weights", ["groups", "shared"])
def test_many_rows_are_summed_in_parts(weights, monkeypatch):
    needed("triton")
    from bio_rl.kernels.triton import plastic as triton_plastic

    monkeypatch.setattr(
        triton_plastic, "PROGRAMS", 6
    )  # 14 rows: parts of 3, 3, 3, 3, 2, or of 3, 3, 1 a group
    assert_agree(draw((14, 5, 7), weights), "triton")


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_here():
    needed("triton")
    command = [
        sys.executable,
        "-c",
        "from tests.brain import test_kernels_plastic; test_kernels_plastic.compile_all()",
    ]
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr


def compile_all() -> None:
    """Compile for compute capability 9.0 what `run` would launch there, and launch nothing."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    from bio_rl.kernels.triton import plastic as triton_plastic
    from bio_rl.kernels.triton import toolbox

    here = {"device": 0, "stream": 0, "target": GPUTarget("cuda", 90, 32)}
    driver.set_active(
        SimpleNamespace(**{f"get_current_{name}": lambda *_, x=x: x for name, x in here.items()})
    )
    kernels, texts = (triton_plastic.step_each, triton_plastic.sum_blocks), set()

    class Compiler:
        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, grid):
            return lambda *args, **kwargs: texts.add(
                self.kernel.warmup(*args, grid=grid, **kwargs).asm["ptx"]
            )

    triton_plastic.step_each, triton_plastic.sum_blocks = map(Compiler, kernels)
    toolbox.INTERPRETED = True  # the tensors are on the CPU
    for size, weights, options in itertools.product(
        [(6, 64, 64), (10, 64, 64)], ["own", "groups"], OPTIONS
    ):
        plastic_step(**draw(size, weights, *options), backend="triton")
    assert len(texts) == 16  # each kernel with each option, for any number of rows
    assert any("ld.global.v4" in text for text in texts)  # four numbers at a time
