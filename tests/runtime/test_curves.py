"""Curves of our own loops: what is recorded can be read back, and steps that are done anew are recorded once."""

import pytest

from genrec.errors import ArtifactError
from genrec.runtime.curves import open_curves, scalar_log


def values_of(directory, name: str) -> list[tuple[int, float]]:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_a_loop_that_goes_on_records_each_step_once(tmp_path):
    pytest.importorskip("tensorboard")
    record = open_curves("tensorboard", tmp_path, "run")
    for step in (1, 2, 3):
        record({"loss": float(step)}, step)
    record = open_curves("tensorboard", tmp_path, "run", last_step=1)
    for step in (2, 3):
        record({"loss": 10.0 * step}, step)
    assert values_of(tmp_path, "loss") == [(1, 1.0), (2, 20.0), (3, 30.0)]


def test_loops_side_by_side_have_a_directory_each(tmp_path):
    pytest.importorskip("tensorboard")
    scalar_log("tensorboard", tmp_path, "joint")({"loss": 0.5}, 1)
    assert values_of(tmp_path / "tensorboard/joint", "loss") == [(1, 0.5)]


def test_none_writes_nothing(tmp_path):
    open_curves("none", tmp_path / "curves", "run")({"loss": 1.0}, 1)
    assert not (tmp_path / "curves").exists()


def test_an_unknown_tracker_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ArtifactError, match="no tracker 'wandb'; known: none, tensorboard, swanlab"):
        open_curves("wandb", tmp_path, "run")
