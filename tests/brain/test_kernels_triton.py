"""The Triton time loop against the torch reference, without a GPU in Triton's interpreter; and that
it compiles for one.
"""

import itertools
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from bio_rl.bench import __main__ as cli
from bio_rl.bench import _gpu_parity as parity
from bio_rl.bench import gpu
from bio_rl.kernels.unroll import unroll
from bio_rl.neurons.lif import LIF
from bio_rl.state import tree_map
from bio_rl.surrogates import SURROGATES

pytest.importorskip("triton")
from bio_rl.kernels.triton import loops, toolbox
from bio_rl.kernels.triton import unroll as triton_unroll

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NEURONS = list(parity.neurons(1))
TICKS = 3
SHAPES = list(itertools.product([0.0, None], [1, TICKS], [None, 0.6]))  # reset, hold, readout
on_gpu = [pytest.mark.gpu, pytest.mark.skipif(DEVICE.type == "cpu", reason="needs a CUDA device")]


def cases():
    """Every neuron x surrogate x shape; slow beyond a subset that meets every neuron with each
    shape and each surrogate.
    """
    for (i, name), (j, shape), (k, surrogate) in itertools.product(
        enumerate(NEURONS), enumerate(SHAPES), enumerate(SURROGATES)
    ):
        yield pytest.param(
            name,
            surrogate,
            *shape,
            marks=() if (i + j) % len(SURROGATES) == k else pytest.mark.slow,
        )


def agree(name, surrogate, v_reset, hold, readout, **sizes):
    p = parity.neurons(sizes.get("n", 33))[name]._replace(surrogate=surrogate, v_reset=v_reset)
    found = parity.errors(p, hold, readout, device=DEVICE, ticks=TICKS, **sizes)
    assert found["out"] == 0.0 if readout is None else found["out"] <= 1e-6
    assert found["state"] <= 1e-5 and found["grad"] <= 1e-5
    if "grad_w" in found:
        assert found["grad_w"] <= (1e-4 if name == "plif" else 1e-5)


@pytest.mark.parametrize(("name", "surrogate", "v_reset", "hold", "readout"), list(cases()))
def test_spikes_states_and_gradients_are_the_references(name, surrogate, v_reset, hold, readout):
    agree(name, surrogate, v_reset, hold, readout)


@pytest.mark.parametrize("name", ["lif", "plif", "plif_each"])
def test_neurons_beyond_the_first_block_agree_too(name):
    agree(name, "atan", 0.0, 1, None, batch=9, n=61)  # 549 neurons, three programs of 256


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NEURONS)
def test_half_precision_goes_in_and_out_and_the_state_stays_single(name, dtype):
    p = parity.neurons(33)[name]
    found = parity.errors(p, 1, None, device=DEVICE, dtype=dtype, ticks=TICKS)
    assert found["out"] == 0.0 and found["state"] <= 1e-5
    assert (
        found["grad"] <= 0.02 and found.get("grad_w", 0.0) <= 0.02
    )  # x and the drive's gradient keep 8 or 11 bits
    given = parity.draw(p, 1, None, 2, TICKS, 5, 33)
    drive = given.drive.to(DEVICE, dtype)
    state = tree_map(lambda x: x.to(DEVICE), given.state)
    p = p._replace(w=p.w.to(DEVICE)) if hasattr(p, "w") else p
    out, state = unroll(p, state, drive, given.reset[:2].to(DEVICE), ticks=TICKS, backend="triton")
    assert out.dtype == dtype and state.v.dtype == torch.float32


def one(p, v, drive=0.0, dtype=torch.float16):
    """(dv/dv0, dv/ddrive) of one neuron and one tick."""
    v0 = torch.full((1, 1), v, device=DEVICE, requires_grad=True)
    drive = torch.full((1, 1, 1), drive, dtype=dtype, device=DEVICE, requires_grad=True)
    state = p.init(1, 1, DEVICE)._replace(v=v0)
    _, state = unroll(
        p,
        state,
        drive,
        torch.zeros(1, 1, dtype=torch.bool, device=DEVICE),
        ticks=1,
        backend="triton",
    )
    return [g.item() for g in torch.autograd.grad(state.v.sum(), (v0, drive))]


