"""Questions about a MuJoCo model: the names of its parts, and what these can feel or touch."""

import copy

import mujoco
import numpy as np

POSES = 3  # in which gravity is tried


def names(model: mujoco.MjModel, kind: str) -> dict[str, int]:
    """{name: id} of the model's bodies (without the world), geoms, joints or actuators.

    Where an actuator has no name it goes by its joint's, a body by its first geom's; what has no
    name at all is left out.
    """
    counts = {"body": model.nbody, "geom": model.ngeom, "joint": model.njnt, "actuator": model.nu}
    first = 1 if kind == "body" else 0  # body 0 is the world
    ids: dict[str, int] = {}
    for i in range(first, counts[kind]):
        name = getattr(model, kind)(i).name or _name_of_a_part(model, kind, i)
        if name:
            ids[name] = i

    return ids


def _name_of_a_part(model: mujoco.MjModel, kind: str, i: int) -> str:
    """The name that a nameless actuator or body goes by; empty where there is none."""
    if kind == "actuator":
        return model.joint(model.actuator_trnid[i, 0]).name
    if kind == "body" and model.body_geomnum[i]:
        return model.geom(model.body_geomadr[i]).name
    return ""


def feels_gravity(model: mujoco.MjModel) -> bool:
    """Whether gravity pulls at a joint in one of a few random poses."""
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    weightless = copy.copy(model)
    weightless.opt.gravity[:] = 0.0
    for _ in range(POSES):
        mujoco.mj_resetData(model, data)
        mujoco.mj_integratePos(model, data.qpos, rng.standard_normal(model.nv), 1.0)
        mujoco.mj_forward(model, data)
        heavy = data.qfrc_bias.copy()
        mujoco.mj_forward(weightless, data)
        if np.abs(heavy - data.qfrc_bias).max() > 1e-9:
            return True
    return False


def touching(model: mujoco.MjModel, ids: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of geoms, one of them in ids, that can meet in a contact with friction."""
    pairs = []
    for a in ids.tolist():
        for b in range(model.ngeom):
            # Geoms of one body never touch, and a contact of one dimension has no friction.
            apart = model.geom_bodyid[a] != model.geom_bodyid[b]
            slides = max(model.geom_condim[a], model.geom_condim[b]) > 1
            if apart and slides and _meet(model, a, b):
                pairs.append((a, b))
    return pairs


def _meet(model: mujoco.MjModel, a: int, b: int) -> bool:
    """Whether the bit masks of two geoms let them touch: one's type fits the other's affinity."""
    types = model.geom_contype
    affinities = model.geom_conaffinity
    return bool(types[a] & affinities[b] or types[b] & affinities[a])
