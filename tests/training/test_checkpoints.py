"""Which checkpoint a killed training goes on from, and that none is left beside a finished model."""

import json
import re
import shutil

import pytest

from genrec.training.checkpoints import (
    SEAL,
    find_newest_checkpoint,
    list_checkpoints,
    remove_checkpoints,
    seal_checkpoint,
)


def make_checkpoint(directory, step, best=None, whole=True):
    path = directory / f"checkpoint-{step}"
    path.mkdir()
    (path / "model.safetensors").write_text("weights")
    (path / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))
    if whole:
        seal_checkpoint(path)
    return str(path)


def find(directory):
    return find_newest_checkpoint(directory, "sft")


def test_the_newest_whole_one_by_its_number(tmp_path, capsys):
    assert find(tmp_path) is None and not capsys.readouterr().out
    make_checkpoint(tmp_path, 9)
    newest = make_checkpoint(tmp_path, 10)
    assert find(tmp_path) == newest and not capsys.readouterr().out
    make_checkpoint(tmp_path, 11, whole=False)  # the seal is written last
    assert find(tmp_path) == newest
    said = (
        f"sft: checkpoint-11 cannot be used: it was not written to its end (no {SEAL}); going on from checkpoint-10\n"
    )
    assert capsys.readouterr().out == said
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-10", "checkpoint-9"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b""), "model.safetensors has 0 bytes, 7 were written"),
        (lambda path: path.write_bytes(bytes(7)), "model.safetensors has the CRC-32 .*, .* was written"),
        (lambda path: path.unlink(), r"model.safetensors cannot be read \(No such file or directory\)"),
        (lambda path: (path.parent / SEAL).write_bytes(b'{"a"'), "it was not written to its end"),
        (lambda path: (path.parent / SEAL).write_bytes(b"[]"), "it was not written to its end"),
        (lambda path: (path.parent / SEAL).write_bytes(bytes(40)), "it was not written to its end"),
    ],
)
def test_a_damaged_one_is_named_and_the_older_one_taken(tmp_path, capsys, damage, said):
    older, newest = make_checkpoint(tmp_path, 9), make_checkpoint(tmp_path, 10)
    damage(tmp_path / "checkpoint-10" / "model.safetensors")
    assert find(tmp_path) == older
    line = capsys.readouterr().out
    assert re.match(f"sft: checkpoint-10 cannot be used: {said}.*; going on from checkpoint-9\n$", line)
    assert not (tmp_path / newest).exists()


def test_a_damaged_best_one_takes_with_it_those_that_count_on_it(tmp_path, capsys):
    make_checkpoint(tmp_path, 8, best=8)
    make_checkpoint(tmp_path, 10, best=8)
    assert find(tmp_path) == str(tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-8/model.safetensors").write_text("")
    assert find(tmp_path) is None
    line = capsys.readouterr().out
    assert "checkpoint-10 cannot be used: in checkpoint-8, the best so far, model.safetensors has 0 bytes" in line
    assert line.endswith("; training begins anew\n") and line.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_best_one_that_a_better_one_had_replaced_is_come_to_again(tmp_path):
    kept = make_checkpoint(tmp_path, 9, best=8)
    assert find(tmp_path) == kept


def test_a_finished_model_keeps_its_files_and_no_checkpoint(tmp_path):
    make_checkpoint(tmp_path, 9)
    (tmp_path / "model.safetensors").write_text("weights")
    remove_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_files_in_directories_are_sealed_too_and_the_place_does_not_matter(tmp_path):
    (tmp_path / "checkpoint-3" / "global_step3").mkdir(parents=True)
    (tmp_path / "checkpoint-3" / "global_step3" / "shard.pt").write_bytes(b"123")
    (tmp_path / "checkpoint-3" / "trainer_state.json").write_text('{"best_global_step": 3}')
    seal_checkpoint(tmp_path / "checkpoint-3")
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "checkpoint-3", tmp_path / "moved")
    assert find(tmp_path / "moved")
    (tmp_path / "moved/checkpoint-3/global_step3/shard.pt").write_bytes(b"124")
    assert find(tmp_path / "moved") is None