def test_a_tiny_negative_distance_stays_negative_in_half_precision():
    # x = -1e-9 rounds to -0 in float16, which would read as a spike: the reset would cut the
    # gradient
    assert one(LIF(v_threshold=1e-9, surrogate="triangle"), v=0.0)[0] == pytest.approx(
        0.6065, abs=1e-4
    )  # e^{-1/2}


def test_a_huge_negative_distance_is_not_taken_for_a_refractory_neuron():
    # x = -6e5 is -inf in float16, which says held: the drive would get no gradient
    grads = one(LIF(tau_refractory=2.0), v=-1e6)
    assert grads == [pytest.approx(0.6065, abs=1e-3), pytest.approx(0.3935, abs=1e-3)]


@pytest.mark.parametrize("needs_grad", [True, False])
def test_x_is_kept_only_where_a_gradient_is_wanted(needs_grad, monkeypatch):
    seen, forward = {}, loops.forward

    class Spy:
        def __getitem__(self, grid):
            return lambda *args, **kwargs: (seen.update(kwargs), forward[grid](*args, **kwargs))

    monkeypatch.setattr(loops, "forward", Spy())
    p, drive = LIF(), torch.ones(2, 1, 3, device=DEVICE, requires_grad=needs_grad)
    reset = torch.zeros(1, 1, dtype=torch.bool, device=DEVICE)
    out, _ = unroll(p, p.init(1, 3, DEVICE), drive, reset, ticks=2, backend="triton")
    assert seen["SAVE"] is needs_grad and out.requires_grad is needs_grad


def test_strided_inputs_are_read_as_they_are():
    p, steps = LIF(), 4
    drive = 2 * torch.randn(7, 5, steps, device=DEVICE).permute(2, 1, 0)
    reset = torch.zeros(5, steps, dtype=torch.bool, device=DEVICE).t()
    ours, reference = (
        unroll(p, p.init(5, 7, DEVICE), drive, reset, ticks=1, backend=name)[0]
        for name in ("triton", "torch")
    )
    assert torch.equal(ours, reference) and ours.sum() > 0


def test_a_cpu_tensor_outside_the_interpreter_is_refused(monkeypatch):
    monkeypatch.setattr(toolbox, "INTERPRETED", False)
    p = LIF()
    with pytest.raises(ValueError, match="needs a CUDA device, or TRITON_INTERPRET=1"):
        unroll(
            p,
            p.init(1, 1),
            torch.zeros(1, 1, 1),
            torch.zeros(1, 1, dtype=torch.bool),
            ticks=1,
            backend="triton",
        )


def test_what_the_kernels_do_not_run_is_refused():
    reset = torch.zeros(1, 1, dtype=torch.bool, device=DEVICE)
    drive = torch.zeros(1, 1, 1, dtype=torch.float64, device=DEVICE)
    with pytest.raises(ValueError, match="got a drive of torch"):
        unroll(LIF(), LIF().init(1, 1, DEVICE), drive, reset, ticks=1, backend="triton")


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_here_and_once_for_all_numbers_of_ticks():
    command = [
        sys.executable,
        "-c",
        "from tests.brain import test_kernels_triton; test_kernels_triton.compile_all()",
    ]
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr


