"""What the presets' trainings need, and that it is said before a weight is read."""

import pytest
from transformers import Qwen2Config

from genrec.errors import ArtifactError
from genrec.models.memory import GIB, measure_size
from genrec.training.memory import count_trained, need_of_rl, need_of_sft, note_memory_of_sft
from tests import parse_flags

NEW = 3 * 256
BASES = {  # of Qwen2.5's config.json: width, feed-forward, layers, heads, key-value heads, tied, vocabulary
    "0.5b": (896, 4864, 24, 14, 2, True, 151_936),
    "1.5b": (1536, 8960, 28, 12, 2, True, 151_936),
    "3b": (2048, 11_008, 36, 16, 2, True, 151_936),
    "7b": (3584, 18_944, 28, 28, 4, False, 152_064),
}
PUBLISHED = {"0.5b": 0.49, "1.5b": 1.54, "3b": 3.09, "7b": 7.61}  # billions


def base(preset, new=0):
    width, feed, layers, heads, kv_heads, tied, vocabulary = BASES[preset]
    return Qwen2Config(
        hidden_size=width,
        intermediate_size=feed,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        tie_word_embeddings=tied,
        vocab_size=vocabulary + new,
    )


@pytest.mark.parametrize("preset", BASES)
def test_bases_have_the_published_number_of_parameters(preset):
    assert measure_size(base(preset)).parameters / 1e9 == pytest.approx(PUBLISHED[preset], abs=0.01)


@pytest.mark.parametrize(("preset", "sft", "rl"), [("3b", 31, 24), ("7b", 17, 46)])
def test_the_large_presets_fit_what_they_say(preset, sft, rl):
    config, size = parse_flags(["--config", preset]).config, measure_size(base(preset, NEW))
    assert need_of_sft(config.sft, size, NEW, bf16=True).total / GIB == pytest.approx(sft, abs=0.6)
    assert need_of_rl(config.rl, size, config.sft.cutoff_len, 3, bf16=True).total / GIB == pytest.approx(rl, abs=0.6)


def test_what_is_trained_follows_the_settings():
    size = measure_size(base("0.5b", NEW))
    settings = [parse_flags(flags).config.sft for flags in ([], ["--sft.freeze_LLM", "True"], ["--sft.lora.r", "8"])]
    whole, rows, adapters = (count_trained(each, size, NEW) for each in settings)
    assert whole == size.parameters and rows == NEW * 896
    assert adapters == rows + 24 * 8 * (4 * 896 + 2 * (896 + 128) + 3 * (896 + 4864))


def test_it_is_said_from_the_config_alone_with_a_warning_where_it_is_too_much(tmp_path, capsys, monkeypatch):
    base("7b").save_pretrained(tmp_path)
    monkeypatch.setattr("genrec.training.memory.device_memory", lambda device: 8 * GIB)
    flags = ["--config", "7b", "--sft.base_model", str(tmp_path), "--run.device", "cpu"]
    note_memory_of_sft(parse_flags(flags).config)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("sft: memory: about ") and lines[0].endswith("7,621.1 M parameters")
    assert lines[1].startswith("sft: warning: cpu has 8.0 GiB") and "--sft.micro_batch_size" in lines[1]
    assert lines[2] == "sft: memory: at the end 28.4 GiB of the machine's, to write the whole model"


def test_a_small_model_from_nothing_says_nothing_and_a_missing_one_is_an_error(tmp_path, capsys):
    note_memory_of_sft(parse_flags(["--config", "tiny"]).config)
    assert capsys.readouterr().out == ""
    with pytest.raises(ArtifactError, match="has no config.json"):
        note_memory_of_sft(parse_flags(["--sft.base_model", str(tmp_path)]).config)
