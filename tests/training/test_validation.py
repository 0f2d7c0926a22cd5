"""Validation decodes the drawn rows as evaluation would, and several processes decode each row once between them."""

import os

import numpy as np
import pytest
import torch
import torch.distributed

from genrec.config import validate
from genrec.data.tasks import RECOMMEND, Texts
from genrec.evaluation.metrics import item_scores
from genrec.models.generative import Decoding, GenerativeModel
from genrec.models.language import make_scratch, teach_sids, train_tokenizer
from genrec.models.processes import together
from genrec.sids import make_index
from genrec.training.validation import VALID_BEAMS, ValidDecoder
from tests.small_shop import small_shop

SIZE, SEED = 36, 3


def decoder():
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
    return ValidDecoder(generative, data.examples("valid"), SIZE, SEED, "trie")


def counted(decode):
    """The scores, and how many rows this process decoded for them."""
    rows, recommend = [], decode.model.recommend
    decode.model.recommend = lambda batch, *rest: rows.append(len(batch)) or recommend(batch, *rest)
    return decode(), sum(rows)


def one_of_two(number, port, queue):
    os.environ |= {"RANK": str(number), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with together():
        queue.put(counted(decoder()))


def test_two_processes_decode_each_row_once_and_agree_with_one():
    context = torch.multiprocessing.get_context("spawn")
    queue, store = context.SimpleQueue(), torch.distributed.TCPStore("127.0.0.1", 0, is_master=True)
    port = store.port
    del store  # a port that is free now
    workers = [context.Process(target=one_of_two, args=(number, port, queue)) for number in range(2)]
    for worker in workers:
        worker.start()
    alone, rows = counted(decoder())
    assert rows == SIZE
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    found = [queue.get() for _ in workers]
    assert sorted(rows for _, rows in found) == [16, 20]
    assert all(scores == alone for scores, _ in found)


def test_the_scores_are_those_of_the_drawn_rows_decoded_in_one_call():
    decode, held_out = decoder(), small_shop().examples("valid")
    drawn = held_out.take(np.sort(np.random.default_rng(SEED).permutation(len(held_out))[:SIZE]))
    found = decode.model.recommend(drawn, 10, Decoding(VALID_BEAMS, normalisation="trie"))
    for name, value in decode().items():
        assert value == pytest.approx(item_scores(found, drawn.target)[name].mean(), abs=1e-12)
    assert len({len(prompt) for prompt in decode.model.prompts(drawn)}) > 3
