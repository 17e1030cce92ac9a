"""Pictures of robots that get about: the camera goes with them, and the floor has no end."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from bio_rl import vector
from bio_rl.vector.rendering import can_render

pytestmark = pytest.mark.skipif(not can_render(), reason="needs rendering")

ROBOTS = (
    "Ant-v5",
    "AntDamage-v0",
    "CheetahDir-v0",
    "CheetahVel-v0",
    "HalfCheetah-v5",
    "HalfCheetahDamage-v0",
    "Hopper-v5",
    "Humanoid-v5",
    "Swimmer-v5",
    "Walker2d-v5",
)
FRAMES = 250
EVERY = 50
FAST = 0.2
"""Metres that a robot is moved forwards at each decision, beside what it does itself."""


def bodies(world) -> np.ndarray:
    """[H, W] the body that each pixel of the world shows, 0 for the ground and -1 for the sky."""
    picture = world.frames()[0].astype(np.int64)
    segment = picture[..., 0] + 256 * picture[..., 1] + 65536 * picture[..., 2] - 1
    scene = world._renderer._renderer.viewer.scn
    of = [world.model.geom_bodyid[geom.objid] for geom in scene.geoms[: scene.ngeom]]
    return np.where(segment < 0, -1, np.array(of)[segment])


def show_bodies(world) -> None:
    """From now on pictures show of each pixel what is there, not how it looks."""
    world.frames()
    flags = world._renderer._renderer.viewer.scn.flags
    flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1


def film(name: str, **camera):
    """The share of every 50th picture that shows the robot, and where the torso is in it, in
    halves of the width and the height from the middle.
    """
    env = vector.make(f"bio_rl/{name}", 1, render_mode="rgb_array", **camera)
    world = env.env
    world.reset(seed=0)
    show_bodies(world)
    rng = np.random.default_rng(0)
    shares, places = [], []
    for i in range(FRAMES):
        world.step(rng.uniform(-0.4, 0.4, world.action_space.shape).astype(np.float32))
        world.qpos[:, 0] += FAST
        if i % EVERY == 0:
            shown = bodies(world)
            shares.append((shown > 0).mean())
            rows, columns = np.nonzero(shown == 1)
            middle = np.array([rows.mean(), columns.mean()]) if len(rows) else np.array([0.0, 0.0])
            places.append(np.abs(middle / (0.5 * np.array(shown.shape)) - 1.0))
    env.close()
    return np.array(shares), np.array(places)


@pytest.mark.parametrize("name", ROBOTS)
def test_the_camera_goes_with_the_robot(name):
    shares, places = film(name)
    assert shares.min() >= 0.02
    assert places.max() <= 0.5


def test_a_camera_that_stays_where_it_is_loses_the_robot():
    shares, _ = film("HalfCheetah-v5", default_camera_config={"distance": 4.0})
    assert shares[0] >= 0.02 and shares[-1] == 0.0


def test_the_floor_and_the_light_go_on_where_the_robot_gets():
    env = vector.make("bio_rl/Hopper-v5", 1, render_mode="rgb_array")
    world = env.env
    world.reset(seed=0)
    near = world.frames()[0]
    # by whole tiles of the floor: 2 m hold ten
    world.qpos[:, 0] += 200.0
    far = world.frames()[0]
    env.close()
    assert np.abs(near.astype(float) - far).mean() < 2.0
