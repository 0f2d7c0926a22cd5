"""A process knows its place in a launch, speaks on rank 0 alone, and lets waiting threads sleep."""

import os

import pytest

from genrec.launch import SPINS, local_rank, note, rank, set_waiting_policy, world_size


def test_alone_it_is_the_only_one(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (rank(), local_rank(), world_size()) == (0, 0, 1)


def test_one_line_a_launch(monkeypatch, capsys):
    note("sft", "begins")
    monkeypatch.setenv("RANK", "1")
    note("sft", "is not heard")
    assert capsys.readouterr().out == "sft: begins\n"


@pytest.mark.parametrize("chosen", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_the_waiting_policy_of_the_user_is_left(monkeypatch, chosen):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(chosen, "PASSIVE")
    set_waiting_policy()
    assert os.environ.get("GOMP_SPINCOUNT", "") in ("", "PASSIVE")
    monkeypatch.delenv(chosen)
    set_waiting_policy()
    assert os.environ["GOMP_SPINCOUNT"] == SPINS
    monkeypatch.delenv("GOMP_SPINCOUNT")
