import math

import pytest
import torch

from tencentgr.losses import batch_softmax, bce, full_softmax, hardest, infonce, sampled_softmax, similarity_matrix


def test_bce_is_the_sum_of_two_means():
    good, bad = torch.tensor([2.0, -1.0]), torch.tensor([[0.5], [0.0]])
    by_hand = (math.log(1 + math.exp(-2)) + math.log(1 + math.e)) / 2 + (math.log(1 + math.exp(0.5)) + math.log(2)) / 2
    assert bce(good, bad).item() == pytest.approx(by_hand, abs=1e-6)
    criterion = torch.nn.BCEWithLogitsLoss()
    assert torch.allclose(bce(good, bad), criterion(good, torch.ones(2)) + criterion(bad[:, 0], torch.zeros(2)))


def test_the_similarity_matrix_pairs_users_at_one_position():
    query, target = torch.randn(4, 5, 3), torch.randn(4, 5, 3)
    expected = torch.zeros(4, 5, 4)
    for i in range(4):
        for t in range(5):
            for j in range(4):
                expected[i, t, j] = query[i, t] @ target[j, t]
    assert torch.allclose(similarity_matrix(query, target), expected, atol=1e-6)


def test_infonce_by_hand_without_padding_and_without_duplicates_of_the_target():
    torch.manual_seed(0)
    matrix = torch.randn(4, 3, 4)
    target = torch.tensor([[0, 5, 6], [0, 5, 7], [9, 8, 6], [0, 0, 2]])  # users of 2, 2, 3 and 1 items, left-padded
    wanted = target > 0
    losses = []
    for i in range(4):
        for t in range(3):
            if wanted[i, t]:
                others = [j for j in range(4) if wanted[j, t] and target[j, t] != target[i, t]]
                total = sum(math.exp(matrix[i, t, j]) for j in [i, *others])
                losses.append(math.log(total) - matrix[i, t, i].item())
    assert infonce(matrix, target, wanted).item() == pytest.approx(sum(losses) / len(losses), abs=1e-6)


def test_scores_at_padded_slots_change_nothing():
    target = torch.tensor([[0, 5], [3, 4]])
    matrix = torch.randn(2, 2, 2)
    changed = matrix.clone()
    changed[1, 0, 0] += 100  # user 0 has no item at position 0
    assert torch.equal(infonce(matrix, target, target > 0), infonce(changed, target, target > 0))


def test_a_batch_of_one_user_has_nothing_to_learn_and_no_nan():
    target = torch.tensor([[0, 5, 6]])
    assert infonce(torch.randn(1, 3, 1), target, target > 0).item() == 0.0


def test_the_whole_batch_by_hand_without_the_own_items_of_a_user(monkeypatch):
    """Positions of users 0, 0, 1, 2 with targets 0, 1, 0, 2: user 0 meets 2 alone, not its own 0, 1."""
    monkeypatch.setattr("tencentgr.losses.CHUNK", 3)
    torch.manual_seed(0)
    query, items = torch.randn(4, 5), torch.randn(3, 5)
    target, user = torch.tensor([0, 1, 0, 2]), torch.tensor([0, 0, 1, 2])
    taken = torch.tensor([[True, True, False], [True, False, False], [False, False, True]])
    met, scores = [[0, 2], [1, 2], [0, 1, 2], [2, 0, 1]], query @ items.T
    losses = [scores[p, m].logsumexp(0) - scores[p, m[0]] for p, m in enumerate(met)]
    assert batch_softmax(query, items, target, taken, user).item() == pytest.approx(sum(losses).item() / 4, abs=1e-6)


def test_full_softmax_is_cross_entropy_also_across_chunks(monkeypatch):
    query, catalog = torch.randn(10, 4, requires_grad=True), torch.randn(7, 4, requires_grad=True)
    target = torch.randint(0, 7, (10,))
    expected = torch.nn.functional.cross_entropy(query @ catalog.T, target)
    wanted = torch.autograd.grad(expected, [query, catalog])
    monkeypatch.setattr("tencentgr.losses.CHUNK", 3)
    actual = full_softmax(query, catalog, target)
    assert torch.allclose(actual, expected)
    for a, b in zip(torch.autograd.grad(actual, [query, catalog]), wanted, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_sampled_softmax_estimates_the_whole_sum_without_bias():
    """exp(loss + good) is the estimated sum over the catalogue; its mean over draws is the true one."""
    torch.manual_seed(0)
    scores, target = torch.randn(6), 2
    proposal = torch.tensor([0.4, 0.1, 0.2, 0.1, 0.15, 0.05])
    drawn = torch.multinomial(proposal, 20_000 * 8, replacement=True).view(20_000, 8)
    sums = [
        (
            sampled_softmax(scores[target : target + 1], scores[d][None], proposal[d], (d == target)[None])
            + scores[target]
        ).exp()
        for d in drawn[:4000]
    ]
    assert torch.stack(sums).mean().item() == pytest.approx(scores.exp().sum().item(), rel=0.03)


def test_the_hardest_candidate_alone_gets_a_gradient():
    scores = torch.tensor([[1.0, 3.0, 2.0, -1.0]], requires_grad=True)
    actual = hardest(scores, 2)
    actual.sum().backward()
    assert actual.tolist() == [[3.0, 2.0]] and scores.grad.tolist() == [[0.0, 1.0, 1.0, 0.0]]
