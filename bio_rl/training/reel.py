"""Pictures kept on disk instead of in memory: a film that is shown as often as one likes."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

FAST = 1
"""Level of compression: lossless, at several hundred pictures a second."""


class _Place(NamedTuple):
    """Where a picture lies in the file, and its form."""

    offset: int
    size: int
    shape: tuple[int, ...]
    dtype: np.dtype


class Reel:
    """A sequence of arrays in a temporary file, which goes when this goes; in memory are about 200
    bytes of each.

    They are the arrays that were appended, to the last bit. `len`, iteration and an index work as
    in a list; each access reads the array anew.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as this object)
        self._places: list[_Place] = []

    def append(self, picture: np.ndarray) -> None:
        """Keep a picture of any form."""
        packed = zlib.compress(picture.tobytes(), FAST)
        # At the end, wherever somebody has read meanwhile.
        offset = self._file.seek(0, 2)
        self._file.write(packed)
        self._places.append(_Place(offset, len(packed), picture.shape, picture.dtype))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: int) -> np.ndarray:
        """Picture i, a fresh array; negative numbers count from the end."""
        place = self._places[i]
        self._file.seek(place.offset)
        # A bytearray, so that the picture may be written on.
        data = bytearray(zlib.decompress(self._file.read(place.size)))
        return np.frombuffer(data, place.dtype).reshape(place.shape)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))
