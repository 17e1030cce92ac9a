"""A greedy episode as a film."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bio_rl import vector
from bio_rl.faults import FaultyEnvironmentError
from bio_rl.training.evaluation import FILMED, filmed
from bio_rl.vector.rendering import choose_gl
from bio_rl.viz import spike_film

# a palette for each picture
PALETTES = "split[a][b]; [a]palettegen=stats_mode=single[p]; [b][p]paletteuse=new=1"
ENDINGS: dict[str, dict[str, Any]] = {
    ".mp4": {"macro_block_size": 2},
    ".gif": {
        "codec": "gif",
        "pix_fmt_out": "pal8",
        "macro_block_size": 1,
        "quality": None,
        "output_params": ["-filter_complex", PALETTES],
    },
}
"""Settings of the encoder, by the film's ending."""


def film(trained: Any, path: Path, seed: int, with_spikes: bool = False) -> tuple[Path, float]:
    """Write one greedy episode of a `training.Trained` to `path`; returns the path and the return.

    path: ends in .mp4 or .gif. with_spikes: show the first seconds only, with the spikes of the
    network beside the world (`spike_film`). Each picture goes to the encoder as soon as it is
    drawn. `path` is there, or changes, only when the film is complete. An episode without end is
    cut after `evaluation.FILMED` decisions, which is said. Raises ValueError where the environment
    cannot draw itself, the network has no spikes to show, or the extra `video` is missing.
    """
    encoder = _encoder()
    if path.suffix not in ENDINGS:
        raise ValueError(f"--video is {path}, expected a file that ends in .mp4 or .gif")
    run = trained.experiment.run
    env_id = run.env
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        choose_gl()
        env = vector.make(env_id, 1, render_mode="rgb_array", perturb=run.perturb, **run.env_kwargs)
        fps = env.env.metadata.get("render_fps", 30)
        every = spike_film.decisions_per_picture(fps) if with_spikes else 1
        with (
            closing(env),
            _whole(path) as unfinished,
            closing(_Film(encoder, unfinished, fps / every)) as pictures,
        ):
            if with_spikes:
                scroll = spike_film.Scroll(env_id, fps, pictures.append)
                most = round(spike_film.SECONDS * fps)
                played = filmed(trained.agent, env, seed, scroll.see, scroll.hear, most)
            else:
                played = filmed(trained.agent, env, seed, pictures.append)
    # A fault of the world is no fault of its pictures, and says so itself.
    except FaultyEnvironmentError:
        raise
    except OSError as error:
        raise ValueError(f"the film {path} cannot be written: {error}") from error
    except Exception as error:
        raise ValueError(f"{env_id} cannot draw itself here: {error}") from error
    if not played.ended and not with_spikes:
        print(f"the film shows the first {FILMED:,} decisions: the episode had not ended by then")
    return path, played.total


def _encoder() -> ModuleType:
    """The package that writes films. Raises ValueError where it is missing."""
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ValueError("films need the extra `video`: pip install 'bio-rl[video]'") from error
    return imageio_ffmpeg


class _Film:
    """A film that grows by a picture at a time.

    ffmpeg runs beside, and holds no more than a few of them.
    """

    def __init__(self, encoder: ModuleType, path: Path, fps: float) -> None:
        self._encoder = encoder
        self._path = path
        self._fps = fps
        # begun with the first picture, which says how large they are
        self._writer: Any = None

    def append(self, picture: np.ndarray) -> None:
        """Add a picture, uint8 [H, W, 3]; all have the size of the first."""
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(
                f"its render() drew {picture.dtype} {list(picture.shape)}, "
                "expected a picture, uint8 [height, width, 3]"
            )
        if self._writer is None:
            height, width, _ = picture.shape
            # ffmpeg would warn of every picture with fewer colours than a palette has.
            quiet = {"ffmpeg_log_level": "error"}
            settings = {"fps": self._fps, **quiet, **ENDINGS[self._path.suffix]}
            size = (width, height)
            self._writer = self._encoder.write_frames(str(self._path), size, **settings)
            # starts ffmpeg
            self._writer.send(None)
        self._writer.send(np.ascontiguousarray(picture))

    def close(self) -> None:
        """Write the end."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place when all went well.

    It is removed when not.
    """
    # hidden, and with the same suffix, by which ffmpeg chooses the format
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
