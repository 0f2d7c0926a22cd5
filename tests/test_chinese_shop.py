"""A small shop whose texts are Chinese, through the stages, with a stand-in for the Chinese sentence encoder."""

import json

import pytest

from genrec import artifacts
from genrec.stages import embed, prepare, sft, sids
from tests import parse_flags

TITLES = [f"{season}天的{thing}" for season in "春夏秋冬" for thing in ("歌", "雨", "风", "月")]


@pytest.fixture
def encoder(tmp_path):
    """A sentence encoder with random weights and a token a letter, in the layout of BAAI/bge-small-zh-v1.5."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    letters = sorted({letter for title in TITLES for letter in title})
    bert = tmp_path / "bert"
    bert.mkdir()
    (bert / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]), "utf-8")
    BertTokenizerFast(vocab_file=str(bert / "vocab.txt")).save_pretrained(bert)
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(letters) + 5, **size)).save_pretrained(bert)
    word = Transformer(str(bert))
    model = SentenceTransformer(modules=[word, Pooling(32, pooling_mode="cls"), Normalize()])
    model.save(str(tmp_path / "encoder"))
    return tmp_path / "encoder"


def test_a_chinese_shop_is_prepared_embedded_and_taught_in_chinese(tmp_path, encoder):
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    rows = [f"用户{u},{(u + t) % 16},{t}" for u in range(40) for t in range(7)]
    events.write_text("\n".join(["user_id,item_id,position", *rows]) + "\n", "utf-8")
    items.write_text("\n".join(["item_id,title", *(f"{i},{title}" for i, title in enumerate(TITLES))]) + "\n", "utf-8")
    flags = [
        "--config",
        "tiny",
        "--config",
        "zh",
        "--data.source",
        "table",
        "--data.dataset",
        "songs",
        "--data.noun",
        "歌曲",
    ]
    flags += ["--data.events", str(events), "--data.items", str(items), "--data.split", "auto", "--run.device", "cpu"]
    flags += ["--data.noun", "歌曲", "--sids.codebook_size", "4"]
    flags += [
        "--run.dir",
        str(tmp_path / "run"),
        "--embeddings.plm_checkpoint",
        str(encoder),
        "--sids.codebook_size",
        "4",
    ]
    config = parse_flags(flags).config
    assert (config.data.language, config.data.noun) == ("zh", "歌曲")
    prepare.main(flags)
    embed.main(flags)
    sids.main(flags)
    sft.main([*flags, "--sft.num_epochs", "1"])
    card = json.loads((tmp_path / "run" / "sft" / artifacts.CARD).read_text("utf-8"))
    assert card["wording"] == {"item": "歌曲", "items": "歌曲", "bought": "听过", "language": "zh"}


def test_the_preset_names_the_chinese_encoder():
    config = parse_flags(["--config", "quickstart", "--config", "zh"]).config
    assert (config.embeddings.plm_checkpoint, config.data.language) == ("BAAI/bge-small-zh-v1.5", "zh")