def compile_all():
    """Bind and compile for compute capability 9.0 what `run` would launch there, and launch
    nothing.
    """
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    here = {"device": 0, "stream": 0, "target": GPUTarget("cuda", 90, 32)}
    driver.set_active(
        SimpleNamespace(**{f"get_current_{name}": lambda *_, x=x: x for name, x in here.items()})
    )
    kernels, texts = (loops.forward, loops.backward), set()

    class Compiler:
        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, grid):
            return lambda *args, **kwargs: texts.add(
                self.kernel.warmup(*args, grid=grid, **kwargs).asm["ptx"]
            )

    loops.forward, loops.backward = map(Compiler, kernels)
    toolbox.INTERPRETED = True  # the tensors are on the CPU
    for name, half in itertools.product(NEURONS, [False, True]):
        p = parity.neurons(33)[name]._replace(v_reset=None if half else 0.0)
        counts = []
        for decisions, ticks in [(3, 4), (1, 16), (16, 2), (7, 5)]:
            hold, readout = (ticks, 0.6) if half else (1, None)
            given = parity.draw(p, hold, readout, decisions, ticks, 5, 33)
            given = given._replace(drive=given.drive.bfloat16()) if half else given
            parity.outcome(p, given, ticks, hold, readout, "triton")
            counts.append(variants(kernels))
        assert len(set(counts)) == 1, (name, counts)
    parity.outcome(
        LIF(), parity.draw(LIF(), 1, None, 1, 1, 1, 1), 1, 1, None, "triton"
    )  # one neuron: Triton makes M a constant
    assert len(texts) == variants(kernels) == 22
    assert not any(
        "fma" in text for text in texts
    )  # it would round once where the reference rounds twice


def variants(kernels):
    """How many compiled forms there are."""
    return sum(len(caches[0]) for kernel in kernels for caches in kernel.device_caches.values())


class TestOnAGPU:
    pytestmark = on_gpu

    @pytest.mark.parametrize(("name", "surrogate"), list(itertools.product(NEURONS, SURROGATES)))
    def test_every_neuron_and_surrogate_agrees(self, name, surrogate):
        for shape in SHAPES:
            agree(name, surrogate, *shape, batch=16)

    @pytest.mark.parametrize(
        "surrogate", [s for s in SURROGATES if s != "rectangle"]
    )  # it jumps where x rounds past its border
    @pytest.mark.parametrize("name", NEURONS)
    def test_bf16_agrees_within_its_precision(self, name, surrogate):
        p = parity.neurons(33)[name]._replace(surrogate=surrogate)
        found = parity.errors(p, 1, None, device=DEVICE, dtype=torch.bfloat16, ticks=TICKS)
        assert found["out"] == 0.0 and found["state"] <= 1e-5 and found["grad"] <= 0.02

    def test_many_neurons_take_the_wide_block(self):
        p, n = LIF(), triton_unroll.MANY // 512 + 16
        given = parity.draw(p, 1, None, 2, 2, 512, n)
        given = tree_map(lambda x: x.to(DEVICE), given)
        ours, reference = (
            parity.outcome(p, given, 2, 1, None, name) for name in ("triton", "torch")
        )
        assert torch.equal(ours["out"][0], reference["out"][0])
        torch.testing.assert_close(ours["grad"], reference["grad"], rtol=1e-5, atol=1e-5)

    def test_another_number_of_ticks_compiles_nothing(self):
        def step(decisions, ticks):
            drive = torch.randn(decisions * ticks, 4, 8, device=DEVICE, requires_grad=True)
            reset = torch.zeros(decisions, 4, dtype=torch.bool, device=DEVICE)
            out, _ = unroll(
                LIF(), LIF().init(4, 8, DEVICE), drive, reset, ticks=ticks, backend="triton"
            )
            out.sum().backward()
            return variants((loops.forward, loops.backward))

        before = step(3, 4)
        assert (
            before > 0
            and [step(d, k) for d, k in [(1, 1), (1, 16), (16, 1), (7, 5)]] == [before] * 4
        )


def test_the_bench_without_a_gpu_says_so_and_keeps_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cli.main(["gpu", "--out", str(tmp_path / "gpu.json")])
    assert "sees no CUDA device: nothing was measured" in capsys.readouterr().out
    assert not (tmp_path / "gpu.json").exists()


def test_a_part_of_the_bench_that_fails_does_not_cost_the_others(capsys):
    found = gpu.in_time({"a": lambda: 1 / 0, "b": lambda: {"ms": 1.0}}, seconds=60.0)
    assert found == {"a": {"error": "ZeroDivisionError: division by zero"}, "b": {"ms": 1.0}}
    assert gpu.in_time({"b": lambda: {"ms": 1.0}}, seconds=-1.0) == {
        "b": {"error": "not begun within -1 s"}
    }
