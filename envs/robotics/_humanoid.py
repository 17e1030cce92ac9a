"""Observations, costs and infos that Humanoid and HumanoidStandup share."""

import numpy as np

from bio_rl.envs.robotics._robots import named_state
from bio_rl.vector import mujoco_names
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.native import Rows

# Derived fields of the observation, each with its first row: no world body, no free joint.
FIRST_ROW = {"cinert": 1, "cvel": 1, "qfrc_actuator": 6, "cfrc_ext": 1}
READ = (*FIRST_ROW, "ten_length", "ten_velocity")
"""Derived fields that the observations and the infos are made of."""


INERTIA = ("xx", "yy", "zz", "xy", "xz", "yz")
QUANTITIES = {
    "cinert": (
        *(f"inertia {axes}" for axes in INERTIA),
        *mujoco_names.triple("mass moment"),
        "mass",
    ),
    "cvel": (*mujoco_names.triple("turn"), *mujoco_names.triple("velocity")),
    "cfrc_ext": mujoco_names.WRENCH,
}
"""The numbers that a derived field holds for each body."""


def observed(cinert: bool, cvel: bool, qfrc_actuator: bool, cfrc_ext: bool) -> tuple[str, ...]:
    """The derived fields of the observations, from Gymnasium's four settings."""
    included = (cinert, cvel, qfrc_actuator, cfrc_ext)
    fields = []
    for name, is_included in zip(FIRST_ROW, included, strict=True):
        if is_included:
            fields.append(name)
    return tuple(fields)


def humanoid_observation(world: BatchVectorEnv, rows: Rows, fields: tuple[str, ...]) -> np.ndarray:
    """Observations of rows, [rows, up to 350]: qpos without its first world.skip entries, qvel,
    then the derived fields of these names.

    cinert [13 bodies x 10]: masses in kg and inertias in kg m²; cvel [13 x 6] in rad/s and m/s;
    qfrc_actuator [17] in N m; cfrc_ext [13 x 6]: external wrenches in N m and N.
    """
    positions = world.qpos[rows, world.skip :]
    velocities = world.qvel[rows]
    arrays = [positions, velocities]

    for name in fields:
        first = FIRST_ROW[name]
        field = world.derived[name][rows, first:]
        flat = field.reshape(len(field), -1)
        arrays.append(flat)

    return np.concatenate(arrays, axis=1)


def humanoid_channels(world: BatchVectorEnv, fields: tuple[str, ...]) -> tuple[str, ...]:
    """The names of what `humanoid_observation` returns."""
    names = list(named_state(world))
    for field in fields:
        if field in QUANTITIES:
            names += mujoco_names.of_bodies(world.model, FIRST_ROW[field], QUANTITIES[field])
        else:
            # a number for each joint but the free one
            driven = mujoco_names.freedoms(world.model)[FIRST_ROW[field] :]
            names += [f"{joint} torque" for joint in driven]
    return tuple(names)


def control_cost(world: BatchVectorEnv, weight: float) -> np.ndarray:
    """The cost [N] of the controls as the engine holds them, in float64."""
    squares = np.square(world.ctrl)
    return weight * squares.sum(1)


def contact_cost(
    world: BatchVectorEnv, weight: float, cost_range: tuple[float, float]
) -> np.ndarray:
    """The cost [N] of the contact forces on all bodies, clipped to its range."""
    squares = np.square(world.derived["cfrc_ext"])
    # Summed over bodies and the six components of a wrench in one go, as Gymnasium does.
    flat = squares.reshape(world.num_envs, -1)
    cost = weight * flat.sum(1)
    return np.clip(cost, *cost_range)


def tendon_info(world: BatchVectorEnv, rows: Rows) -> Info:
    """Infos of the tendons of rows."""
    return {
        "tendon_length": world.derived["ten_length"][rows].copy(),
        "tendon_velocity": world.derived["ten_velocity"][rows].copy(),
    }
