"""`genrec push`: a copy that is whole, and what cannot be sent. What the hub gets: tests/models/test_hub.py."""

import huggingface_hub
import pytest

import genrec
from genrec.artifacts import read_manifest
from genrec.stages import push
from tests.small_model import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run")[0]


def ended(words):
    with pytest.raises(SystemExit) as end:
        push.main([str(word) for word in words])
    return end.value.code


def test_a_copy_is_whole_and_the_run_stays_as_it_was(run, tmp_path):
    before = read_manifest(run / "rl").fingerprint
    push.main([str(run), "--output", str(tmp_path / "copy")])
    assert read_manifest(run / "rl").fingerprint == before and not (tmp_path / "copy" / "manifest.json").exists()
    rows = [["B001", "B002"], []]
    copied = genrec.load(tmp_path / "copy", num_beams=8)
    assert copied.recommend(rows, k=4).equals(genrec.load(run).recommend(rows, k=4))


def test_what_cannot_be_sent_is_one_line(run, tmp_path, capsys, monkeypatch):
    assert ended([run]) == 2 and "where to?" in capsys.readouterr().err
    assert ended([run, "no name"]) == 2 and "repo" in capsys.readouterr().err
    assert ended([tmp_path / "none", "a/b"]) == 1 and "none is not a directory" in capsys.readouterr().err
    assert ended([tmp_path, "a/b"]) == 1 and "is not a model of this project" in capsys.readouterr().err
    assert ended([run, "--output", tmp_path]) == 1 and "is there already" in capsys.readouterr().err

    class Api:
        def create_repo(self, *words, **names):
            raise OSError("401 Unauthorized")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert ended([run, "a/b"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: a/b was not written (401 Unauthorized); log in with") and error.count("\n") == 1
