"""The choice of a backend: by kernel, device and dtype, said once and never in silence."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
import torch

from bio_rl.kernels import backends
from bio_rl.kernels.backends import FORMS, form, pick
from bio_rl.neurons.lif import LIF
from bio_rl.surrogates import SURROGATES

SINGLE = torch.zeros(3)


@pytest.fixture
def nothing_said_yet() -> Iterator[None]:
    backends.default.cache_clear()
    backends.of_device.cache_clear()
    yield
    backends.default.cache_clear()
    backends.of_device.cache_clear()


@pytest.mark.parametrize("kernel", FORMS)
def test_the_cpu_takes_numba_for_every_kernel_and_says_so_once(kernel, nothing_said_yet, capsys):
    pytest.importorskip("numba")
    assert [pick(kernel, SINGLE), pick(kernel, SINGLE)] == ["numba", "numba"]
    assert capsys.readouterr().err.splitlines() == ["neuron kernels on cpu: numba"]


def test_a_dtype_without_a_form_takes_the_reference_and_it_is_said_once(nothing_said_yet, capsys):
    pytest.importorskip("numba")
    double = SINGLE.double()
    assert [pick("td", double), pick("td", double), pick("td", SINGLE)] == [
        "torch",
        "torch",
        "numba",
    ]
    first, second = capsys.readouterr().err.splitlines()
    assert first == "neuron kernels on cpu: numba"
    assert second.startswith("kernel td on cpu for torch.float64: torch, the reference (numba")
    assert "torch.float32" in second


def test_a_kernel_that_the_devices_backend_has_not_takes_the_reference(
    nothing_said_yet, capsys, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert backends.default("plastic", "cuda", torch.float32) == "triton"
    assert backends.default("plastic", "cuda", torch.bfloat16) == "torch"
    assert backends.default("unroll", "cuda", torch.bfloat16) == "triton"
    assert backends.default("eprop", "cuda", torch.float32) == "torch"
    assert "kernel eprop on cuda" in capsys.readouterr().err.splitlines()[-1]


def test_a_missing_package_is_said_once_with_its_remedy(nothing_said_yet, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [pick(kernel, SINGLE) for kernel in FORMS] == ["torch"] * len(FORMS)
    (line,) = capsys.readouterr().err.splitlines()
    assert "torch, the slower reference" in line and "pip install numba" in line


def test_other_devices_take_the_reference(nothing_said_yet):
    assert pick("unroll", SINGLE.to("meta")) == "torch"


def test_no_numbers_and_function_transforms_take_the_reference():
    assert pick("unroll", torch.zeros(0, 3)) == "torch"
    chosen = []
    torch.func.vmap(lambda x: chosen.append(pick("unroll", x)) or x)(torch.zeros(2, 3))
    assert chosen == ["torch"]


@pytest.mark.parametrize("kernel", FORMS)
def test_a_backend_that_is_asked_for_is_taken_or_refused_by_name(kernel):
    for name in backends.BACKENDS:
        if name == "torch" or name in FORMS[kernel]:
            assert pick(kernel, SINGLE, name) == name
        else:
            with pytest.raises(ValueError, match=f"{kernel}.*no form for backend '{name}'.*torch"):
                pick(kernel, SINGLE, name)
    with pytest.raises(ValueError, match="no kernel backend called 'jax'; known: torch"):
        pick(kernel, SINGLE, "jax")


def test_every_form_is_a_module_that_runs():
    for kernel, dtypes in FORMS.items():
        for name in dtypes:
            pytest.importorskip(name)
            if (kernel, name) != ("cells", "triton"):  # whose time loop alone is fused
                assert callable(form(kernel, name).run)


def test_numba_knows_every_surrogate_by_its_name():
    pytest.importorskip("numba")
    from bio_rl.kernels.numba import surrogates

    assert surrogates.TABLE.keys() == SURROGATES.keys()
    assert [surrogates.place(name) for name in surrogates.TABLE] == list(range(len(SURROGATES)))


def test_a_surrogate_that_triton_does_not_know_is_not_taken_for_another():
    pytest.importorskip("triton")
    from bio_rl.kernels.triton import toolbox
    from bio_rl.kernels.unroll import unroll

    if not toolbox.INTERPRETED and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, or Triton's interpreter")
    device = torch.device("cpu" if toolbox.INTERPRETED else "cuda")

    class Strange(LIF):
        def core(self, dt):
            return super().core(dt)._replace(surrogate="strange")

    p = Strange()
    drive = torch.ones(1, 1, 3, device=device, requires_grad=True)
    reset = torch.zeros(1, 1, dtype=torch.bool, device=device)
    out, _ = unroll(p, p.init(1, 3, device), drive, reset, ticks=1, backend="triton")
    with pytest.raises(Exception, match="do not know"):
        out.sum().backward()


def test_a_compiled_loop_is_no_longer_valid_when_a_file_that_it_may_call_has_changed(monkeypatch):
    pytest.importorskip("numba")
    from bio_rl.kernels.numba import compile as compilation
    from bio_rl.kernels.numba import td

    one = torch.zeros(1)
    flag = one.bool()
    td.run((one, one, one), (flag, flag, flag, flag), 0.9, 0.8)
    loop = td._errors
    codegen = loop.targetctx.codegen()
    key = loop._cache._index_key(loop.signatures[0], codegen)
    assert key == loop._cache._index_key(loop.signatures[0], codegen)
    monkeypatch.setattr(compilation, "sources", lambda: "of another day")
    assert key != loop._cache._index_key(loop.signatures[0], codegen)
