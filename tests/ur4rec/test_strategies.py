"""Training strategies on hand-worked numbers."""

import math

import pytest
import torch
from torch.nn import functional as F

from UR4Rec.models.training_strategies import (
    CURRICULUM,
    AdaptiveAlternatingTrainer,
    BidirectionalKnowledgeDistillation,
    CurriculumWeightScheduler,
    FixedAlternation,
    MemoryBankContrastiveLoss,
    UncertaintyWeighting,
)


def turns(alternation, losses) -> list[str]:
    """The module that learned in each step."""
    learned = []
    for loss in losses:
        learned.append(alternation.current_module)
        alternation.step(loss)
    return learned


def test_a_falling_loss_keeps_its_module_and_a_still_one_gives_way():
    falling = [10 * 0.9**step for step in range(12)]
    alternation = AdaptiveAlternatingTrainer(window=4, threshold=0.01, min_steps=4)
    assert set(turns(alternation, falling)) == {"sasrec"}
    assert alternation.get_stats()["switch_count"] == 0
    assert turns(alternation, [3.0] * 12) == ["sasrec"] * 4 + ["retriever"] * 4 + ["sasrec"] * 4


def test_the_rate_by_hand():
    alternation = AdaptiveAlternatingTrainer(window=4, threshold=0.01, min_steps=50)
    turns(alternation, [99.0, 4.0, 2.0, 2.0, 1.0])
    assert alternation.rate() == pytest.approx((3 - 1.5) / 3)


def test_no_turn_is_shorter_than_min_steps():
    alternation = AdaptiveAlternatingTrainer(window=2, threshold=1.0, min_steps=7)
    learned = turns(alternation, [1.0] * 21)
    assert learned == ["sasrec"] * 7 + ["retriever"] * 7 + ["sasrec"] * 7


def test_a_larger_threshold_switches_more():
    losses = [10 * 0.98**step for step in range(60)]  # halves of a window of 10 differ by about 10%
    counts = []
    for threshold in (0.01, 0.2):
        alternation = AdaptiveAlternatingTrainer(threshold=threshold)
        turns(alternation, losses)
        counts.append(alternation.get_stats()["switch_count"])
    assert counts[0] == 0 and counts[1] > 5


def test_stats_and_reset():
    alternation = FixedAlternation(length=2)
    turns(alternation, [1.0, 2.0, 3.0])
    assert alternation.get_stats() == {
        "total_steps": 3,
        "current_module": "retriever",
        "steps_since_switch": 1,
        "switch_count": 1,
        "sasrec_steps": 2,
        "retriever_steps": 1,
        "sasrec_ratio": 2 / 3,
        "retriever_ratio": 1 / 3,
        "sasrec_loss": 2.0,
        "retriever_loss": 3.0,
    }
    alternation.reset()
    assert alternation.get_stats() == FixedAlternation().get_stats()


def test_a_restored_alternation_goes_on_alike():
    losses = [1 / (1 + step % 9) for step in range(40)]
    whole, first, second = (AdaptiveAlternatingTrainer(window=4, threshold=0.05) for _ in range(3))
    learned = turns(whole, losses)
    begun = turns(first, losses[:17])
    second.load_state_dict(first.state_dict())
    assert begun + turns(second, losses[17:]) == learned


def test_the_curriculum_by_hand():
    schedule = CurriculumWeightScheduler(total_steps=110, warmup_steps=10)
    assert schedule.weights(9) == dict.fromkeys(CURRICULUM, 0.0)
    assert schedule.weights(25) == pytest.approx({"consistency": 0.05, "contrastive": 0.0, "diversity": 0.0})
    assert schedule.weights(55) == pytest.approx({"consistency": 0.1, "contrastive": 0.1, "diversity": 0.0})
    assert schedule.weights(90) == pytest.approx({"consistency": 0.1, "contrastive": 0.2, "diversity": 0.025})


@pytest.mark.parametrize("total, warmup", [(1, 0), (100, 100), (10, 50), (1000, 3)])
def test_the_curriculum_never_divides_by_zero_nor_passes_its_maximum(total, warmup):
    schedule = CurriculumWeightScheduler(total, warmup)
    for step in (0, 1, warmup, total - 1, total, 10 * total + warmup):
        for name, weight in schedule.weights(step).items():
            assert 0 <= weight <= CURRICULUM[name][2]


def test_perfect_alignment_costs_nothing():
    vectors = torch.eye(6)
    loss = MemoryBankContrastiveLoss(6, size=100)(vectors, vectors, torch.arange(6))
    assert loss.item() == pytest.approx(math.log(1 + 5 * math.exp(-1 / 0.07)), abs=1e-6)
    assert loss.item() < 1e-5
    only_positives = MemoryBankContrastiveLoss(6, size=100)(vectors, vectors, torch.zeros(6, dtype=torch.long))
    assert only_positives.item() == 0


def test_no_positive_is_among_the_negatives_by_brute_force():
    torch.manual_seed(0)
    bank = MemoryBankContrastiveLoss(4, size=5, temperature=0.5)
    batches = [(F.normalize(torch.randn(3, 4), dim=-1), F.normalize(torch.randn(3, 4), dim=-1)) for _ in range(3)]
    ids = [torch.tensor([1, 2, 1]), torch.tensor([3, 1, 4]), torch.tensor([1, 5, 3])]
    kept: list[tuple] = []
    for (users, items), numbers in zip(batches, ids, strict=True):
        rows = [*zip(users, items, numbers.tolist(), strict=True)]
        wanted = 0.0
        for user, item, number in rows:
            for own, other, side in ((user, item, 1), (item, user, 0)):
                positive = math.exp(own @ other / 0.5)
                others = sum(math.exp(own @ row[side] / 0.5) for row in rows + kept if row[2] != number)
                wanted -= math.log(positive / (positive + others)) / 6
        assert bank(users, items, numbers).item() == pytest.approx(wanted, rel=1e-5)
        kept = (kept + rows)[-5:]
    assert bank.ids.tolist() == [1, 4, 1, 5, 3]


def test_a_bank_of_size_0_stays_empty():
    bank = MemoryBankContrastiveLoss(4, size=0)
    bank(torch.eye(4), torch.eye(4), torch.arange(4))
    assert len(bank.ids) == 0


def test_distillation_by_hand_and_its_gradients():
    one = torch.tensor([[2.0, 0.0, -1.0]], requires_grad=True)
    other = torch.tensor([[0.0, 1.0, 0.5]], requires_grad=True)
    loss = BidirectionalKnowledgeDistillation(temperature=2.0)(one, other)
    p, q = (torch.softmax(x.detach() / 2, -1) for x in (one, other))
    wanted = 2 * ((q * (q / p).log()).sum() + (p * (p / q).log()).sum())
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    loss.backward()
    torch.testing.assert_close(one.grad, 2 * (p - q) / 2)  # the teacher is held still: only the student's softmax moves
    assert BidirectionalKnowledgeDistillation()(one, one).item() == pytest.approx(0, abs=1e-6)


def test_uncertainty_weighting_by_hand():
    weighting = UncertaintyWeighting(("a", "b"))
    losses = {"a": torch.tensor(4.0), "b": torch.tensor(1.0)}
    assert weighting(losses).item() == pytest.approx(5.0)
    with torch.no_grad():
        weighting.log_variance["a"].fill_(math.log(4))
    assert weighting(losses).item() == pytest.approx(4 / 4 + math.log(4) + 1)
