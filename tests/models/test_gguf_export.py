"""A GGUF file of ours, read back by transformers: the model's logits and the tokenizer's numbers."""

import numpy as np
import pytest
import torch

from genrec.errors import ArtifactError
from genrec.models.gguf_export import interleave_halves, write_gguf
from genrec.models.language import load_pretrained, train_tokenizer
from tests.models.conftest import FAMILIES, SHAPE

pytest.importorskip("gguf", reason="needs `pip install --no-deps gguf`")
SIDS = [f"<{letter}_{code}>" for letter in "abc" for code in range(6)]
WORDS = "a valve and a tap for the shower"


@pytest.fixture(scope="module")
def tokenizer():
    made = train_tokenizer([WORDS] * 20, 300)
    made.add_tokens(SIDS)
    return made


def small(name: str, rows: int):
    torch.manual_seed(0)
    config, family, extra = FAMILIES[name]
    extra = extra | ({"head_dim": 128} if name == "qwen3" else {})  # the only width that the reader knows
    model = family._from_config(config(**(SHAPE | {"vocab_size": rows}), **extra), attn_implementation="sdpa").eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half().float())  # what float16 holds, so that nothing is rounded on the way
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_read_back_as_the_model_it_was_written_from(tokenizer, tmp_path, name):
    written = small(name, len(tokenizer) + 3)  # three rows without a token
    write_gguf(written, tokenizer, tmp_path / "model.gguf")
    model, words = load_pretrained(str(tmp_path / "model.gguf"), torch.float32)
    ids = tokenizer.encode(WORDS, add_special_tokens=False)
    assert words.encode(WORDS, add_special_tokens=False) == ids
    assert {token: words.get_vocab()[token] for token in SIDS} == {
        token: tokenizer.get_vocab()[token] for token in SIDS
    }
    assert (words.eos_token_id, words.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    asked = torch.tensor([[*ids, *tokenizer.convert_tokens_to_ids(SIDS)]])
    torch.testing.assert_close(model(asked).logits, written(asked).logits, atol=2e-5, rtol=1e-5)


def test_halves_of_rotary_dimensions_are_taken_in_turn():
    rows = np.arange(8)[:, None]  # two heads of four rows
    assert interleave_halves(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_weights_that_float16_cannot_hold_are_refused(tokenizer, tmp_path):
    model = small("qwen2", len(tokenizer))
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = 1e5
    with pytest.raises(ArtifactError, match=r"up_proj.weight holds 1e\+05, more than float16 can"):
        write_gguf(model, tokenizer, tmp_path / "model.gguf")
