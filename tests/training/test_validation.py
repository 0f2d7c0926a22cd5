"""Validation decodes the drawn rows as evaluation would, and several processes decode each row once between them."""

import os
import socket

import numpy as np
import pytest
import torch

from genrec.config_checks import validate
from genrec.data.repeats import held_out as held_out_rows
from genrec.data.tasks import RECOMMEND, Texts
from genrec.evaluation.metrics import item_scores
from genrec.models.generative import Decoding, GenerativeModel
from genrec.models.language import make_scratch, teach_sids, train_tokenizer
from genrec.runtime.processes import process_group
from genrec.sids import make_index
from genrec.training.validation import VALID_BEAMS, ValidDecoder
from tests.small_shop import small_shop

SIZE, SEED = 36, 3


def decoder(held_out=None):
    """A random model whose logits are far from uniform, asked about 36 rows in three batches."""
    data = small_shop()
    codes = np.stack([np.arange(20) // 5, np.arange(20) % 5], axis=1)
    texts = Texts(data.catalog, make_index(codes, (4, 5)), "toy")
    tokenizer = train_tokenizer([*data.catalog.title.tolist(), texts.prompt(RECOMMEND, np.zeros(0, int)).text], 400)
    torch.manual_seed(0)
    shape = validate({}).sft.scratch.model_copy(update={"hidden_size": 32, "num_layers": 2, "dropout": 0.0})
    model = make_scratch(shape, tokenizer, 256)
    teach_sids(model, tokenizer, texts.index, None)
    generative = GenerativeModel(model, tokenizer, texts, 200)
    return ValidDecoder(generative, held_out or data.examples("valid"), SIZE, SEED, "trie")


def counted(decode):
    """The scores, and how many rows this process decoded for them."""
    rows, recommend = [], decode.model.recommend
    decode.model.recommend = lambda batch, *rest: rows.append(len(batch)) or recommend(batch, *rest)
    return decode(), sum(rows)


def of_two(number, port):
    """What process `number` of two says; both must be asked at once."""
    os.environ |= {"RANK": str(number), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with process_group():
        return counted(decoder())


def second_of_two(port, answer):
    answer.send(of_two(1, port))


def test_two_processes_decode_each_row_once_and_agree_with_one(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that what is set below is undone
        monkeypatch.delenv(name)
    alone, rows = counted(decoder())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    answer, sender = context.Pipe(duplex=False)
    other = context.Process(target=second_of_two, args=(port, sender))
    other.start()
    sender.close()  # so that its death is the end of the pipe
    (first, mine), (second, theirs) = of_two(0, port), answer.recv()
    other.join()
    assert first == second == alone
    assert rows == SIZE and (mine, theirs) == (20, 16)


@pytest.mark.parametrize("filter_seen", [True, False])
def test_the_scores_are_those_of_the_drawn_rows_decoded_in_one_call(filter_seen):
    held_out = held_out_rows(small_shop(), "valid", filter_seen)
    decode = decoder(held_out)
    drawn = held_out.take(np.sort(np.random.default_rng(SEED).permutation(len(held_out))[:SIZE]))
    found = decode.model.recommend(drawn, 10, Decoding(VALID_BEAMS, normalization="trie"))
    for name, value in decode().items():
        assert value == pytest.approx(item_scores(found, drawn.target)[name].mean(), abs=1e-12)
    assert len({len(prompt) for prompt in decode.model.prompts(drawn)}) > 3
