"""Pictures of an episode with the spikes of its network beside them, scrolling in the world's time.

┌────────┬──────────────────┐
│        │ title and return │
│ world  ├──────────────────┤
│        │ layer 1   ·  ··· │  one column a tick, the newest at the right end
│        │ layer 2  · ·   · │
│        │ reward     ⁀⁀⁀⁀⁀ │
└────────┴──────────────────┘
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bio_rl.contracts import Probe

SECONDS = 8.0
"""Length of such a film, in the world's time; an episode may end before."""
FPS = 12.5
"""Pictures a second at most: one for every decision of a fast world would make a large file."""
SIDE = 336
"""Pixels of the world's picture across and down."""
STRIP = 480
"""Pixels of the spikes across."""
TICK = 3
"""Pixels of a tick across."""
TITLE = 26
"""Pixels down of the line of text."""
REWARD = 46
"""Pixels down of the reward's curve."""
PAPER = 255
GREY = (110, 110, 110)
COLOURS = ((31, 78, 121), (184, 74, 24), (46, 112, 62), (112, 62, 128))
"""Colours of the layers' spikes, in turn."""


class Scroll:
    """Puts together the pictures of a film, decision by decision: first `see`, then `hear`."""

    def __init__(self, title: str, fps: float, show: Callable[[np.ndarray], object]) -> None:
        """fps: decisions a second. show: takes each picture, uint8 [H, W, 3]."""
        self.title = title
        self.fps = fps
        self.every = decisions_per_picture(fps)
        self.neurons = 0
        self.show = show
        self.rewards: list[float] = []
        self.columns: list[np.ndarray] = []
        """The neurons [N] of all layers at each tick; see `columns`."""
        self.picture: np.ndarray | None = None

    def see(self, picture: np.ndarray) -> None:
        """Take the world's picture [H, W, 3] before a decision."""
        self.picture = picture

    def hear(self, probe: Probe, reward: float) -> None:
        """Take the spikes and the reward of the decision, and show the picture of its end.

        Raises ValueError for a network without spikes.
        """
        self.columns += list(columns(probe))
        self.neurons = sum(train.shape[1] for train in trains(probe))
        self.rewards.append(reward)
        if len(self.rewards) % self.every == 0 and self.picture is not None:
            self.show(self._whole(self.picture))

    def _whole(self, picture: np.ndarray) -> np.ndarray:
        """The picture of this moment."""
        canvas = Image.new("RGB", (SIDE + STRIP, SIDE), (PAPER, PAPER, PAPER))
        canvas.paste(fitted(picture), (0, 0))
        ticks_per_decision = len(self.columns) // len(self.rewards)
        seen = self.columns[-(STRIP // TICK) :]
        strip = raster(np.stack(seen, 1), SIDE - TITLE - REWARD)
        # The first ticks of a film stand at the right end too: what is left of them is paper.
        canvas.paste(strip, (SIDE + STRIP - strip.width, TITLE))
        pen = ImageDraw.Draw(canvas)
        font = ImageFont.load_default(13)
        said = f"{self.title}   return {sum(self.rewards):,.0f}"
        pen.text((SIDE + 8, 6), said, fill=(0, 0, 0), font=font)
        window = STRIP / TICK / ticks_per_decision / self.fps
        said = f"spikes of {self.neurons} neurons, last {window:.1f} s"
        pen.text((SIDE + STRIP - 8, 6), said, fill=GREY, font=font, anchor="ra")
        self._draw_reward(pen, ticks_per_decision)
        return np.asarray(canvas)

    def _draw_reward(self, pen: ImageDraw.ImageDraw, ticks: int) -> None:
        """The rewards of the decisions above, on a scale of their own."""
        shown = self.rewards[-(STRIP // (TICK * ticks)) :]
        # The scale is that of the whole film so far, so that the curve does not jump.
        low = min(0.0, *self.rewards)
        height = max(max(self.rewards) - low, 1e-9)
        bottom = SIDE - 6
        right = SIDE + STRIP
        points = [
            (
                right - (len(shown) - 1 - i) * ticks * TICK - 1,
                bottom - (reward - low) / height * (REWARD - 20),
            )
            for i, reward in enumerate(shown)
        ]
        pen.text((SIDE + 8, SIDE - REWARD), "reward", fill=GREY, font=ImageFont.load_default(11))
        if len(points) > 1:
            pen.line(points, fill=(0, 0, 0), width=2)


def columns(probe: Probe) -> np.ndarray:
    """[K, N] for the K ticks of a decision of the first row: at a spike its layer's number, from
    1; else 0; and -1 in a row between two layers. Raises ValueError where no layer spikes.
    """
    layers = trains(probe)
    if not layers:
        raise ValueError("the network has no spikes to show; train one with --network spiking")
    between = np.full((len(layers[0]), 1), -1, np.int8)
    rows = []
    for number, train in enumerate(layers, 1):
        # Only so many rows can be told apart: of more neurons every second, third, … is shown.
        step = math.ceil(train.shape[1] * len(layers) / (SIDE - TITLE - REWARD))
        rows += [train[:, ::step].astype(np.int8) * number, between]
    return np.concatenate(rows[:-1], 1)


def trains(probe: Probe) -> list[np.ndarray]:
    """The spikes of each layer in the last decision of the first row, bool [K, N]."""
    return [
        records[-1][:, 0].cpu().numpy() != 0
        for name, records in probe.records.items()
        if name.startswith("spikes/")
    ]


def decisions_per_picture(fps: float) -> int:
    """How many decisions of a world with so many a second are one picture."""
    return max(1, round(fps / FPS))


def raster(codes: np.ndarray, height: int) -> Image.Image:
    """A picture of spikes, `columns` side by side [N, T], of at most `height` pixels down."""
    palette = np.array([(PAPER,) * 3, *COLOURS], np.uint8)
    layers = len(COLOURS)
    # 0 is paper, 1 to 4 are layers, and further layers take the same colours again.
    index = np.where(codes > 0, (codes - 1) % layers + 1, 0)
    pixels = palette[index]
    pixels[codes < 0] = (225, 225, 225)
    down = max(1, height // len(codes))
    image = Image.fromarray(np.repeat(np.repeat(pixels, down, 0), TICK, 1))
    return image.crop((0, 0, image.width, min(image.height, height)))


def fitted(picture: np.ndarray) -> Image.Image:
    """A world's picture as large as a square of `SIDE` pixels holds, with paper around it."""
    image = Image.fromarray(picture)
    scale = SIDE / max(image.size)
    small = image.resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
    )
    square = Image.new("RGB", (SIDE, SIDE), (PAPER, PAPER, PAPER))
    square.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    return square
