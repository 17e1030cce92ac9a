"""`python -m bio_rl.viz.worldbook [FILE]` writes docs/worlds.md: a picture, a line and a table row
for every `bio_rl/` id.

The text depends on the registered worlds and docs/results/presets.json alone; `--text` leaves the
pictures as they are.
"""

from __future__ import annotations

import json
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
"""Pixels at most; what is drawn smaller than half of it is enlarged by whole numbers."""
HEIGHT = 60
"""Pixels at least: the rows of a flat raster are repeated."""
BYTES = 20_000
"""Size of a picture at most."""
HEAD = """# The worlds

Every `bio_rl/` id, by family. All are natively vectorised: `gymnasium.make_vec(id, n)` steps n of them as one batch, and
`gymnasium.make(id)` gives one of them. Scores are undiscounted returns of an episode: of random actions, of an expert (the best
known learner or script), or of the ideal (the optimum, or an ideal observer's mean); 0 and 1 of the normalised score.
This page is written by `python -m bio_rl.viz.worldbook`; `python train.py list envs` prints the same in a terminal.
"""
REACHED = """## What PPO reaches with its presets

The greedy return of the last weights over 20 episodes, by seed, and its place between random (0) and expert or ideal (1). Each
row is `python -m bio_rl.bench learning --env ID --network NETWORK --seeds 0 1 2` ([presets.json](results/presets.json)).
"""
REACHED_HEAD = """| id | network | env steps | seconds (longest) | returns by seed | normalised (least) |
|---|---|---:|---:|---|---:|"""
COLUMNS = ("", "id", "observation", "action", "steps", "random", "expert", "ideal")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page and its pictures."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    path = next((Path(a) for a in arguments if not a.startswith("-")), PAGE)
    found = worlds()
    pictures = folder(path)
    pictures.mkdir(parents=True, exist_ok=True)
    for world in found if "--text" not in arguments else ():
        (pictures / f"{world.name}.png").unlink(missing_ok=True)
        try:
            (pictures / f"{world.name}.png").write_bytes(png(frame(world.id)))
        except Exception as error:  # no picture then: a world may lack one, or an extra
            print(f"{world.id} has no picture: {type(error).__name__}: {error}")
    path.write_text(text(found, pictures), encoding="utf-8")
    print(f"wrote {path}: {len(found)} ids, {len(list(pictures.glob('*.png')))} pictures")


def folder(page: Path) -> Path:
    """Where the pictures of a page lie."""
    return page.parent / "pictures" / "worlds"


def text(found: Sequence[World], pictures: Path) -> str:
    """The page. pictures: the folder whose files are shown, beside the page at pictures/worlds/."""
    lines = [HEAD]
    for family in dict.fromkeys(world.family for world in found):
        lines += [
            f"## {family}\n",
            f"| {' | '.join(COLUMNS)} |",
            "|" + "|".join(["---", "---", *["---:"] * 6]) + "|",
        ]
        lines += [
            row(world, (pictures / f"{world.name}.png").is_file())
            for world in found
            if world.family == family
        ]
        lines.append("")
    return "\n".join(lines + reached(pictures.parents[1] / "results" / "presets.json"))


def row(world: World, pictured: bool) -> str:
    """One id; a line break in a cell is HTML's."""
    picture = (
        f'<img src="pictures/worlds/{world.name}.png" width="120" alt="{world.name}">'
        if pictured
        else ""
    )
    line = f"cannot be made here: {world.fault}" if world.fault else world.line
    scores = [world.score(key) for key in ("random", "expert", "ideal")]
    cells = (
        picture,
        f"**{world.name}**<br>{line}",
        world.observation,
        world.action,
        str(world.steps or ""),
        *scores,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def reached(results: Path) -> list[str]:
    """Lines of what was learned in our worlds, from a file of `bench learning`; none without the
    file.
    """
    if not results.is_file():
        return []
    lines = [REACHED, REACHED_HEAD]
    for case, found in json.loads(results.read_text(encoding="utf-8"))["results"].items():
        env, _, network = case.rsplit("/", 2)
        returns = ", ".join(figure(record["mean"]) for record in found["seeds"].values())
        normalised = f"{found['normalised_mean']:.2f} ({found['normalised_min']:.2f})"
        cells = (
            env,
            network,
            f"{found['steps']:,}",
            f"{found['seconds_max']:.0f}",
            returns,
            normalised,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def frame(env_id: str) -> np.ndarray:
    """The picture [H, W, 3] after `STEPS` random steps from seed 0; an episode that ends begins
    anew.
    """
    choose_gl()
    env = gym.make(env_id, render_mode="rgb_array")
    try:
        env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(STEPS):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        drawn: Any = env.render()
        return np.asarray(drawn)
    finally:
        env.close()


def png(pixels: np.ndarray) -> bytes:
    """A small PNG of pixels uint8 [H, W, 3]: at most `WIDTH` wide, with as many colours as fit into
    `BYTES`.
    """
    from PIL import Image  # the extras `video` and `plots` bring it

    image = Image.fromarray(pixels)
    if image.width > WIDTH:
        image = image.resize(
            (WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS
        )
    elif image.width <= WIDTH // 2:
        times = WIDTH // image.width
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    if image.height < HEIGHT:
        image = image.resize(
            (image.width, image.height * -(-HEIGHT // image.height)), Image.Resampling.NEAREST
        )
    for colours in (128, 64, 32, 16, 8):
        data = BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
        if data.tell() <= BYTES:
            break
    return data.getvalue()


if __name__ == "__main__":
    main()
