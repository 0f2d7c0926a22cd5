"""Shared prompts give what row-by-row computation gives: log-probabilities and gradients, under both normalizations."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.profiler import profile

from genrec.errors import ArtifactError
from genrec.models.policy import answer_scores
from genrec.models.trie import build_trie
from genrec.sids import make_index

GROUP = 5


def left_padded(prompts):
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    real = torch.tensor([[False] * (width - len(prompt)) + [True] * len(prompt) for prompt in prompts])
    return ids, real


def answers(index, sids, count, seed=0):
    """(B, G) items and their tokens (B, G, L), 0 past the end of a shorter SID."""
    items = np.stack([np.random.default_rng(seed + row).permutation(len(index))[:GROUP] for row in range(count)])
    codes = torch.from_numpy(index.codes[items].astype(np.int64))
    tokens = torch.stack([sids.level(level)[codes[..., level].clamp(min=0)] for level in range(index.num_levels)], -1)
    return items, torch.where(codes < 0, 0, tokens)


def row_by_row(model, index, sids, prompt, item, normalization):
    """(L,) from one plain row: the prompt and the whole answer, and a softmax over what may stand there."""
    codes = [int(code) for code in index.codes[item] if code >= 0]
    tokens = [int(sids.level(level)[code]) for level, code in enumerate(codes)]
    logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
    found = []
    for level, code in enumerate(codes):
        legal = sorted({int(row[level]) for row in index.codes if list(row[:level]) == codes[:level]})
        if normalization == "vocab":
            found.append(logits[level].log_softmax(-1)[tokens[level]])
        elif legal == [-1]:
            found.append(logits.new_zeros(()))
        else:
            found.append(logits[level][sids.level(level)[legal]].log_softmax(-1)[legal.index(code)])
    return torch.stack(found)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_equal_to_row_by_row(model, index, sids, prompts, normalization):
    equal_to_row_by_row(model, index, sids, prompts, normalization)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("tables", [[], ["embed_tokens"], ["embed_tokens", "lm_head"]], ids=str)
def test_equal_with_adapters_and_tables_trained_beside_them(model, index, sids, prompts, normalization, tables):
    adapters = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], modules_to_save=tables or None)
    equal_to_row_by_row(get_peft_model(model, adapters).eval(), index, sids, prompts, normalization)


def equal_to_row_by_row(model, index, sids, prompts, normalization):
    items, tokens = answers(index, sids, len(prompts))
    prompt, real = left_padded(prompts)
    weight = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(0))
    scores = answer_scores(model, model, build_trie(index), sids, prompt, real, tokens, normalization)
    (scores.logp * weight).sum().backward()
    shared = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    rows = [
        [row_by_row(model, index, sids, p, i, normalization) for i in g] for p, g in zip(prompts, items, strict=True)
    ]
    plain = torch.stack([torch.stack(group) for group in rows])
    (plain * weight).sum().backward()
    torch.testing.assert_close(scores.logp, plain, atol=1e-5, rtol=0)
    for name, p in model.named_parameters():
        if p.grad is not None:
            assert (shared[name] - p.grad).norm() <= 1e-4 * p.grad.norm() + 1e-7, name


@pytest.mark.parametrize(("normalization", "sums"), [("trie", 0), ("vocab", 1)])
def test_one_gradient_of_the_vocabulary_s_size(model, index, sids, prompts, normalization, sums):
    """One a table: embedding and head are the same in tied models, and have one each in others.

    Under vocab the head's gradient comes first, and autograd makes a sum of it and the rows looked up.
    """
    _, tokens = answers(index, sids, len(prompts))
    scores = answer_scores(model, model, build_trie(index), sids, *left_padded(prompts), tokens, normalization)
    table = model.get_input_embeddings().weight
    with profile(profile_memory=True) as allocations:
        scores.logp.sum().backward()
    made = [event for event in allocations.events() if event.self_cpu_memory_usage == table.nbytes]
    tied = table is model.lm_head.weight
    assert len(made) == (1 + sums if tied else 2)
    assert table.grad.layout == model.lm_head.weight.grad.layout == torch.strided


def test_trie_policy_sums_to_one_and_vocab_leaks(model, index, sids, prompts):
    prompt, real = left_padded(prompts[:1])
    codes = torch.from_numpy(index.codes.astype(np.int64))
    every = torch.stack([sids.level(level)[codes[:, level]] for level in range(3)], -1)[None]  # (1, N, L)
    trie = build_trie(index)
    with torch.no_grad():
        trie_scores = answer_scores(model, model, trie, sids, prompt, real, every, "trie")
        vocab = answer_scores(model, model, trie, sids, prompt, real, every, "vocab")
    assert trie_scores.logp.sum(-1).exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert trie_scores.mass.mean().item() == pytest.approx(1, abs=1e-5)
    assert vocab.logp.sum(-1).exp().sum().item() < 0.9 and vocab.mass.max().item() < 1
    torch.testing.assert_close(trie_scores.entropy, vocab.entropy, atol=1e-4, rtol=0)


def test_entropy_of_the_first_level_by_hand(model, index, sids, prompts):
    _, tokens = answers(index, sids, 1)
    prompt, real = left_padded(prompts[:1])
    with torch.no_grad():
        scores = answer_scores(model, model, build_trie(index), sids, prompt, real, tokens, "trie")
        p = model(prompt).logits[0, -1][sids.level(0)[sorted(set(index.codes[:, 0].tolist()))]].softmax(-1)
    assert scores.entropy[0, 0, 0].item() == pytest.approx(-(p * p.log()).sum().item(), abs=1e-5)


def test_a_shorter_sid_ends_without_score(model, sids, prompts):
    codes = np.array([[0, 1, -1], [0, 2, 0], [0, 2, 1], [1, 0, -1], [2, 0, -1]])
    index = make_index(codes, (6, 6, 6))
    prompt, real = left_padded(prompts[:1])
    tokens = torch.tensor(
        [[[sids.level(0)[0], sids.level(1)[1], 0], [sids.level(0)[0], sids.level(1)[2], sids.level(2)[1]]]]
    )
    with torch.no_grad():
        scores = answer_scores(model, model, build_trie(index), sids, prompt, real, tokens, "trie")
    assert scores.logp[0, 0, 2] == 0 and scores.logp[0, 1, 2] < 0
    torch.testing.assert_close(
        scores.logp[0, 1], row_by_row(model, index, sids, prompts[0], 2, "trie"), atol=1e-5, rtol=0
    )


def test_an_answer_outside_the_catalogue_is_an_error(model, index, sids, prompts):
    prompt, real = left_padded(prompts[:1])
    absent = next(c for c in np.ndindex(6, 6, 6) if list(c) not in index.codes.tolist())
    tokens = torch.tensor([[[int(sids.level(level)[code]) for level, code in enumerate(absent)]]])
    with pytest.raises(ArtifactError, match="no semantic ID of the catalogue"):
        answer_scores(model, model, build_trie(index), sids, prompt, real, tokens, "trie")
