"""Parts of an export by themselves; whole ones are held by tests/test_export.py."""

import numpy as np
import pytest

from genrec.artifacts import write_json
from genrec.errors import ArtifactError, ConfigError
from genrec.models.exported import PlainTokenizer, check_backend, load_export
from genrec.models.language import sid_vocabulary
from genrec.sids import make_index
from tests.training.small_rows import make_small_texts, make_small_tokenizer

RECORD = {"stage": "rl", "model": "abc", "opset": 20, "files": {"onnx": {"step.onnx": 5}}}


def test_the_plain_tokenizer_gives_the_ids_of_transformers(tmp_path):
    texts = make_small_texts()
    tokenizer = make_small_tokenizer(texts)
    tokenizer.save_pretrained(tmp_path)
    plain = PlainTokenizer(tmp_path / "tokenizer.json")
    for text in ("Item 3, 'good' & \"new\"", texts.index.text(2), "日本 naïve\n\t x", ""):
        assert plain.encode(text, add_special_tokens=False) == tokenizer.encode(text, add_special_tokens=False)
    ours, theirs = plain.sid_ids(texts.index), sid_vocabulary(tokenizer, texts.index)
    assert np.array_equal(ours.token, theirs.token.numpy())
    assert (ours.first, ours.sizes) == (theirs.first, theirs.sizes)
    assert np.array_equal(ours.level(1), theirs.level(1).numpy())


def test_sids_that_the_tokenizer_does_not_know_are_named(tmp_path):
    make_small_tokenizer(make_small_texts()).save_pretrained(tmp_path)
    strange = make_index(np.array([[0, 30000]]), (1, 30001))
    with pytest.raises(ArtifactError, match="the tokenizer does not know <"):
        PlainTokenizer(tmp_path / "tokenizer.json").sid_ids(strange)
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(ArtifactError, match="tokenizer.json cannot be read"):
        PlainTokenizer(tmp_path / "tokenizer.json")


def test_a_backend_has_its_files_as_they_were_written(tmp_path):
    write_json(tmp_path / "export.json", RECORD)
    export = load_export(tmp_path)
    with pytest.raises(ConfigError, match="has no backend 'onnx-int4'.*; it has onnx"):
        check_backend(tmp_path, export, "onnx-int4")
    with pytest.raises(ArtifactError, match="lacks step.onnx"):
        check_backend(tmp_path, export, "onnx")
    (tmp_path / "step.onnx").write_bytes(b"1234")
    with pytest.raises(ArtifactError, match="has 4 bytes, export.json says 5"):
        check_backend(tmp_path, export, "onnx")
    (tmp_path / "step.onnx").write_bytes(b"12345")
    check_backend(tmp_path, export, "onnx")
    write_json(tmp_path / "export.json", RECORD | {"opset": 0})
    with pytest.raises(ArtifactError, match="export.json is no Export: opset"):
        load_export(tmp_path)
