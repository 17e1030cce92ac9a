"""AntDamage-v0 and HalfCheetahDamage-v0: run forward with a leg that is short, limp or stiff, and
not the one trained with.

After Najarro & Risi 2020 (Meta-learning through Hebbian plasticity in random networks): train on
the intact robot and one damaged leg, test on another leg. The damage is a perturbation of
docs/perturbations.md, drawn for each episode and row.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import mujoco
from mujoco.batch import Batch

from bio_rl.discovery import suggestion
from bio_rl.envs.robotics.ant import Ant
from bio_rl.envs.robotics.half_cheetah import HalfCheetah
from bio_rl.vector.perturb.layer import Perturb, as_list
from bio_rl.vector.single import SingleEnv

ENV_IDS = {
    "bio_rl/AntDamage-v0": {
        "entry_point": ":make_ant",
        "vector_entry_point": ":ant_damage",
        "max_episode_steps": 1000,
    },
    "bio_rl/HalfCheetahDamage-v0": {
        "entry_point": ":make_half_cheetah",
        "vector_entry_point": ":half_cheetah_damage",
        "max_episode_steps": 1000,
    },
}

SHORT = 0.3  # length of a damaged leg, of the intact one's


class Leg(NamedTuple):
    """Parts of the model, names joined by `+`."""

    bodies: str
    """The bodies of the leg."""
    joints: str
    """Its joints, which go by the same names as their actuators."""


ANT_LEGS = {
    "front left": Leg("aux_1+left_ankle_geom", "hip_1+ankle_1"),
    "front right": Leg("aux_2+right_ankle_geom", "hip_2+ankle_2"),
    "back left": Leg("aux_3+third_ankle_geom", "hip_3+ankle_3"),
    "back right": Leg("aux_4+fourth_ankle_geom", "hip_4+ankle_4"),
}
CHEETAH_LEGS = {
    "back": Leg("bthigh+bshin+bfoot", "bthigh+bshin+bfoot"),
    "front": Leg("fthigh+fshin+ffoot", "fthigh+fshin+ffoot"),
}


def ant_damage(
    num_envs: int = 1,
    *,
    damage: str = "train",
    kind: str = "short",
    perturb: Perturb = (),
    ctrl_cost_weight: float = 0.1,
    contact_cost_weight: float = 0.0,
    healthy_reward: float = 0.0,
    include_cfrc_ext_in_observation: bool = False,
    **kwargs: Any,
) -> Ant:
    """r = (x' - x) / dt - 0.1 |a|², the ant's, without a reward for being alive; ends on a fall.

    damage: "train" (intact or front right, drawn for each episode), "test" (front left), "none", or
    the name of a leg. kind: "short" (0.3 of its length), "limp" (no torque) or "stiff" (locked
    where it stood). Observations [27] without contact forces, actions [8] as in Ant-v5. Legs have
    the model's names, in which the ant runs sideways. perturb: more perturbations; the other
    settings are those of Ant-v5.
    """
    broken = damages(ANT_LEGS, damage, kind, trained="front right", tested="front left")
    # random: mean of 300 episodes under damage="train"; expert: a design target, to be replaced by
    # what is reached
    reference = {"random": -119.0, "expert": 3000.0}
    return Ant(
        num_envs,
        ctrl_cost_weight=ctrl_cost_weight,
        contact_cost_weight=contact_cost_weight,
        healthy_reward=healthy_reward,
        include_cfrc_ext_in_observation=include_cfrc_ext_in_observation,
        simulations=Batch,  # no contact forces are wanted
        integrator=mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
        perturb=[*broken, *as_list(perturb)],
        reference=reference,
        **kwargs,
    )


def half_cheetah_damage(
    num_envs: int = 1,
    *,
    damage: str = "train",
    kind: str = "limp",
    perturb: Perturb = (),
    **kwargs: Any,
) -> HalfCheetah:
    """HalfCheetah-v5 with a damaged leg. r = (x' - x) / dt - 0.1 |a|²; never terminates.

    damage: "train" (intact or back, drawn for each episode), "test" (front), "none", "back" or
    "front". kind: "limp" (no torque), "stiff" (locked where it stood) or "short" (0.3 of its
    length). perturb: more perturbations; the other settings are those of HalfCheetah-v5.
    """
    broken = damages(CHEETAH_LEGS, damage, kind, trained="back", tested="front")
    # random: mean of 300 episodes under damage="train"; expert: about SAC's of the intact
    # HalfCheetah-v5, out of reach here
    reference = {"random": -239.0, "expert": 10000.0}
    perturbations = [*broken, *as_list(perturb)]
    return HalfCheetah(num_envs, perturb=perturbations, reference=reference, **kwargs)


def damages(
    legs: Mapping[str, Leg], damage: str, kind: str, trained: str, tested: str
) -> list[str]:
    """The perturbations that `damage` and `kind` mean. Raises ValueError for unknown ones."""
    named = {"train": trained, "test": tested, **{leg: leg for leg in legs}}
    # The damage that is always there, and the one that half of the episodes meet.
    texts = {
        "short": (f"length:{{0.bodies}}={SHORT}", f"length:{{0.bodies}}=1|{SHORT}"),
        "limp": ("gear:{0.joints}=0", "gear:{0.joints}=1|0"),
        "stiff": ("lock:{0.joints}", "lock:{0.joints}=0|1"),
    }
    if damage not in (*named, "none"):
        raise ValueError(f"no damage called {damage!r}; {suggestion(damage, (*named, 'none'))}")
    if kind not in texts:
        raise ValueError(f"no kind of damage called {kind!r}; {suggestion(kind, texts)}")
    if damage == "none":
        return []
    always, sometimes = texts[kind]
    text = sometimes if damage == "train" else always
    return [text.format(legs[named[damage]])]


make_ant = partial(SingleEnv, ant_damage)
make_half_cheetah = partial(SingleEnv, half_cheetah_damage)
