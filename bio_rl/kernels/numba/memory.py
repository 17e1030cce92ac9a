"""The memory of tensors inside compiled loops: tensors are handed over by address.

An address costs a tenth of the time of a NumPy view, and a small layer costs its Python, not its
neurons. It is None for what a neuron does not have, so that Numba compiles its loop without that,
and 0 for a tensor that is not there. Whoever gives an address away holds on to the tensor until the
loop is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import intrinsic, overload
from numba.np.numpy_support import carray
from torch import Tensor

from bio_rl.kernels.numba.compile import loop

# ---------------------------------- in Python


def address(x: Tensor | None) -> int:
    """The address of a contiguous tensor's numbers; 0 for none."""
    if x is None:
        return 0
    return x.data_ptr()


def check(what: str, tensors: Iterable[Tensor], dtype: torch.dtype = torch.float32) -> None:
    """Raise ValueError unless loops can read all tensors."""
    for x in tensors:
        if x.dtype is not dtype or not x.is_cpu:
            kind = f"{x.dtype} on {x.device}"
            raise ValueError(f"backend 'numba' got {what} of {kind}; known: {dtype} on cpu")


# ---------------------------------- in compiled loops


def _pointer_to(kind: Any) -> Any:
    """A function of loops that makes an address a pointer to numbers of a kind."""

    @intrinsic
    def pointer(typingctx, address):
        def codegen(context, builder, signature, args):
            kind = context.get_value_type(signature.return_type)
            return builder.inttoptr(args[0], kind)

        return types.CPointer(kind)(types.int64), codegen

    return pointer


_floats_at = _pointer_to(types.float32)
_bytes_at = _pointer_to(types.uint8)


def part(address, start, size):
    """float32 numbers start to start + size of the array at an address; None of None."""
    raise AssertionError("only inside a compiled loop")


@overload(part)
def _part(address, start, size):
    if isinstance(address, types.NoneType):
        return lambda address, start, size: None

    def numbers(address, start, size):
        # A number has four bytes.
        offset = 4 * start
        first = np.int64(address + offset)
        return carray(_floats_at(first), (size,))

    return numbers


@loop
def bits(address, start, size):
    """Bools start to start + size of the array at an address, as bytes."""
    first = np.int64(address + start)
    return carray(_bytes_at(first), (size,))


def unless_none(address, x):
    """x; None where the address is None."""
    raise AssertionError("only inside a compiled loop")


@overload(unless_none)
def _unless_none(address, x):
    if isinstance(address, types.NoneType):
        return lambda address, x: None
    return lambda address, x: x


@loop
def load(address, start, to):
    """Fill `to` [M], if there is one, with the numbers from `start` on of the array at an address;
    zeros for the address 0.
    """
    if to is not None:
        if address == 0:
            to[:] = np.float32(0.0)
        else:
            to[:] = part(address, start, len(to))


@loop
def store(address, start, x):
    """Write x [M], if there is one, from `start` on to the array at an address; nowhere for the
    address 0.
    """
    # A test of its own, so that Numba drops what follows where there is none.
    if x is not None:  # noqa: SIM102
        if address != 0:
            part(address, start, len(x))[:] = x


@loop
def number(address, index, otherwise):
    """Number `index` of the array at an address; `otherwise` for the address 0."""
    if address == 0:
        return np.float32(otherwise)
    return part(address, index, 1)[0]


@loop
def clear(x, n, starts, value):
    """Set the rows of x [B·N], if there is one, where starts [B] is set."""
    if x is not None:
        for b in range(len(starts)):
            # Few rows begin an episode at any one time.
            if starts[b]:
                x[b * n : (b + 1) * n] = value
