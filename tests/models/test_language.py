"""SID tokens in a language model: one token a level, and rows that begin where they are told to."""

import copy
import itertools

import numpy as np
import pytest
import torch

from genrec.data.tasks import RECOMMEND
from genrec.models.language import (
    add_dropout,
    make_scratch,
    set_rows_from_codebooks,
    sid_vocabulary,
    teach_sids,
    train_tokenizer,
)
from tests import parse_flags
from tests.training.small_rows import NUM_ITEMS, make_small_model, make_small_texts, make_small_tokenizer


@pytest.fixture(scope="module")
def texts():
    return make_small_texts()


@pytest.fixture(scope="module")
def tokenizer(texts):
    return make_small_tokenizer(texts)


@pytest.fixture(scope="module")
def model(texts, tokenizer):
    return make_small_model(texts, tokenizer)


def test_the_sid_of_an_item_is_one_token_a_level(texts, tokenizer):
    for item in range(NUM_ITEMS):
        assert len(tokenizer.encode(texts.index.text(item), add_special_tokens=False)) == texts.index.num_levels
    assert len(set(sid_vocabulary(tokenizer, texts.index).token.tolist())) == 7


def test_new_rows_from_titles_leave_old_rows_alone(texts):
    prompts = [texts.prompt(RECOMMEND, np.zeros(0, int)).text]
    tokenizer = train_tokenizer([*texts.catalog.title.tolist(), *prompts], 400)
    torch.manual_seed(0)
    model = make_scratch(parse_flags(["--sft.scratch.hidden_size", "32"]).config.sft.scratch, tokenizer, 64)
    before = model.get_input_embeddings().weight.detach().clone()
    assert teach_sids(model, tokenizer, texts.index, texts.catalog.title.tolist()) == 7
    table = model.get_input_embeddings().weight.detach()
    assert torch.equal(table[: len(before)], before)
    items = np.flatnonzero(texts.index.codes[:, 0] == 1)
    mean = torch.stack([before[tokenizer.encode(texts.catalog.title[item])].mean(0) for item in items]).mean(0)
    torch.testing.assert_close(table[tokenizer.convert_tokens_to_ids("<a_1>")], mean)


def test_dropout_of_a_model_from_scratch_is_on_in_training_alone(texts, tokenizer):
    flags = ["hidden_size", "32", "dropout", "0", "embedding_dropout", "0.5", "hidden_dropout", "0.5"]
    named = [f"--sft.scratch.{word}" if place % 2 == 0 else word for place, word in enumerate(flags)]
    shape = parse_flags(named).config.sft.scratch
    dropped = make_scratch(shape, tokenizer, 64)
    plain = copy.deepcopy(dropped).train()
    add_dropout(dropped, shape)
    ids = torch.arange(20)[None]
    assert torch.equal(dropped.eval()(ids).logits, plain(ids).logits)
    assert not torch.equal(dropped.train()(ids).logits, plain(ids).logits)
    assert dropped.state_dict().keys() == plain.state_dict().keys()


def test_sid_rows_begin_as_their_codebooks_do(texts, tokenizer, model):
    model, rng = copy.deepcopy(model), np.random.default_rng(0)
    books = [rng.normal(size=(size, 8)).astype(np.float32) for size in texts.index.sizes]  # narrower than the model
    before, sids = model.get_input_embeddings().weight.detach().clone(), sid_vocabulary(tokenizer, texts.index)
    set_rows_from_codebooks(model, sids, books)
    table = model.get_input_embeddings().weight.detach()
    centred = [torch.from_numpy(book - book.mean(0) * (level == 0)) for level, book in enumerate(books)]
    for one, other in itertools.combinations(range(len(books)), 2):  # angles are those of the codebooks
        cosine = torch.nn.functional.cosine_similarity
        expected = cosine(centred[one][:, None], centred[other][None], dim=-1)
        found = cosine(table[sids.level(one)][:, None], table[sids.level(other)][None], dim=-1)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(table[sids.token].norm(dim=-1), before.norm(dim=-1).mean().expand(len(sids.token)))
    text = torch.ones(len(table), dtype=torch.bool)
    text[sids.token] = False
    assert torch.equal(table[text], before[text])
