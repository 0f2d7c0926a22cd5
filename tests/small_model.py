"""A run with language models of random weights, for tests of everything that reads model directories."""

import torch

from genrec import artifacts
from genrec.commandline import Command
from genrec.data.prompts import prompt_fingerprint
from genrec.data.shop import make_shop, save_shop
from genrec.data.tasks import RECOMMEND, Texts
from genrec.models.card import Card, save_card
from genrec.models.language import catalog_texts, make_scratch, teach_sids, train_tokenizer
from genrec.models.readme import Described, write_readme
from genrec.runtime.training_record import TrainingRecord, write_record
from genrec.sids import load_index
from genrec.stages import evaluate
from genrec.store import RunStore
from tests.small_shop import run_stage, small_config, small_shop, write_data, write_sids

DECODING = {"num_beams": 8, "batch_size": 3}


def write_run(directory):
    """(run directory, shop): data, SIDs, sft, and rl of other weights; evaluated."""
    sections = {"sft": {"scratch": {"hidden_size": 16, "num_layers": 1}}, "rl": {"reward_type": "ranking"}}
    rows = {"models": ["item_knn", "sft", "rl"], "filter_seen": True, "normalization": "trie", **DECODING}
    config, shop = small_config(directory, evaluation=rows, **sections), small_shop(num_items=17)
    write_data(config, shop)
    write_sids(config, shop)
    write_model(config, shop, "sft", 0, best=1, normalization="trie")
    write_model(config, shop, "rl", 1, best=1, normalization="trie")
    evaluate.evaluate(Command(config), named=True)
    return directory, shop


def write_model(config, shop, stage, seed, best, profile=(), **card_fields):
    """A language model of random weights as the artifact of a run."""
    store = RunStore.of(config)
    texts = Texts(shop.catalog, load_index(store.path("sids") / artifacts.SID_INDEX), config.data.source)

    def build(config, directory):
        torch.manual_seed(seed)
        tokenizer = train_tokenizer(catalog_texts(shop.catalog, [texts.prompt(RECOMMEND, []).text]), 400)
        model = make_scratch(config.sft.scratch, tokenizer, 512)
        teach_sids(model, tokenizer, texts.index, None)
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        carried = make_shop(shop, list(profile))
        save_shop(carried, directory)
        sids = store.manifest("sids").fingerprint
        settings = {"cutoff_len": 256, "profile": list(profile), "max_history": shop.max_history, **card_fields}
        card = Card(sids, prompt_fingerprint(), config.data.source, dataset="small", data="abc", **settings)
        save_card(directory, card, texts.index)
        record = TrainingRecord("epochs", 3, best, "ndcg@10", 0.5, [])
        write_readme(Described(stage, card, carried, texts.index, record), directory)
        write_record(record, directory)
        return {}

    run_stage(stage, config, build)
