"""Clicks in interleaved lists go to the arm that brought the item, a vote a user."""

import polars as pl
import pytest

from genrec.errors import ArtifactError
from genrec.experiments.interleaved import judge_interleaving
from genrec.experiments.log import read_slates
from genrec.experiments.outcomes import Metric, Outcomes
from tests.experiments.logs import answer, experiments, write_log

TEAMS = ("sft", "rl")


def slates(tmp_path, teams=("sft", "rl", "rl")):
    drawn = list(teams) if teams else None
    both = [answer(number, f"u{number // 2}", "sft+rl", teams=drawn) for number in range(6)]
    return read_slates(write_log(tmp_path, both, experiments(interleave=True))).frame


def clicks(*rows):
    return Outcomes("clicks.csv", pl.DataFrame(rows, schema=["request", "item", "clicks", "user"], orient="row"))


def test_votes_are_counted_by_hand(tmp_path):
    """u0 clicks twice on rl's items and once on sft's, u1 on sft's alone (twice the same, and 0), u2 on both alike."""
    rows = clicks(
        ("r0", "a", 1, "u0"), ("r0", "b", 1, "u0"), ("r1", "c", 1, "u0"),
        ("r2", "a", 1, "u1"), ("r2", "a", 1, "u1"), ("r3", "b", 0, "u1"),
        ("r4", "a", 1, "u2"), ("r4", "b", 1, "u2"), ("r5", "z", 1, "u2"),
    )  # fmt: skip
    found = judge_interleaving(slates(tmp_path), TEAMS, rows, Metric("clicks"), 0.05)
    assert (found.first, found.second, found.ties, found.p_value) == (1, 1, 1, 1.0)


def test_what_cannot_be_credited_is_refused(tmp_path):
    frame = slates(tmp_path)
    with pytest.raises(ArtifactError, match="no row of clicks.csv is of an item that its request was shown"):
        judge_interleaving(frame, TEAMS, clicks(("r0", "z", 1, "u0")), Metric("clicks"), 0.05)
    with pytest.raises(ArtifactError, match="not by the ratio clicks/shown"):
        judge_interleaving(frame, TEAMS, clicks(), Metric("clicks", "shown"), 0.05)
    with pytest.raises(ArtifactError, match="request r0 was logged without teams"):
        judge_interleaving(slates(tmp_path / "plain", ()), TEAMS, clicks(), Metric("clicks"), 0.05)
