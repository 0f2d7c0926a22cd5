"""Teachers' probabilities against their definitions; what is not theirs to teach is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from genrec import stage
from genrec.commandline import Command
from genrec.config import TeacherName
from genrec.data.sequences import Examples, Sequences, Split, cut_examples
from genrec.errors import ArtifactError
from genrec.models.knn import fit_knn
from genrec.models.sasrec import SasRec, SasRecShape, save_sasrec
from genrec.models.teachers import POWERS, TEACHERS, choose_power, load_teacher
from genrec.store import RunStore
from tests.small_shop import small_config, small_shop, write_data


@pytest.fixture
def store(tmp_path):
    config = small_config(tmp_path / "run")
    write_data(config, small_shop())
    return RunStore.of(config)


def write_sequential(store, num_items=20):
    def build(config, directory):
        torch.manual_seed(0)
        shape = SasRecShape(num_items, 8, 1, 2, dropout=0.3, max_length=6, cosine=True, temperature=0.2)
        (directory / "sasrec").mkdir()
        save_sasrec(SasRec(shape), directory / "sasrec")
        return {}

    stage.run("sequential", Command(small_config(store.directory), clean=False, dry_run=False), build)


def test_the_names_of_the_schema_are_those_that_exist():
    assert TeacherName.__args__ == tuple(TEACHERS)


def test_a_mixture_is_the_weighted_mean_of_probabilities(store):
    write_sequential(store)
    data = small_shop()
    examples = data.examples("train").without_seen()
    one, other, both = (
        load_teacher(store, data, weights, "cpu", True)(examples)
        for weights in ({"sasrec": 2.0}, {"item_knn": 0.5, "sasrec": 0.0}, {"sasrec": 3.0, "item_knn": 1.0})
    )
    assert one.sum(axis=1) == pytest.approx(np.ones(len(examples)))
    assert both == pytest.approx(0.75 * one + 0.25 * other)
    row, item = examples.excluded.pairs()
    assert not both[row, item].any()


def test_a_teacher_is_asked_about_every_place_of_a_window_at_once(store):
    write_sequential(store)
    data = small_shop()
    teacher = load_teacher(store, data, {"sasrec": 3.0, "item_knn": 1.0}, "cpu", True)
    item, user = np.array([[3, 1, 4, 1, 5], [2, 7, -1, -1, -1]]), np.array([0, 4])
    answer = teacher.of_windows(item, user)
    for row, place in [(0, 0), (0, 2), (0, 4), (1, 0), (1, 1)]:
        history = np.full((1, 5), -1)
        history[0, 4 - place :] = item[row, : place + 1]
        alone = teacher(Examples(user[[row]], history, np.zeros(1, np.int32)))[0]
        assert answer[row, place] == pytest.approx(alone, abs=1e-6)


def test_item_knn_gives_its_history_nothing_where_lists_leave_out_what_was_seen(store):
    data = small_shop()
    examples = data.examples("train")
    told = load_teacher(store, data, {"item_knn": 1.0}, "cpu", True).teachers[0]
    kept, left = replace(told, forgets_history=False)(examples), told(examples)
    row, place = np.nonzero(examples.history >= 0)
    of_history = np.zeros(kept.shape, dtype=bool)
    of_history[row, examples.history[row, place]] = True
    assert kept[of_history].any() and not left[of_history].any()
    known = left.sum(axis=1) > 0
    scaled = np.where(of_history, 0, kept)[known]
    assert left[known] == pytest.approx(scaled / scaled.sum(axis=1, keepdims=True))


def test_item_knn_scores_a_training_row_as_if_its_user_had_bought_nothing(store):
    """Against item-kNN fitted without the user, where the counts of the items' users are those of all."""
    data = small_shop()
    examples = data.examples("train")
    found = load_teacher(store, data, {"item_knn": 1.0}, "cpu", True)(examples)
    knn = fit_knn(data.sequences, data.seen, data.train_count)
    users = np.array([len(np.unique(owners_of(data, item))) for item in range(20)])
    for row in range(0, len(examples), 37):
        without = data.seen & (
            np.repeat(np.arange(len(data.sequences)), np.diff(data.sequences.offset)) != examples.user[row]
        )
        others = fit_knn(data.sequences, without, data.train_count)
        rest = np.array([len(np.setdiff1d(owners_of(data, item), examples.user[row])) for item in range(20)])
        counted = np.sqrt(np.outer(rest, rest) / np.outer(users, users))
        similarity = others.similarity.toarray() * counted
        np.fill_diagonal(similarity, knn.similarity.toarray().diagonal())  # who bought it twice is left as it is
        history = examples.history[row][examples.history[row] >= 0]
        score = sum(0.5**age * similarity[item] for age, item in enumerate(history[::-1]))
        score[history] = 0
        power = np.maximum(score, 0) ** choose_power(knn, data.examples("valid").without_seen())
        assert found[row] == pytest.approx(power / power.sum(), abs=1e-6)


