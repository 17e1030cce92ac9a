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
from bio_rl.viz.worlds import World, figure, worlds

PAGE = Path("docs/worlds.md")
STEPS = 30
"""Random steps before the picture is taken."""
WIDTH = 240
"""Pixels across at most; a picture of less than half of it is enlarged by whole numbers."""
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
                pictured = (pictures / f"{world.name}.png").is_file()
                lines.append(row(world, pictured))
        lines.append("")
    presets = pictures.parents[1] / "results" / "presets.json"
    return "\n".join([*lines, *reached(presets)])


def cells_line(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def row(world: World, pictured: bool) -> str:
    """The row of one id; a line break in a cell is HTML's."""
    picture = ""
    if pictured:
        picture = f'<img src="pictures/worlds/{world.name}.png" width="120" alt="{world.name}">'
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
        path.write_bytes(png(frame(world.id)))
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


def png(pixels: np.ndarray) -> bytes:
    """A small PNG of pixels uint8 [H, W, 3]: `WIDTH` wide and `BYTES` large at most."""
    from PIL import Image  # the extras `video` and `plots` bring it

    image = Image.fromarray(pixels)
    if image.width > WIDTH:
        height = round(image.height * WIDTH / image.width)
        image = image.resize((WIDTH, height), Image.Resampling.LANCZOS)
    elif image.width <= WIDTH // 2:
        times = WIDTH // image.width
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    if image.height < HEIGHT:
        # rounded up: at least HEIGHT
        times = math.ceil(HEIGHT / image.height)
        image = image.resize((image.width, image.height * times), Image.Resampling.NEAREST)
    data = BytesIO()
    for colours in COLOURS:
        data = BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
        if data.tell() <= BYTES:
            break
    return data.getvalue()


if __name__ == "__main__":
    main()
