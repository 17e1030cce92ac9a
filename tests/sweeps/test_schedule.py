"""The scheduler of trainings: where each keeps its runs."""

from __future__ import annotations

from bio_rl.sweeps.schedule import Training


def training(flags: str) -> Training:
    """A training of a case that `flags` make its own."""
    return Training(
        env="CartPole-v1",
        agent="ppo",
        network="mlp",
        seed=0,
        steps=None,
        episodes=1,
        flags=flags,
    )


def test_cases_of_many_flags_have_folders_of_their_own_with_names_that_a_file_system_takes(
    tmp_path,
):
    many = "--ppo.gamma 0.99 " * 30
    cases = [training(many + last) for last in ("--ppo.clip 0.1", "--ppo.clip 0.2")]
    folders = [case.parent(tmp_path) for case in cases]
    for folder in folders:
        folder.mkdir()
    assert folders[0] != folders[1]


def test_a_case_of_few_flags_is_named_by_them(tmp_path):
    folder = training("--ppo.clip 0.1").parent(tmp_path)
    assert folder.name == "CartPole-v1-ppo-mlp_--ppo.clip_0.1_s0"
