"""`python -m bio_rl.viz.worldbook [FILE]` writes docs/worlds.md: a row for every `bio_rl/` id.

Each row has a picture and a line. The text depends on the registered worlds and
docs/results/presets.json alone; `--text` leaves the pictures as they are.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from bio_rl.vector.rendering import choose_gl
from bio_rl.viz import strip
from bio_rl.viz.worlds import World, figure, worlds

PAGE = Path("docs/worlds.md")
STEPS = 30
"""Random steps before the picture is taken."""
WIDTH = 360
"""Pixels across at most: those of a strip, which is shown as large as it is."""
FRAME = 240
"""Pixels across, and down, that a frame has at most, which is shown smaller."""
SHOWN = 160
"""Width at which a frame is shown."""
CROPS = {
    "CartPole-v1": (0.2, 0.3, 0.8, 0.9),
    "MaskedCartPole-v0": (0.2, 0.3, 0.8, 0.9),
    "Pendulum-v1": (0.2, 0.2, 0.8, 0.8),
    "InvertedDoublePendulum-v5": (0.25, 0.25, 0.75, 0.75),
    "Pusher-v5": (0.15, 0.15, 0.85, 0.85),
    "Reacher-v5": (0.1, 0.25, 0.9, 0.95),
}
"""Shares of a frame, left, top, right and bottom, within which there is something to see."""
HEIGHT = 60
"""Pixels down at least: the rows of a flat raster are repeated."""
BYTES = 20_000
"""Size of a picture at most."""
COLOURS = (128, 64, 32, 16, 8)
"""Numbers of colours that a picture may have; the largest that fits into BYTES is taken."""
HEAD = """# The worlds

