"""What each way of training may move, and that the export is a plain model with the same answers."""

import copy

import pytest
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from genrec.errors import ArtifactError, ConfigError
from genrec.models import adapters
from genrec.models.adapters import attach_adapters, merge_adapters, move_adapters, quantization_arguments
from genrec.models.beam import beam_search
from genrec.models.token_tree import Branch, answer_logits, collate_trees, grow_tree
from genrec.models.trie import build_trie
from tests import parse_flags
from tests.models.conftest import SHAPE, TEXT_TOKENS


def settings(*flags):
    return parse_flags(["--sft.weight_decay", "0.5", *flags]).config.sft


def train(model, steps=3):
    """A few AdamW steps with strong decay on one tree."""
    tree = grow_tree([3, 1, 4], [Branch(3, [], [TEXT_TOKENS, TEXT_TOKENS + 7, TEXT_TOKENS + 13])])
    batch = collate_trees([vars(tree)])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05, weight_decay=0.5)
    for _ in range(steps):
        logits, labels = answer_logits(model, batch)
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()


def test_freeze_llm_moves_sid_rows_alone(model, sids):
    before = {name: p.detach().clone() for name, p in model.state_dict().items()}
    trained = attach_adapters(model, sids, settings("--sft.freeze_LLM", "True"))
    train(trained)
    after = merge_adapters(trained).state_dict()
    table = "model.embed_tokens.weight"
    assert torch.equal(after[table][:TEXT_TOKENS], before[table][:TEXT_TOKENS])
    assert not torch.equal(after[table][TEXT_TOKENS:], before[table][TEXT_TOKENS:])
    head = after["lm_head.weight"]
    assert torch.equal(head[:TEXT_TOKENS], before["lm_head.weight"][:TEXT_TOKENS])
    assert not torch.equal(head[TEXT_TOKENS:], before["lm_head.weight"][TEXT_TOKENS:])
    assert torch.equal(head, after[table]) == model.config.tie_word_embeddings
    for name, value in before.items():
        assert name in (table, "lm_head.weight") or torch.equal(after[name], value), name


def test_lora_is_merged_into_a_plain_model_with_the_same_lists(model, index, sids, prompts):
    base = model.model.layers[0].self_attn.q_proj.weight.detach().clone()
    trained = attach_adapters(model, sids, settings("--sft.lora.r", "4", "--sft.lora.dropout", "0"))
    train(trained)
    trained.eval()
    trie = build_trie(index)
    leaves, scores = beam_search(trained, trie, sids, prompts, 8)
    plain = merge_adapters(trained)
    assert isinstance(plain, PreTrainedModel) and not any("lora" in name for name in plain.state_dict())
    assert not torch.equal(plain.model.layers[0].self_attn.q_proj.weight, base)
    again, scores_again = beam_search(plain, trie, sids, prompts, 8)
    assert torch.equal(leaves, again)
    torch.testing.assert_close(scores, scores_again, atol=1e-4, rtol=0)


def test_adapters_move_to_another_copy_of_their_base(model, sids):
    """Trained on weights that were rounded, exported on those that were not: base + the same update."""
    clean = copy.deepcopy(model)
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.mul_(1.1)
    rounded = copy.deepcopy(model).state_dict()
    trained = attach_adapters(model, sids, settings("--sft.lora.r", "4", "--sft.lora.dropout", "0"))
    train(trained)
    again = merge_adapters(move_adapters(trained, copy.deepcopy(clean))).state_dict()
    there, before = merge_adapters(trained).state_dict(), clean.state_dict()
    for name, value in again.items():
        update = there[name] - rounded[name]
        torch.testing.assert_close(value, before[name] + update, atol=1e-5, rtol=1e-4, msg=name)
    table = "model.embed_tokens.weight"
    assert not torch.equal(again[table][TEXT_TOKENS:], before[table][TEXT_TOKENS:])


def test_training_on_four_bits_exports_the_whole_weights(index, sids, prompts, tmp_path):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    torch.manual_seed(0)
    wide = SHAPE | {"hidden_size": 64, "intermediate_size": 128}  # blocks of 64 weights share a scale
    model = Qwen2ForCausalLM._from_config(Qwen2Config(**wide, tie_word_embeddings=True), attn_implementation="sdpa")
    model.save_pretrained(tmp_path)
    asked = settings("--sft.lora.r", "4", "--sft.lora.dropout", "0", "--sft.lora.quantize", "nf4")
    how = quantization_arguments(asked.lora, torch.device("cpu"))
    small = Qwen2ForCausalLM.from_pretrained(tmp_path, attn_implementation="sdpa", **how)
    assert small.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    trained = attach_adapters(small, sids, asked)
    train(trained)
    plain = merge_adapters(move_adapters(trained, model))
    assert {value.dtype for value in plain.state_dict().values()} == {torch.float32}
    leaves, scores = beam_search(trained.eval(), build_trie(index), sids, prompts, 20)
    again, scores_again = beam_search(plain.eval(), build_trie(index), sids, prompts, 20)
    assert (scores - scores_again).abs().mean() < 0.5 * scores.std()  # the same model but for four-bit rounding


def test_four_bits_without_bitsandbytes_or_adapters_are_told(monkeypatch):
    monkeypatch.setattr(adapters, "installed", lambda _: None)
    asked = settings("--sft.lora.r", "4", "--sft.lora.quantize", "nf4").lora
    with pytest.raises(ArtifactError, match="pip install bitsandbytes"):
        quantization_arguments(asked, torch.device("cpu"))
    with pytest.raises(ConfigError, match="sft.lora.r 0 exclude"):
        settings("--sft.lora.quantize", "nf4")


def test_freezing_and_lora_exclude_each_other():
    with pytest.raises(ConfigError, match="exclude each other"):
        settings("--sft.freeze_LLM", "True", "--sft.lora.r", "4")
