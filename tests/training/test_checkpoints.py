"""Which checkpoint a killed training goes on from, and that none is left beside a finished model."""

from genrec.training.checkpoints import find_newest_checkpoint, remove_checkpoints


def make_checkpoint(directory, step, whole=True):
    path = directory / f"checkpoint-{step}"
    path.mkdir()
    (path / "model.safetensors").write_text("weights")
    if whole:
        (path / "trainer_state.json").write_text("{}")
    return str(path)


def test_the_newest_whole_one_by_its_number(tmp_path):
    assert find_newest_checkpoint(tmp_path) is None
    make_checkpoint(tmp_path, 9)
    newest = make_checkpoint(tmp_path, 10)
    make_checkpoint(tmp_path, 11, whole=False)  # the trainer's state is written last
    assert find_newest_checkpoint(tmp_path) == newest


def test_a_finished_model_keeps_its_files_and_no_checkpoint(tmp_path):
    make_checkpoint(tmp_path, 9)
    (tmp_path / "model.safetensors").write_text("weights")
    remove_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
