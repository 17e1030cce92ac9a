"""What goes into a world and what comes out of it: actions that are none, infos of one form, arrays
with one owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from bio_rl.envs import discover
from bio_rl.testing.lives import arrays, assert_same
from bio_rl.vector.rendering import can_render

pytestmark = pytest.mark.thorough

WORLDS = sorted(discover())
PERTURBED = {
    "bio_rl/CartPole-v1": ["force=0.5..1.5", "action_delay=1", "obs_delay=1"],
    "bio_rl/Pendulum-v1": ["length=2@3", "obs_noise=0.1@hazard:0.5", "action_delay=2"],
    "bio_rl/HalfCheetah-v5": ["obs_delay=2", "action_delay=1", "action_permutation"],
    "bio_rl/Ant-v5": ["push=3@every:2"],
}
CASES = [(env_id, ()) for env_id in WORLDS] + list(PERTURBED.items())
CHOICES = [
    i
    for i in WORLDS
    if isinstance(gym.make_vec(i).unwrapped.single_action_space, gym.spaces.Discrete)
]
BOXES = [i for i in WORLDS if i not in CHOICES]


def settings(perturb: Any) -> dict[str, Any]:
    return {"perturb": perturb, "max_episode_steps": 6} if perturb else {"max_episode_steps": 6}


# ---------------------------------- actions


NO_CHOICES = {
    "fractions": np.array([0.5, 1.9]),
    "floats": np.array([0.0, 1.0]),
    "float32": np.array([0.0, 1.0], np.float32),
    "truths": np.array([True, False]),
    "nan": np.array([0.0, np.nan]),
    "objects": np.array([0, 1], object),
    "text": np.array(["0", "1"]),
    "complex": np.array([0j, 1j]),
}


@pytest.mark.parametrize("env_id", CHOICES)
@pytest.mark.parametrize("kind", NO_CHOICES)
def test_a_choice_that_is_no_integer_is_refused(env_id, kind) -> None:
    actions = NO_CHOICES[kind]
    batch, one = gym.make_vec(env_id, 2), gym.make(env_id, disable_env_checker=True)
    batch.reset(seed=0)
    one.reset(seed=0)
    with pytest.raises(ValueError, match=f"dtype {actions.dtype}.*expected integers from 0 to"):
        batch.step(actions)
    if kind != "objects":  # one of those is an int of Python's
        with pytest.raises(ValueError, match="expected integers from 0 to"):
            one.step(actions[1])


@pytest.mark.parametrize("env_id", CHOICES)
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8, np.uint64])
def test_integers_of_every_width_are_choices(env_id, dtype) -> None:
    batch, plain = gym.make_vec(env_id, 2), gym.make_vec(env_id, 2)
    assert_same(batch.reset(seed=0), plain.reset(seed=0), "resets")
    narrow, wide = np.array([0, 1], dtype), np.array([0, 1])
    assert_same(batch.step(narrow), plain.step(wide), f"steps with {dtype} and with int64")
    one = gym.make(env_id)
    one.reset(seed=0)
    for action in (1, np.int64(0), dtype(1), np.array(0)):
        one.step(action)


@pytest.mark.parametrize("env_id", BOXES)
@pytest.mark.parametrize(
    ("bad", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_action_that_is_not_finite_is_named_with_its_environment(
    env_id, bad, word, dtype
) -> None:
    batch, one = gym.make_vec(env_id, 5), gym.make(env_id, disable_env_checker=True)
    batch.reset(seed=0)
    one.reset(seed=0)
    actions = np.zeros(batch.action_space.shape, dtype)
    actions[3, -1] = bad
    with pytest.raises(
        ValueError, match=f"action of environment 3 is {word} .* has probably diverged"
    ):
        batch.step(actions)
    with pytest.raises(
        ValueError, match=f"action of environment 0 is {word} .* has probably diverged"
    ):
        one.step(actions[3])
    batch.step(np.zeros_like(actions))  # what was refused has changed nothing: the worlds go on
    one.step(np.zeros_like(actions[3]))


@pytest.mark.parametrize("env_id", ["bio_rl/Pendulum-v1", "bio_rl/Hopper-v5"])
def test_a_large_finite_action_is_clipped_as_before(env_id) -> None:
    env, bound = gym.make_vec(env_id, 2), gym.make_vec(env_id, 2)
    assert_same(env.reset(seed=0), bound.reset(seed=0), "resets")
    large = np.full(env.action_space.shape, 3e38, np.float32)  # its square is infinite in float32
    assert_same(
        env.step(large)[0],
        bound.step(np.ones_like(large) * env.single_action_space.high)[0],
        "steps",
    )


@pytest.mark.parametrize("kind", [object, complex, "U1"])
def test_actions_that_are_no_numbers_are_refused(kind) -> None:
    env = gym.make_vec("bio_rl/Pendulum-v1", 2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"dtype .*, expected numbers, float32"):
        env.step(np.zeros((2, 1)).astype(kind))


# ---------------------------------- infos


def forms(value: Any) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """{path: (dtype, shape)} of infos; of final_obs, whose form is each mode's own, nothing."""
    kept = {k: x for k, x in value.items() if k != "final_obs"}
    return {path: (x.dtype, x.shape) for path, x in arrays(kept)}


