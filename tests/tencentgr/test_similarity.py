import pytest
import torch

from tencentgr.similarity import AdaptiveSimilarity, Similarity, SimilarityCalculator

KINDS = ("dot", "cosine", "scaled", "bilinear")


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(7, 8), torch.randn(7, 8)


def by_hand(kind: str, x: torch.Tensor, y: torch.Tensor, bilinear: torch.Tensor) -> torch.Tensor:
    if kind == "bilinear":
        return torch.stack([a @ bilinear @ b for a, b in zip(x, y, strict=True)])
    dot = torch.stack([a @ b for a, b in zip(x, y, strict=True)])
    return {
        "dot": dot,
        "cosine": dot / (x.square().sum(1).sqrt() * y.square().sum(1).sqrt()),
        "scaled": dot / 8**0.5,
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_its_formula(kind):
    (x, y), similarity = pairs(), Similarity(8, (kind,))
    assert torch.allclose(similarity(x, y), by_hand(kind, x, y, similarity.bilinear), atol=1e-6)


def test_the_formulas_by_name_are_the_kinds():
    (x, y), bilinear = pairs(), Similarity(8, ("bilinear",))
    named = {
        "cosine": SimilarityCalculator.cosine_similarity(x, y),
        "scaled": SimilarityCalculator.scaled_dot_product(x, y),
        "bilinear": SimilarityCalculator.bilinear_similarity(x, y, bilinear.bilinear),
    }
    for kind, actual in named.items():
        assert torch.allclose(actual, by_hand(kind, x, y, bilinear.bilinear), atol=1e-6)
        served = bilinear if kind == "bilinear" else Similarity(8, (kind,))
        assert torch.allclose(actual, served(x, y), atol=1e-6)


def test_the_published_mix_by_its_published_names():
    mix = AdaptiveSimilarity(8, ["dot", "cosine", "scaled"])
    numbers = [getattr(mix, name).item() for name in ("alpha", "beta", "gamma", "temperature")]
    assert numbers == pytest.approx([0.5, 0.3, 0.2, 1.0])


@pytest.mark.parametrize("kinds", [("dot", "cosine", "scaled"), KINDS, ("dot", "scaled"), ("cosine",)])
def test_the_mix_starts_from_the_published_weights(kinds):
    (x, y), similarity = pairs(), AdaptiveSimilarity(8, kinds)
    weight = {"dot": 0.5, "cosine": 0.3, "scaled": 0.2, "bilinear": 0.1}
    expected = sum(weight[kind] * by_hand(kind, x, y, similarity.bilinear) for kind in kinds)
    assert torch.allclose(similarity(x, y), expected, atol=1e-6)
    names = {"dot": "alpha", "cosine": "beta", "scaled": "gamma", "bilinear": "delta"}
    learned = {name: float(value) for name, value in similarity.learned().items()}
    assert learned == pytest.approx({names[k]: weight[k] for k in kinds} | {"temperature": 1.0})


def test_what_trains_is_what_serves_also_after_the_weights_moved():
    (x, y), similarity = pairs(), AdaptiveSimilarity(8, KINDS)
    with torch.no_grad():
        for parameter in similarity.parameters():
            parameter.add_(torch.randn_like(parameter))
    served = similarity.query(x) @ similarity.item(y).T  # what an inner-product index computes
    assert torch.allclose(served.diagonal(), similarity(x, y), atol=1e-5)
    assert served.shape == (7, 7) and similarity.query(x).shape == (7, 16)


def test_every_learned_scalar_gets_a_gradient():
    (x, y), similarity = pairs(), AdaptiveSimilarity(8, KINDS)
    similarity(x, y).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in similarity.parameters())


def test_a_score_depends_on_its_own_pair_alone():
    (x, y), similarity = pairs(), AdaptiveSimilarity(8, KINDS)
    assert torch.allclose(similarity(x, y)[:3], similarity(x[:3], y[:3]))


@pytest.mark.parametrize(
    "kinds, adaptive, match",
    [(("euclid",), True, "none of"), (("dot", "dot"), True, "distinct"), (("dot", "cosine"), False, "exactly one")],
)
def test_wrong_kinds_are_named(kinds, adaptive, match):
    with pytest.raises(ValueError, match=match):
        (AdaptiveSimilarity if adaptive else Similarity)(8, kinds)


def test_every_weight_can_be_read_whatever_is_mixed_and_those_left_out_are_0_and_not_saved():
    mix = AdaptiveSimilarity(4, ["dot", "cosine"])
    read = {name: getattr(mix, name).item() for name in ("alpha", "beta", "gamma", "delta", "temperature")}
    assert read == pytest.approx({"alpha": 0.5, "beta": 0.3, "gamma": 0.0, "delta": 0.0, "temperature": 1.0})
    assert {*mix.state_dict()} == {*mix.learned()} == {"alpha", "beta", "temperature"}
    assert len(list(mix.parameters())) == 3