def owners_of(data, item):
    owner = np.repeat(np.arange(len(data.sequences)), np.diff(data.sequences.offset))
    return owner[data.seen & (data.sequences.item == item)]


def test_a_user_without_others_is_told_nothing(store):
    """Nobody else bought two of these items, so item-kNN has no mass at all."""
    data = small_shop()
    alone = Sequences(np.array([3, 4, 5], np.int32), np.arange(3), np.array([0, 3]), np.array(["u"]))
    split = Split(np.array([0], np.int32), np.array([2]))
    single = replace(data, sequences=alone, splits={"train": split, "valid": split.take([]), "test": split.take([])})
    assert not load_teacher(store, single, {"item_knn": 1.0}, "cpu", True)(cut_examples(alone, split, 6)).any()


def test_a_teacher_that_is_not_there_or_knows_another_catalogue_is_refused(store):
    data = small_shop()
    with pytest.raises(ArtifactError, match="sequential is not there yet; run first: genrec sequential"):
        load_teacher(store, data, {"sasrec": 1.0}, "cpu", True)
    write_sequential(store, num_items=19)
    with pytest.raises(ArtifactError, match="sft.teacher sasrec knows 19 items, the catalogue has 20; run: "):
        load_teacher(store, data, {"sasrec": 1.0}, "cpu", True)
    with pytest.raises(ArtifactError, match="no SASRec in .*add 'sasrec_text' to sequential.models"):
        load_teacher(store, data, {"sasrec_text": 1.0}, "cpu", True)


def test_a_teacher_of_other_data_is_refused(store):
    write_sequential(store)
    manifest = store.path("data") / "manifest.json"
    fingerprint = store.manifest("data").fingerprint
    trained = store.path("sequential") / "manifest.json"
    assert fingerprint in trained.read_text() and fingerprint in manifest.read_text()
    trained.write_text(trained.read_text().replace(fingerprint, "0" * len(fingerprint)))
    with pytest.raises(
        ArtifactError, match=f"was trained on data 0+, .* is {fingerprint}; run: genrec sequential --clean"
    ):
        load_teacher(store, small_shop(), {"sasrec": 1.0}, "cpu", True)


def test_the_power_is_the_one_under_which_valid_targets_are_likeliest():
    data = small_shop()
    knn, valid = fit_knn(data.sequences, data.seen, data.train_count), data.examples("valid")
    scores = knn.scores(valid.history)
    at = np.arange(len(valid)), valid.target
    likelihood = {
        power: sum(
            np.log(row[item] ** power / (row**power).sum())
            for row, item in zip(scores, at[1], strict=True)
            if row[item] > 0
        )
        for power in POWERS
    }
    assert choose_power(knn, valid) == max(likelihood, key=likelihood.get)
    assert choose_power(knn, valid.take(np.zeros(0, int))) == POWERS[0]