@pytest.mark.parametrize(("env_id", "perturb"), CASES)
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("way", ["sync", "async"])
def test_infos_have_the_same_keys_dtypes_and_shapes_in_every_vectorisation(
    env_id, perturb, mode, way
) -> None:
    if way == "async" and (env_id, mode) not in ASYNC:
        pytest.skip(
            "processes are slow to start: a few worlds stand for all, which hold a SingleEnv each"
        )
    own = gym.make_vec(env_id, 2, autoreset_mode=mode, **settings(perturb))
    other = gym.make_vec(
        env_id,
        2,
        vectorization_mode=way,
        vector_kwargs={"autoreset_mode": mode},
        **settings(perturb),
    )
    own.action_space.seed(0)
    calls = [(own.reset(seed=0)[1], other.reset(seed=0)[1])]
    for _ in range(9):
        actions = own.action_space.sample()
        calls.append((own.step(actions)[4], other.step(actions)[4]))
    for t, (ours, theirs) in enumerate(calls):
        assert forms(ours) == forms(theirs), f"call {t}"
        kept = ({k: x for k, x in infos.items() if k != "final_obs"} for infos in (ours, theirs))
        assert_same(*kept, f"call {t}: infos of the native batch and of Gymnasium's")
    own.close()
    other.close()


ASYNC = {
    ("bio_rl/CartPole-v1", AutoresetMode.NEXT_STEP),
    ("bio_rl/AntDamage-v0", AutoresetMode.NEXT_STEP),
    ("bio_rl/AntDamage-v0", AutoresetMode.SAME_STEP),
    ("bio_rl/Hopper-v5", AutoresetMode.NEXT_STEP),
    ("bio_rl/TMaze-v0", AutoresetMode.SAME_STEP),
    ("bio_rl/CheetahVel-v0", AutoresetMode.SAME_STEP),
}


# ---------------------------------- memory


def returned(env: Any, actions: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """All that a world returns: a reset, steps, pictures where it draws, resets where its episodes
    end.
    """
    alone = not isinstance(env, gym.vector.VectorEnv)
    yield "reset", env.reset(seed=0)
    for t, action in enumerate(actions):
        step = env.step(action)
        done = step[2] | step[3]  # the caller may write into them next
        yield f"step {t}", step
        if env.render_mode is not None:
            yield f"picture {t}", env.render()
        if np.any(done) and (alone or env.metadata["autoreset_mode"] is AutoresetMode.DISABLED):
            yield f"reset {t}", env.reset(**({} if alone else {"options": {"reset_mask": done}}))


def copied(value: Any) -> dict[str, np.ndarray]:
    return {path: x.copy() for path, x in arrays(value)}


def scribble(value: Any) -> None:
    """Overwrite all arrays within, as a caller may do with what is his."""
    for _, x in arrays(value):
        if x.ndim and x.flags.writeable:
            x[...] = np.zeros((), x.dtype)


def makers(env_id: str, perturb: Any, **more: Any) -> list[Any]:
    every = settings(perturb) | more
    batches = [gym.make_vec(env_id, 3, autoreset_mode=mode, **every) for mode in AutoresetMode]
    return [*batches, gym.make(env_id, disable_env_checker=True, **every)]


@pytest.mark.parametrize(("env_id", "perturb"), CASES)
def test_a_world_keeps_none_of_the_arrays_that_it_returns_or_is_given(env_id, perturb) -> None:
    own, quiet = makers(env_id, perturb), makers(env_id, perturb)
    for env, same in zip(own, quiet, strict=True):
        env.action_space.seed(0)
        actions = [np.asarray(env.action_space.sample()) for _ in range(15)]
        before = [a.copy() for a in actions]
        kept = [(what, value, copied(value)) for what, value in returned(same, actions)]
        assert_same(actions, before, "actions before and after the steps that they were given to")
        for what, value, then in kept:
            assert_same(
                dict(arrays(value)), then, f"what {what} returned, then and after later steps"
            )
        for a in before:
            a.flags.writeable = False  # a world that writes into its actions raises
        for (what, value), (_, _, then) in zip(
            returned(env, overwritten(before)), kept, strict=True
        ):
            assert_same(
                copied(value),
                then,
                f"{what} of a world whose caller overwrites all arrays, and of one left alone",
            )
            scribble(value)


def overwritten(actions: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Actions, each of which turns into another as soon as the step is over."""
    for a in actions:
        given = a.copy()
        yield given
        given[...] = 0


@pytest.mark.skipif(
    not can_render(), reason="no OpenGL here: apt-get install libegl1 libgl1-mesa-dri"
)
@pytest.mark.parametrize(
    "env_id",
    [
        "CartPole-v1",
        "Pendulum-v1",
        "Catch-v0",
        "WaterMaze-v0",
        "TMaze-v0",
        "DMS-v0",
        "Reach-Rotated-v0",
        "Hopper-v5",
    ],
)
def test_pictures_are_the_callers_own(env_id) -> None:
    for env in makers(f"bio_rl/{env_id}", (), render_mode="rgb_array")[::3]:
        env.action_space.seed(0)
        kept = [
            (what, value, copied(value))
            for what, value in returned(env, [env.action_space.sample() for _ in range(5)])
        ]
        for what, value, then in kept:
            assert_same(
                dict(arrays(value)), then, f"what {what} returned, then and after later steps"
            )
            scribble(value)
        env.close()


def test_the_comparison_finds_a_world_that_keeps_its_buffers() -> None:
    class Keeper(gym.Wrapper):
        def step(self, action):
            self.kept = action
            obs, *rest = super().step(action)
            self.obs = getattr(self, "obs", obs)
            self.obs[...] = obs
            return self.obs, *rest

    env = Keeper(gym.make("bio_rl/CartPole-v1"))
    kept = [(value, copied(value)) for _, value in returned(env, [1, 0, 1])]
    assert any(
        not np.array_equal(x, then[path]) for value, then in kept for path, x in arrays(value)
    )
    assert isinstance(
        gym.make_vec("bio_rl/CartPole-v1", 2, vectorization_mode="sync"), SyncVectorEnv
    )
