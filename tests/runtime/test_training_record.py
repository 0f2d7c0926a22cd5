"""One record of a training, written and read without a guess."""

import json

import pytest

from genrec.artifacts import TRAINING
from genrec.errors import ArtifactError
from genrec.runtime.training_record import TrainingRecord, is_trained, read_record, write_record

CURVE = [{"epoch": 1, "ndcg@10": 0.1}, {"epoch": 2, "ndcg@10": 0.3}, {"epoch": 3, "ndcg@10": 0.2}]
RECORD = TrainingRecord("epochs", length=4, best=2, metric="ndcg@10", score=0.3, curve=CURVE, statistics={"rows": 7})


def test_what_is_written_is_what_is_read(tmp_path):
    assert not is_trained(tmp_path)
    write_record(RECORD, tmp_path)
    assert is_trained(tmp_path) and read_record(tmp_path) == RECORD


def test_the_best_stands_at_a_share_of_the_training():
    assert RECORD.best_share == 0.5
    assert TrainingRecord("steps", length=0, best=0, metric="ndcg@10", score=None, curve=[]).best_share == 0


def test_the_summary_is_flat():
    assert RECORD.summary() == {"epochs": 4, "best": 2, "valid_ndcg@10": 0.3, "rows": 7}


@pytest.mark.parametrize("content", [{"steps": 50, "best_step": 0}, {**vars(RECORD), "more": 1}])
def test_a_record_of_another_form_is_refused(tmp_path, content):
    (tmp_path / TRAINING).write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=r"training\.json is no record of a training of this program"):
        read_record(tmp_path)
