"""Probabilities of lists against all permutations, and against how often lists are drawn."""

from itertools import permutations

import numpy as np
import pytest

from genrec.experiments.statistics.slate_sampling import sample_slates, slate_propensities

SCORES = np.array([0.5, 2.0, -1.0, 0.0, 1.0])


def list_probability(weights, items):
    """Plackett-Luce by its definition."""
    left, product = sum(weights), 1.0
    for item in items:
        product, left = product * weights[item] / left, left - weights[item]
    return product


def test_lists_have_the_probability_of_their_definition_and_sum_to_one():
    lists = np.array(list(permutations(range(5), 3)))
    found = slate_propensities(np.tile(SCORES, (len(lists), 1)), lists).prod(axis=1)
    assert found == pytest.approx([list_probability(np.exp(SCORES), items) for items in lists])
    assert found.sum() == pytest.approx(1)


def test_a_list_is_the_sum_over_the_orders_of_what_is_not_shown():
    """The first three of a whole order: all orders of the other two together."""
    weights, items = np.exp(SCORES), (3, 1, 0)
    whole = sum(list_probability(weights, (*items, *rest)) for rest in permutations([2, 4]))
    assert slate_propensities(SCORES[None], np.array([items])).prod() == pytest.approx(whole)


def test_lists_are_drawn_as_often_as_their_probability_says():
    drawn = sample_slates(np.tile(SCORES, (40_000, 1)), 2, np.random.default_rng(0), temperature=2.0)
    weights = np.exp(SCORES / 2)
    for items in permutations(range(5), 2):
        share = (drawn.items == items).all(axis=1).mean()
        expected = list_probability(weights, items)
        assert abs(share - expected) < 5 * np.sqrt(expected / 40_000)
    assert drawn.propensities == pytest.approx(slate_propensities(np.tile(SCORES / 2, (40_000, 1)), drawn.items))


def test_one_item_with_nearly_all_mass_leaves_exact_probabilities_below_it():
    scores = np.array([[60.0, 0.0, np.log(3.0)]])
    assert slate_propensities(scores, np.array([[0, 1, 2]]))[0] == pytest.approx([1.0, 0.25, 1.0])


def test_what_may_not_be_shown_is_never_drawn():
    scores = np.array([[0.0, -np.inf, 0.0, -np.inf]])
    drawn = sample_slates(np.repeat(scores, 200, 0), 2, np.random.default_rng(0))
    assert set(drawn.items.ravel()) == {0, 2} and (drawn.propensities[:, 1] == 1).all()
    with pytest.raises(ValueError, match="lists of 3 items cannot be drawn from 2 candidates"):
        sample_slates(scores, 3, np.random.default_rng(0))
