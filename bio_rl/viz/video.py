"""A greedy episode as a film."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bio_rl import vector
from bio_rl.evaluation import frames
from bio_rl.rendering import choose_gl


def film(trained: Any, path: Path, seed: int) -> tuple[Path, float]:
    """Write one greedy episode of a `training.Trained` to `path` (.mp4 or .gif); returns the path and the return.

    Raises ValueError where the environment cannot draw itself or the extra `video` is missing.
    """
    try:
        import imageio.v3 as imageio
    except ImportError as error:
        raise ValueError("films need the extra `video`: pip install 'bio-rl[video]'") from error
    if path.suffix not in (".mp4", ".gif"):
        raise ValueError(f"--video is {path}, expected a file that ends in .mp4 or .gif")
    env_id = trained.experiment.run.env
    try:
        choose_gl()
        env = vector.make(env_id, 1, render_mode="rgb_array", perturb=trained.experiment.run.perturb)
        pictures, total = frames(trained.agent, env, seed)
    except Exception as error:
        raise ValueError(f"{env_id} cannot draw itself here: {error}") from error
    fps = env.env.metadata.get("render_fps", 30)
    env.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"fps": fps, "macro_block_size": 2} if path.suffix == ".mp4" else {"duration": 1000 / fps, "loop": 0}
    imageio.imwrite(path, pictures, **options)
    return path, total
