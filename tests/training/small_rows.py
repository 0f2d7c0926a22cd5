"""A shop of twelve items, its tokenizer and a small model, and what token trees ask: for tests of SFT."""

import numpy as np
import torch

from genrec.data.catalog import Catalog
from genrec.data.tasks import TASKS, Texts
from genrec.models.language import make_scratch, teach_sids, train_tokenizer
from genrec.sids import make_index
from genrec.training.rows import make_rows
from tests import parse_flags

NUM_ITEMS = 12


def make_small_texts():
    names = np.array([f"Brass valve number {item}" for item in range(NUM_ITEMS)], dtype=object)
    described = np.array(
        ["" if item % 3 else f"A valve of brass, {item} mm." for item in range(NUM_ITEMS)], dtype=object
    )
    catalog = Catalog(names, names, described, names, names)
    codes = np.stack(np.unravel_index(np.arange(NUM_ITEMS), (3, 2, 2)), axis=1)
    return Texts(catalog, make_index(codes, (3, 2, 2)), "toy")


def make_small_tokenizer(texts):
    prompts = [texts.prompt(task, np.zeros(0, int)).text for task in TASKS.values()]
    tokenizer = train_tokenizer([*texts.catalog.title.tolist(), *prompts], 400)
    tokenizer.add_tokens(texts.index.tokens())
    return tokenizer


def make_small_model(texts, tokenizer):
    torch.manual_seed(0)
    shape = parse_flags(["--sft.scratch.hidden_size", "32", "--sft.scratch.dropout", "0"]).config.sft.scratch
    model = make_scratch(shape, tokenizer, 512).eval()
    teach_sids(model, tokenizer, texts.index, None)
    return model


def rows_of(config, builder, sequences, train, weight):
    return make_rows(builder, sequences, train, weight, config.data.max_history, config.sft, config.run.seed)


def alike(sequences):
    """All targets of weight 1."""
    return np.ones(len(sequences.item))


def asked(trees, rows):
    """Multiset of (ids the answer is read from, answer) over all answers of all trees, by following visible tokens."""
    found = []
    for tree in trees:
        end = np.array(tree.end)
        for start in range(0, len(tree.labels), 3):  # SIDs of three tokens
            source = tree.predictor[start]
            ancestors = [place for place in range(source + 1) if source < end[place]]
            found.append((tuple(tree.ids[place] for place in ancestors), tuple(tree.labels[start : start + 3])))
    assert len(found) == rows
    return sorted(found)
