"""The training command, the printed quick start and the two scripts on alternation, on a small collection."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import example_data_loading
import test_adaptive_simple
import test_adaptive_training
from genrec.artifacts import read_json, write_json
from genrec.errors import ArtifactError
from genrec.lock import only_writer
from genrec.stages import compare as compare_results
from tests.ur4rec.small import film_id, write_collection, write_posters
from UR4Rec.data import features, poster_encoder
from UR4Rec.data.dataset_loader import load_ml_100k
from UR4Rec.data.snapshots import given_snapshots, plain_snapshots
from UR4Rec.models import llm_generator
from UR4Rec.models.preferences import NEVER
from UR4Rec.options import TrainOptions
from UR4Rec.scripts import train

FLAGS = "--sasrec_dim 16 --retriever_dim 8 --heads 2 --batch_size 16 --max_seq_len 10 --patience 0".split()
EPOCHS = [f"--{stage}_epochs=1" for stage in train.STAGE_EPOCHS]


@pytest.fixture
def collection(tmp_path, monkeypatch):
    """Twelve users, 150 films, an empty folder; letters counted in place of a sentence encoder."""

    def encode_items(texts, settings, work):
        work.mkdir(parents=True)
        counts = np.array([[text.count(letter) for letter in "abcdefghi019"] for text in texts], dtype=np.float32)
        return np.pad(counts, ((0, 0), (0, 384 - counts.shape[1])))

    monkeypatch.setattr(features, "encode_items", encode_items)
    monkeypatch.setattr("UR4Rec.data.content.resolve_checkpoint", str)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(features, "checkpoint_fingerprint", lambda encoder: "letters")
    return write_collection(tmp_path / "raw", num_films=150)


@pytest.fixture
def command(collection, tmp_path, monkeypatch):
    def run(*flags: str) -> None:
        given = ["--data_dir", collection, "--output_dir", tmp_path / "out", "--cache", tmp_path / "cache"]
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, given), *FLAGS, *EPOCHS, *map(str, flags)])
        train.main()

    return run


def test_from_a_collection_to_results_that_can_be_compared(command, collection, tmp_path, capsys):
    write_posters(collection / "image", [film_id(n) for n in range(1, 150, 2)])
    vectors = np.random.default_rng(0).standard_normal((151, 5)).astype(np.float32) * (np.arange(151) % 2)[:, None]
    np.save(tmp_path / "image.npy", vectors)
    command("--images", tmp_path / "image.npy", *(f"--{switch}" for switch in train.SWITCHES))
    printed = capsys.readouterr().out
    assert "retriever: 3 experts (preference, description, image)" in printed
    for scorer in ("sasrec", "retriever", "fused"):
        assert read_json(tmp_path / "out" / scorer / "results.json")["rows"]["rows"] == 12
    assert "hit@10" in read_json(tmp_path / "out" / train.CANDIDATES)["fused"]
    stages = [epoch["stage"] for epoch in read_json(tmp_path / "out" / train.TRAINING)["curve"]]
    assert stages == list(train.STAGE_EPOCHS)
    verdict = compare_results.write_comparison(
        tmp_path / "out" / "sasrec", tmp_path / "out" / "fused", tmp_path / "compared", 0
    )
    assert "12 rows" in verdict
    command("--images", tmp_path / "image.npy", *(f"--{switch}" for switch in train.SWITCHES))
    assert "ur4rec: up to date" in capsys.readouterr().out


def test_a_folder_of_posters_is_read_without_an_encoder(command, collection, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(poster_encoder, "NUM_EPOCHS", 1)
    write_posters(collection / "image", [film_id(n) for n in range(1, 150, 2)])
    command("--images", collection / "image", "--experts", "image")
    assert "a small encoder read 75 of them beside their texts" in (printed := capsys.readouterr().out)
    assert "retriever: 1 expert (image)" in printed


def test_other_settings_want_another_directory(command, capsys):
    command("--experts", "description")
    with pytest.raises(SystemExit):
        command("--experts", "description", "--seed", "7")
    refused = capsys.readouterr().err
    assert "was made with other settings: seed is 42 there, 7 asked. Ways on: --output_dir ANOTHER" in refused


def test_settings_hold_what_acted_and_older_ones_that_hold_more_are_the_same(tmp_path):
    options = TrainOptions(output_dir=tmp_path / "out", experts=["description"])
    train.check_settings(options)
    recorded = read_json(tmp_path / "out" / train.SETTINGS)
    assert "num_negatives" not in recorded["config"] and recorded["config"]["loss"] == "softmax"
    recorded["config"]["num_negatives"] = 9  # which the softmax does not read
    write_json(tmp_path / "out" / train.SETTINGS, recorded)
    train.check_settings(options)
    with pytest.raises(ArtifactError, match="loss is 'softmax' there, 'bpr' asked"):
        train.check_settings(options.model_copy(update={"loss": "bpr"}))


def test_another_text_under_the_same_name_is_another_setting(command, tmp_path, capsys):
    """The guard looks into the files that flags name."""
    given = tmp_path / "texts.json"
    given.write_text('{"3": "One."}')
    command("--descriptions", given, "--experts", "description")
    given.write_text('{"3": "Another."}')
    with pytest.raises(SystemExit):
        command("--descriptions", given, "--experts", "description")
    assert "descriptions is now" in capsys.readouterr().err


def test_two_trainings_cannot_write_one_directory(command, tmp_path, capsys):
    with only_writer(tmp_path / "out"), pytest.raises(SystemExit):
        command()
    assert "out is being written by process" in capsys.readouterr().err


def test_no_checkpoint_is_left_when_training_is_finished(command, tmp_path):
    command("--experts", "")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    settings = {train.SETTINGS, train.TRAINING, train.CANDIDATES}
    assert files == {"best.safetensors", "sasrec", "retriever", "fused"} | settings


def test_texts_of_users_come_from_the_generator_with_snapshots(command, collection, tmp_path, monkeypatch, capsys):
    texts = tmp_path / "texts"

    def generate(*flags):
        given = ["--data_dir", collection, "--backend", "none", "--output_dir", texts, *flags]
        monkeypatch.setattr(sys, "argv", ["llm_generator.py", *map(str, given)])
        llm_generator.main()

    generate("--snapshots", "0")
    preferences = "--preferences", texts / "user_preferences.json", "--retriever", "text"
    with pytest.raises(SystemExit):
        command(*preferences)
    assert "names every item that training asks for" in capsys.readouterr().err
    generate()  # as it is printed
    command("--preferences", texts, "--retriever", "text", "--output_dir", tmp_path / "folder")
    assert "2 experts (preference, description)" in capsys.readouterr().out


def test_given_sentences_are_the_plain_ones_at_the_same_moments(collection, tmp_path, monkeypatch):
    items, sequences, _ = load_ml_100k(collection)
    flags = ["--data_dir", collection, "--backend", "none", "--output_dir", tmp_path, "--snapshots", "3"]
    monkeypatch.setattr(sys, "argv", ["llm_generator.py", *map(str, flags)])
    llm_generator.main()
    plain = plain_snapshots(items, sequences, cache=tmp_path)
    given = given_snapshots(tmp_path / "user_preferences.json", items, sequences, cache=tmp_path)
    assert np.array_equal(plain.end, given.end) and np.array_equal(plain.row, given.row)
    np.testing.assert_array_equal(plain.vector, given.vector)
    longest = [len(liked) - 2 for liked in sequences.values()]
    assert all(max(e for e in ends if e != NEVER) == n for ends, n in zip(plain.end, longest, strict=True))
    with pytest.raises(ArtifactError, match="was made from data"):
        given_snapshots(tmp_path / "user_preferences.json", items, {user: s[:-1] for user, s in sequences.items()})


def test_the_printed_quick_start_runs_on_a_cpu(collection, monkeypatch, capsys):
    """With posters and the texts of the printed generator beside it, and without either."""
    flags = ["--data_dir", str(collection), "--backend", "none", "--num_users", "10", "--num_items", "50"]
    monkeypatch.setattr(sys, "argv", ["llm_generator.py", *flags])
    llm_generator.main()
    write_posters(collection / "image", [film_id(n) for n in range(1, 150, 2)])
    monkeypatch.setattr(poster_encoder, "NUM_EPOCHS", 1)
    run_quick_start(collection, collection / "image", load_images=True)
    assert "retriever: 3 experts (preference, description, image)\n" in capsys.readouterr().out
    shutil.rmtree("data")
    run_quick_start(collection, "UR4Rec/data/Multimodal_Datasets/M_ML-100K/image", load_images=False)
    missing = f"no preference: no {Path('data/llm_generated/user_preferences.json')}; python UR4Rec/models/llm_gen"
    printed = capsys.readouterr().out
    assert f"retriever: 1 expert (description); {missing}" in printed and "; no image: load_images=False" in printed
    assert "fused scores on 12 test rows: the target's rank among all 150 items, without the user's past" in printed


def run_quick_start(collection, image_dir, load_images):
    from UR4Rec.data.multimodal_dataset import create_dataloaders
    from UR4Rec.models.joint_trainer import JointTrainer
    from UR4Rec.models.ur4rec_v2 import UR4RecV2

    item_metadata, user_sequences, users = load_ml_100k(collection)
    train_loader, val_loader, test_loader = create_dataloaders(
        user_sequences=user_sequences,
        item_metadata=item_metadata,
        image_dir=image_dir,
        batch_size=128,
        load_images=load_images,
        max_seq_len=50,
        num_negatives=5,
    )
    model = UR4RecV2(
        num_items=len(item_metadata) + 1,
        sasrec_hidden_dim=256,
        text_embedding_dim=384,
        retriever_output_dim=256,
        device="cpu",
    )
    trainer = JointTrainer(
        model=model,
        device="cpu",
        sasrec_lr=1e-3,
        retriever_lr=1e-4,
        use_adaptive_alternating=True,
        adaptive_switch_threshold=0.01,
    )
    for stage, epochs in {"pretrain_sasrec": (1, 2), "pretrain_retriever": (3,), "joint_finetune": (5,)}.items():
        trainer.set_training_stage(stage)
        for epoch in epochs:
            assert trainer.train_epoch(train_loader, epoch)["total_loss"] > 0
    assert trainer.adaptive_alternating.get_stats()["switch_count"] >= 0
    assert 0 <= trainer.evaluate(test_loader)["hit@10"] <= 1


def test_the_example_shows_its_four_scenarios(collection, monkeypatch, capsys):
    write_posters(collection / "image", [film_id(n) for n in range(1, 150, 2)])
    monkeypatch.setattr(poster_encoder, "NUM_EPOCHS", 1)
    monkeypatch.setattr(sys, "argv", ["example_data_loading.py", "--data_dir", str(collection)])
    example_data_loading.main()
    printed = capsys.readouterr().out
    assert all(f"Scenario {number}: " in printed for number in (1, 2, 3, 4))
    assert "150 items, 12 users" in printed and "A person liked these titles" in printed
    assert "posters of 75 films" in printed and "retriever: 2 experts (description, image); no preference" in printed


def test_the_scripts_on_alternation_run(collection, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["test_adaptive_simple.py"])
    test_adaptive_simple.main()
    printed = capsys.readouterr().out
    assert "SRSRSR" in printed and printed.count("holds: ") == 6
    flags = "--pretrain_epochs 1 --epochs 1 --dim 8".split()
    monkeypatch.setattr(sys, "argv", ["test_adaptive_training.py", "--data_dir", str(collection), *flags])
    test_adaptive_training.main()
    assert "adaptive: " in (printed := capsys.readouterr().out) and "fixed: " in printed
