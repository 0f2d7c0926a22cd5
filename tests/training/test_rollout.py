"""Groups: distinct items of the catalogue, sampled exactly as the policy says, reduced as the settings say."""

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from genrec.config import Rl
from genrec.errors import ArtifactError
from genrec.models.beam import SidVocabulary
from genrec.models.policy import answer_scores
from genrec.sids import make_index
from genrec.training.rollout import make_answers, reduce_group, roll_out, sample_search

CODES = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0]])
SIDS = SidVocabulary(torch.arange(10, 16), (0, 3), (3, 3))
PROMPT = [1, 2, 3]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    shape = Qwen2Config(
        vocab_size=16,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.5,
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM._from_config(shape, attn_implementation="sdpa").eval()


@pytest.fixture
def answers():
    return make_answers(make_index(CODES, (3, 3)), SIDS, torch.device("cpu"), 4)


def probabilities(model, answers, temperature=1.0):
    """(N,) of every item after PROMPT, from the policy's own scores; levels tempered one by one."""
    prompt = torch.tensor([PROMPT])
    every = torch.from_numpy(answers.token)[None]
    with torch.no_grad():
        logp = answer_scores(model, model, answers.trie, SIDS, prompt, prompt > 0, every, "trie").logp[0].double()
    first = {code: logp[CODES[:, 0] == code, 0][0] / temperature for code in range(3)}
    total = torch.logsumexp(torch.stack(list(first.values())), 0)
    p = []
    for item, (code, _) in enumerate(CODES):
        siblings = torch.logsumexp(logp[CODES[:, 0] == code, 1] / temperature, 0)
        p.append(first[code] - total + logp[item, 1] / temperature - siblings)
    return torch.stack(p).exp().numpy()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sampling_is_exact_without_replacement(model, answers, temperature):
    draws, p = 4000, probabilities(model, answers, temperature)
    assert p.sum() == pytest.approx(1, abs=1e-5)
    generator = torch.Generator().manual_seed(0)
    leaf, logp = sample_search(model, answers.trie, SIDS, [PROMPT] * draws, 3, temperature, generator)
    item = answers.first_item[leaf.numpy()]
    assert all(len(set(row)) == 3 for row in item)
    pair = np.zeros((6, 6))
    np.add.at(pair, (item[:, 0], item[:, 1]), 1 / draws)
    expected = p[:, None] * p[None] / (1 - p[:, None]) * (1 - np.eye(6))  # first i, then j of what is left
    np.testing.assert_allclose(pair.sum(axis=1), p, atol=4 * (0.25 / draws) ** 0.5)
    np.testing.assert_allclose(pair, expected, atol=4 * (0.25 / draws) ** 0.5)
    np.testing.assert_allclose(logp.exp().numpy(), probabilities(model, answers)[item], atol=1e-5)


def test_sampling_all_gives_all(model, answers):
    leaf, _ = sample_search(model, answers.trie, SIDS, [PROMPT, [5]], 6, 1.0, torch.Generator().manual_seed(0))
    assert all(sorted(row) == list(range(6)) for row in leaf.tolist())


@pytest.mark.parametrize("beam_search", [True, False])
@pytest.mark.parametrize("dynamic", [True, False])
def test_groups_are_distinct_items_likeliest_first(model, answers, beam_search, dynamic):
    settings = Rl(num_generations=4, beam_search=beam_search, dynamic_sampling=dynamic)
    item = roll_out(model, answers, [PROMPT, [4, 4]], np.array([5, 0]), settings, torch.Generator().manual_seed(1))
    assert item.shape == (2, 4) and all(len(set(row)) == 4 for row in item)
    p = probabilities(model, answers)[item[0]]
    assert (np.diff(p) <= 1e-6).all()


def test_add_gt_takes_the_last_place(model, answers):
    settings = Rl(num_generations=4, add_gt=True)
    likely = np.argsort(-probabilities(model, answers))
    item = roll_out(model, answers, [PROMPT], likely[-1:], settings, torch.Generator())
    assert item[0, -1] == likely[-1]
    without = roll_out(model, answers, [PROMPT], likely[:1], settings, torch.Generator())
    assert without[0, 0] == likely[0]  # already there: nothing is replaced


def test_reduce_keeps_the_wanted_one_and_sorts():
    leaf, score = np.array([[7, 8, 9, 3, 4], [7, 8, 9, 3, 4]]), np.array([[-1.0, -3, -2, -9, -8]] * 2)
    kept = reduce_group(leaf, score, np.array([4, 100]), 3)
    assert kept.tolist() == [[7, 8, 4], [7, 9, 8]]


def test_a_leaf_of_several_items_counts_as_the_target(model):
    index = make_index(np.vstack([CODES, CODES[:1]]), (3, 3), allow_collisions=True)
    answers = make_answers(index, SIDS, torch.device("cpu"), 6)
    item = roll_out(model, answers, [PROMPT], np.array([6]), Rl(num_generations=6), torch.Generator())
    assert 6 in item[0] and 0 not in item[0]


def test_fewer_items_than_a_group_is_an_error():
    with pytest.raises(ArtifactError, match="rl.num_generations is 7, but the catalogue has only 6"):
        make_answers(make_index(CODES, (3, 3)), SIDS, torch.device("cpu"), 7)