Every `bio_rl/` id, by family. All are natively vectorised: `gymnasium.make_vec(id, n)` steps n of \
them as one batch, and
`gymnasium.make(id)` gives one of them. Scores are undiscounted returns of an episode: of random \
actions, of an expert (the best
known learner or script), or of the ideal (the optimum, or an ideal observer's mean); 0 and 1 of \
the normalised score.
A picture is a world after 30 random steps; of a task without a place it is what its ideal \
observer sees, does and earns in 60 steps.
This page is written by `python -m bio_rl.viz.worldbook`; `python train.py list envs` prints the \
same in a terminal.
"""
REACHED = """## What PPO reaches with its presets

The greedy return of the last weights over 20 episodes, by seed, and its place between random (0) \
and expert or ideal (1). Each
row is `python -m bio_rl.bench learning --env ID --network NETWORK --seeds 0 1 2` \
([presets.json](results/presets.json)).
"""
REACHED_HEAD = """\
| id | network | env steps | seconds (longest) | returns by seed | normalised (least) |
|---|---|---:|---:|---|---:|"""
COLUMNS = ("", "id", "observation", "action", "steps", "random", "expert", "ideal")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page and its pictures."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    path = next((Path(a) for a in arguments if not a.startswith("-")), PAGE)
    ours = worlds()
    pictures = folder(path)
    pictures.mkdir(parents=True, exist_ok=True)
    if "--text" not in arguments:
        for world in ours:
            draw(world, pictures)
    path.write_text(text(ours, pictures), encoding="utf-8")
    print(f"wrote {path}: {len(ours)} ids, {len(list(pictures.glob('*.png')))} pictures")


# The text


def folder(page: Path) -> Path:
    """The folder in which the pictures of a page lie."""
    return page.parent / "pictures" / "worlds"


def text(ours: Sequence[World], pictures: Path) -> str:
    """The page. pictures: the folder whose files are shown, beside the page at pictures/worlds/."""
    lines = [HEAD]
    # a dict keeps the order in which the families were met
    for family in dict.fromkeys(world.family for world in ours):
        lines.append(f"## {family}\n")
        lines.append(cells_line(COLUMNS))
        lines.append("|" + "|".join(["---", "---", *["---:"] * 6]) + "|")
        for world in ours:
            if world.family == family:
                lines.append(row(world, shown_width(pictures / f"{world.name}.png")))
        lines.append("")
    presets = pictures.parents[1] / "results" / "presets.json"
    return "\n".join([*lines, *reached(presets)])


def cells_line(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def shown_width(path: Path) -> int:
    """The width at which a picture is shown: a strip's own, whose letters are to be read; 0 where
    there is no picture.
    """
    if not path.is_file():
        return 0
    # a PNG says its width and its height in these bytes of its head
    head = path.read_bytes()[16:24]
    width = int.from_bytes(head[:4], "big")
    height = int.from_bytes(head[4:], "big")
    # a tall frame is no larger than a wide one
    return width if width > FRAME else round(SHOWN * width / max(width, height))


def row(world: World, width: int) -> str:
    """The row of one id, with a picture of this width, 0 for none; a line break in a cell is
    HTML's.
    """
    picture = ""
    if width:
        size = f'width="{width}" alt="{world.name}"'
        picture = f'<img src="pictures/worlds/{world.name}.png" {size}>'
    line = f"cannot be made here: {world.fault}" if world.fault else world.line
    cells = (
        picture,
        f"**{world.name}**<br>{line}",
        world.observation,
        world.action,
        str(world.steps or ""),
        *(world.score(key) for key in ("random", "expert", "ideal")),
    )
    # a bar would end its cell
    return cells_line([cell.replace("|", "\\|") for cell in cells])


def reached(results: Path) -> list[str]:
    """Lines about learning in our worlds, from a file of `bench learning` where there is one."""
    if not results.is_file():
        return []
    lines = [REACHED, REACHED_HEAD]
    cases = json.loads(results.read_text(encoding="utf-8"))["results"]
    for case, figures in cases.items():
        env, _, network = case.rsplit("/", 2)
        returns = ", ".join(figure(record["mean"]) for record in figures["seeds"].values())
        cells = (
            env,
            network,
            f"{figures['steps']:,}",
            f"{figures['seconds_max']:.0f}",
            returns,
            f"{figures['normalised_mean']:.2f} ({figures['normalised_min']:.2f})",
        )
        lines.append(cells_line(cells))
    return [*lines, ""]


# The pictures


def draw(world: World, pictures: Path) -> None:
    """Write the picture of a world; where it lacks one, or an extra is missing, that is said."""
    path = pictures / f"{world.name}.png"
    path.unlink(missing_ok=True)
    try:
        if strip.is_trial_world(world.id):
            from PIL import Image

            path.write_bytes(small(Image.fromarray(strip.pixels(world.id))))
        else:
            path.write_bytes(png(frame(world.id), world.name))
    except Exception as error:
        print(f"{world.id} has no picture: {type(error).__name__}: {error}")


def frame(env_id: str) -> np.ndarray:
    """The picture [H, W, 3] after `STEPS` random steps from seed 0, over the ends of episodes."""
    choose_gl()
    env = gym.make(env_id, render_mode="rgb_array")
    try:
        env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(STEPS):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        # Any: render() of a world with another mode returns other things
        picture: Any = env.render()
        return np.asarray(picture)
    finally:
        env.close()


def png(pixels: np.ndarray, name: str = "") -> bytes:
    """A small PNG of pixels uint8 [H, W, 3]: `FRAME` wide and high and `BYTES` large at most.

    name: of the world, where its frames have margins to cut off.
    """
    from PIL import Image  # the extras `video` and `plots` bring it

    image = Image.fromarray(pixels)
    left, top, right, bottom = CROPS.get(name, (0.0, 0.0, 1.0, 1.0))
    w, h = image.size
    image = image.crop((round(left * w), round(top * h), round(right * w), round(bottom * h)))
    scale = FRAME / max(image.size)
    # pixel art grows by whole numbers, so that its cells stay squares
    method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    scale = scale if scale < 1 else int(scale)
    image = image.resize((round(image.width * scale), round(image.height * scale)), method)
    if image.height < HEIGHT:
        # rounded up: at least HEIGHT
        times = math.ceil(HEIGHT / image.height)
        image = image.resize((image.width, image.height * times), Image.Resampling.NEAREST)
    return small(image)


def small(image: Any) -> bytes:
    """A PNG of a picture, `BYTES` large at most, with as many colours as that allows."""
    from PIL import Image

    data = BytesIO()
    for colours in COLOURS:
        data = BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
        if data.tell() <= BYTES:
            break
    return data.getvalue()


if __name__ == "__main__":
    main()
