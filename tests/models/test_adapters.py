"""What each way of training may move, and that the export is a plain model with the same answers."""

import pytest
import torch
from transformers import PreTrainedModel

from genrec.commandline import parse_strict
from genrec.config import ConfigError
from genrec.models.adapters import attach, merged
from genrec.models.beam import beam_search
from genrec.models.token_tree import Branch, answer_logits, collate, grow
from genrec.models.trie import build_trie
from tests.models.conftest import TEXT_TOKENS


def settings(*flags):
    return parse_strict(["--sft.weight_decay", "0.5", *flags]).config.sft


def train(model, steps=3):
    """A few AdamW steps with strong decay on one tree."""
    tree = grow([3, 1, 4], [Branch(3, [], [TEXT_TOKENS, TEXT_TOKENS + 7, TEXT_TOKENS + 13])])
    batch = collate([vars(tree)])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05, weight_decay=0.5)
    for _ in range(steps):
        logits, labels = answer_logits(model, batch)
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()


def test_freeze_llm_moves_sid_rows_alone(model, sids):
    before = {name: p.detach().clone() for name, p in model.state_dict().items()}
    trained = attach(model, sids, settings("--sft.freeze_LLM", "True"))
    train(trained)
    after = merged(trained).state_dict()
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
    trained = attach(model, sids, settings("--sft.lora.r", "4", "--sft.lora.dropout", "0"))
    train(trained)
    trained.eval()
    trie = build_trie(index)
    leaves, scores = beam_search(trained, trie, sids, prompts, 8)
    plain = merged(trained)
    assert isinstance(plain, PreTrainedModel) and not any("lora" in name for name in plain.state_dict())
    assert not torch.equal(plain.model.layers[0].self_attn.q_proj.weight, base)
    again, scores_again = beam_search(plain, trie, sids, prompts, 8)
    assert torch.equal(leaves, again)
    torch.testing.assert_close(scores, scores_again, atol=1e-4, rtol=0)


def test_freezing_and_lora_exclude_each_other():
    with pytest.raises(ConfigError, match="exclude each other"):
        settings("--sft.freeze_LLM", "True", "--sft.lora.r", "4")
