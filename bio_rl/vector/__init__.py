"""Many copies of a world stepped as one, and the public bases for worlds that are fast that way.

`make(env, num_envs)` builds what the training loop steps, in the interface `TensorVectorEnv`. A
fast world of your own extends `native.NativeVectorEnv`, `trials.TrialVectorEnv` or
`mujoco.BatchVectorEnv`; `perturb` holds the faults that a world can be given.
"""

from bio_rl.vector.adapter import Vector
from bio_rl.vector.factory import find_id, make, probe
from bio_rl.vector.interface import Ended, Step, TensorVectorEnv
from bio_rl.vector.side_by_side import SideBySide

__all__ = [
    "make",
    "find_id",
    "probe",
    "TensorVectorEnv",
    "Vector",
    "SideBySide",
    "Step",
    "Ended",
]
