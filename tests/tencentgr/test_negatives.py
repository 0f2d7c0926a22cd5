import pytest
import torch

from genrec.errors import ArtifactError
from tencentgr.negatives import NegativeMix, NegativeSampler, SmartNegativeSampler, popularity_weights

COUNTS = torch.tensor([0.0, 80, 40, 20, 10, 5, 3, 2, 1, 0, 0])  # ten items, two of them never seen
OWNED = {0: [1, 2], 1: [3, 10], 2: [], 3: [1, 2, 3, 4, 5, 6, 7, 8, 9]}


def sampler(mix: NegativeMix | None = None, factor: float = 0.75) -> NegativeSampler:
    user = torch.tensor([u for u, items in OWNED.items() for _ in items + items])
    item = torch.tensor([i for items in OWNED.values() for i in items + items])
    return NegativeSampler(COUNTS, (user, item), len(OWNED), mix or NegativeMix(), factor)


def frequencies(drawn: torch.Tensor) -> torch.Tensor:
    return torch.bincount(drawn.flatten(), minlength=11) / drawn.numel()


def draw(drawn_by: NegativeSampler, user: int, k: int = 1, progress: float = 0.0, rows: int = 40_000) -> torch.Tensor:
    torch.manual_seed(0)
    return drawn_by(torch.full((rows,), user), k, progress)


@pytest.mark.parametrize("user", OWNED)
def test_uniform_negatives_are_uniform_over_what_the_user_never_had(user):
    expected = torch.tensor([0.0] + [float(item not in OWNED[user]) for item in range(1, 11)])
    assert torch.allclose(frequencies(draw(sampler(), user)), expected / expected.sum(), atol=0.01)


@pytest.mark.parametrize("mix", [NegativeMix(), NegativeMix(smart=True), NegativeMix(smart=True, curriculum="linear")])
@pytest.mark.parametrize("user", OWNED)
def test_nobody_is_shown_an_own_item(mix, user):
    drawn = draw(sampler(mix), user, k=3, progress=0.99, rows=5_000)
    assert not set(drawn.unique().tolist()) & {0, *OWNED[user]}


def test_smart_sampling_changes_what_is_drawn_also_with_one_negative():
    popular = COUNTS**0.75 / (COUNTS**0.75).sum()
    uniform = torch.tensor([0.0] + [0.1] * 10)
    for k in (1, 4):
        drawn = frequencies(draw(sampler(NegativeMix(smart=True)), 2, k, rows=80_000 // k))
        assert torch.allclose(drawn, 0.3 * popular + 0.7 * uniform, atol=0.01)
    assert torch.allclose(frequencies(draw(sampler(NegativeMix(smart=False)), 2)), uniform, atol=0.01)


def test_popularity_is_counted_and_its_factor_bends_it():
    drawn_by = {factor: frequencies(sampler(factor=factor).popular_items((40_000,))) for factor in (0.5, 1.0)}
    assert torch.allclose(drawn_by[1.0], COUNTS / COUNTS.sum(), atol=0.01)
    assert drawn_by[1.0][1] > drawn_by[0.5][1] and drawn_by[0.5][9] == drawn_by[0.5][10] == 0


@pytest.mark.parametrize("factor", [0.0, 0.75, 2.0, 10.0])
@pytest.mark.parametrize("user", OWNED)
def test_popular_draws_are_exact_at_any_factor_whatever_the_user_has(factor, user):
    """Against the weights themselves, the user's own items struck out."""
    weight = COUNTS.double() ** factor
    weight[[0, *OWNED[user]]] = 0
    by_popularity = sampler(NegativeMix(smart=True), factor)
    torch.manual_seed(0)
    users = torch.full((40_000,), user)
    drawn = by_popularity.popular_or(users, by_popularity.uniform(users, 1))
    if user == 3 and factor:  # item 10 alone is left, and it weighs nothing
        assert set(drawn.flatten().tolist()) == {10}
    else:
        assert torch.allclose(frequencies(drawn).double(), weight / weight.sum(), atol=0.01)


def test_what_is_left_of_a_user_with_nearly_all_weight_keeps_its_proportions():
    """Items 1 and 3 weigh 10^20 and 10^15 times what is left: no difference of sums may swallow it."""
    counts = torch.tensor([0.0, 1e5, 3, 1e4, 2, 2])
    heavy = NegativeSampler(counts, (torch.tensor([0, 0]), torch.tensor([1, 3])), 1, NegativeMix(smart=True), 4.0)
    torch.manual_seed(0)
    users = torch.zeros(40_000, dtype=torch.long)
    shares = torch.bincount(heavy.popular_or(users, heavy.uniform(users, 1)).flatten(), minlength=6) / 40_000
    wanted = torch.tensor([0, 0, 81, 0, 16, 16]) / 113
    assert torch.allclose(shares, wanted, atol=0.01)


def test_ids_may_be_the_ranks_of_popularity():
    by_id = NegativeSampler(COUNTS, (torch.tensor([0]), torch.tensor([1])), 1, NegativeMix(smart=True), 2.0, "id")
    wanted = torch.tensor([0.0, 0.0] + [item**-2.0 for item in range(2, 11)])
    torch.manual_seed(0)
    users = torch.zeros(40_000, dtype=torch.long)
    drawn = by_id.popular_or(users, by_id.uniform(users, 1))
    assert torch.allclose(frequencies(drawn), wanted / wanted.sum(), atol=0.01)
    huge = popularity_weights(torch.tensor([0.0, 1e6, 1e6, 10]), 100.0)
    assert huge.tolist() == [0.0, 1.0, 1.0, 0.0]  # a count to the power of 100 is no number any more


def test_the_published_sampler_mixes_popular_and_random_items_that_the_user_never_had():
    torch.manual_seed(0)
    mixer = SmartNegativeSampler(50, popularity_factor=2.0, num_negatives=1000)
    assert mixer.item_popularity()[4] == 4**-2.0
    drawn = mixer.mixed_negative_sampling([1, 7, 7, 0], popular_ratio=0.3, random_ratio=0.7)
    assert len(drawn) == 1000 and not {0, 1, 7} & set(drawn)
    assert drawn[:300].count(2) > 90 and drawn[300:].count(2) < 40  # .39 of the popular draws, .02 of the others
    with pytest.raises(ValueError, match="popular_ratio 0.3 and random_ratio 0.3"):
        mixer.mixed_negative_sampling([1], random_ratio=0.3)


@pytest.mark.parametrize(
    "schedule, at, ratio",
    [("linear", 0.2, 0.1), ("linear", 0.5, 0.5), ("linear", 1.0, 0.8), ("cosine", 0.2, 0.1), ("cosine", 0.5, 0.5),
     ("exponential", 0.5, 0.1), ("exponential", 0.7, 0.5), ("exponential", 0.9, 0.8)],
)  # fmt: skip
def test_the_curriculum_follows_its_schedule(schedule, at, ratio):
    mix = NegativeMix(smart=True, curriculum=schedule)
    assert mix.popular_ratio(at) == ratio
    head = frequencies(draw(sampler(mix), 2, progress=at))[1]
    share = COUNTS[1] ** 0.75 / (COUNTS**0.75).sum()
    assert head == pytest.approx(float(ratio * share + (1 - ratio) * 0.1), abs=0.01)


def test_dynamic_negatives_have_more_candidates_as_training_goes_on():
    assert [NegativeMix(candidates=9).draws(progress) for progress in (0.0, 0.5, 1.0)] == [1, 5, 9]
    assert NegativeMix().draws(1.0) == 1


def test_shared_draws_come_with_their_probability():
    torch.manual_seed(0)
    items, probability = sampler(NegativeMix(smart=True)).shared(60_000, 0.0)
    drawn = frequencies(items)
    for item in range(1, 11):
        assert drawn[item] == pytest.approx(float(probability[items == item][0]), abs=0.01)


def test_a_user_with_everything_is_named():
    with pytest.raises(ArtifactError, match="a user has had all 10 items"):
        NegativeSampler(COUNTS, (torch.ones(10), torch.arange(1, 11)), 2, NegativeMix(), 1.0)


def test_curriculum_without_smart_sampling_is_refused():
    with pytest.raises(ValueError, match="needs smart sampling"):
        NegativeMix(curriculum="linear")
