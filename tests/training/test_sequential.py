"""SASRec training: losses against a loop, windows by hand, seeds, and a kill in the middle."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from genrec import artifacts, stage
from genrec.commandline import Command
from genrec.config import Config
from genrec.config_checks import validate
from genrec.data.repeats import held_out
from genrec.data.weights import target_weights
from genrec.errors import ArtifactError, ConfigError
from genrec.evaluation.metrics import item_scores
from genrec.models.sasrec import SasRec, SasRecShape, load_sasrec
from genrec.runtime.training_record import read_record
from genrec.sids import SidIndex
from genrec.stages import sequential
from genrec.store import RunStore
from genrec.training import sequential as training
from genrec.training.knowledge import find_available, load_knowledge
from tests.small_shop import small_config, small_shop, write_data

FAST = {
    "hidden_size": 16,
    "num_layers": 1,
    "num_heads": 2,
    "dropout": 0.1,
    "num_epochs": 25,
    "batch_size": 16,
    "learning_rate": 1e-2,
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def config_of(run_dir, **options) -> Config:
    return small_config(run_dir, sequential={**FAST, **options}, run={"dir": str(run_dir), "device": "cpu"})


def train(config: Config, clean: bool = False) -> str:
    """Run the stage; its fingerprint."""
    stage.run("sequential", Command(config, clean, dry_run=False), sequential.build)
    return stage.read_manifest(config.run.dir / "sequential").fingerprint


def test_losses_equal_a_loop_over_positions():
    torch.manual_seed(0)
    model = SasRec(SasRecShape(12, 8, 1, 2, 0.0, 5, False, 0.1)).eval()
    torch.nn.init.normal_(model.item.weight)
    torch.nn.init.normal_(model.bias)
    states, targets = torch.randn(6, 8), torch.randint(0, 12, (6,))
    options = config_of("x", label_smoothing=0.2).sequential
    expected = 0.0
    for state, target in zip(states, targets, strict=True):
        log_softmax = torch.log_softmax(model.item.weight @ state + model.bias, dim=0)
        expected -= 0.8 * log_softmax[target] + 0.2 * log_softmax.mean()
    found = training.softmax_loss(model, lambda: states, targets, options)
    assert found.shape == (6,) and found.mean().item() == pytest.approx(expected.item() / 6, rel=1e-5)

    torch.manual_seed(7)
    found = training.bce_loss(model, lambda: states, targets, options)
    torch.manual_seed(7)
    negatives = (targets + torch.randint(1, 12, (6,))) % 12
    assert (negatives != targets).all()
    expected = 0.0
    for state, target, negative in zip(states, targets, negatives, strict=True):
        score = model.item.weight @ state + model.bias
        expected -= F.logsigmoid(score[target]) + F.logsigmoid(-score[negative])
    assert found.shape == (6,) and found.mean().item() == pytest.approx(expected.item() / 6, rel=1e-5)


def make_scoring_model(cosine):
    torch.manual_seed(1)
    model = SasRec(SasRecShape(7, 8, 1, 2, 0.0, 5, cosine, 0.5)).eval()
    torch.nn.init.normal_(model.item.weight)
    torch.nn.init.normal_(model.bias)
    return model, torch.randn(3, 8), torch.tensor([0, 3, 3])


@pytest.mark.parametrize("cosine", [False, True])
def test_the_mean_over_all_draws_of_a_sampled_sum_is_that_of_all_items(monkeypatch, cosine):
    model, states, targets = make_scoring_model(cosine)
    share = np.array([0.3, 0.05, 0.05, 0.2, 0.1, 0.1, 0.2])
    sampled, options = training.SampledSoftmax(share), config_of("x", negatives=2).sequential
    mean = torch.zeros(3)
    for first, second in np.ndindex(7, 7):
        monkeypatch.setattr(torch, "multinomial", lambda *_, pair=(first, second), **__: torch.tensor(pair))
        losses = sampled(model, lambda: states, targets, options)
        mean += share[first] * share[second] * losses.exp()  # the sum over exp(s_target)
    exact = F.cross_entropy(model.score(states), targets, reduction="none").exp()
    torch.testing.assert_close(mean, exact, rtol=1e-4, atol=1e-4)


def test_many_draws_are_the_full_softmax():
    model, states, targets = make_scoring_model(True)
    sampled, options = training.SampledSoftmax(np.full(7, 1 / 7)), config_of("x", negatives=200_000).sequential
    exact = training.softmax_loss(model, lambda: states, targets, options)
    torch.testing.assert_close(sampled(model, lambda: states, targets, options), exact, rtol=0.02, atol=0.01)


def test_the_knob_chooses_the_loss_of_all_but_the_published_model():
    data, one = small_shop(), config_of("x", negatives=4).sequential
    assert isinstance(training.choose_loss("sasrec", data, one), training.SampledSoftmax)
    assert training.choose_loss("sasrec_bce", data, one) is training.bce_loss
    assert training.choose_loss("sasrec", data, config_of("x").sequential) is training.softmax_loss


def test_rdrop_is_the_mean_loss_of_two_passes_and_their_symmetric_divergence():
    torch.manual_seed(0)
    model = SasRec(SasRecShape(12, 8, 1, 2, 0.0, 5, False, 0.1)).eval()
    torch.nn.init.normal_(model.item.weight)
    passes, targets = torch.randn(2, 6, 8), torch.randint(0, 12, (6,))
    p, q = (torch.distributions.Categorical(logits=model.score(states)) for states in passes)
    kl = torch.distributions.kl_divergence
    expected = -(p.log_prob(targets) + q.log_prob(targets)) / 2 + 0.7 * (kl(p, q) + kl(q, p)) / 2
    read = iter(passes).__next__
    found = training.softmax_loss(model, read, targets, config_of("x", rdrop=0.7).sequential)
    torch.testing.assert_close(found, expected)


def test_windows_hold_every_training_event_once_as_a_target_and_no_other():
    shop = small_shop()
    windows = training.cut_windows(shop.sequences, shop.seen, max_length=3)
    pairs = [(a, b) for row in windows.tolist() for a, b in pairwise(row) if b >= 0]
    pairs = shop.sequences.item[np.array(pairs)].tolist()
    wanted = []
    for user in range(len(shop.sequences)):
        begin, end = shop.sequences.offset[user : user + 2]
        items = shop.sequences.item[begin:end][shop.seen[begin:end]]
        wanted += list(zip(items[:-1].tolist(), items[1:].tolist(), strict=True))
    assert sorted(map(tuple, pairs)) == sorted(wanted)
    assert windows.shape[1] == 4 and (windows[:, 1] >= 0).all()


@pytest.mark.parametrize(("name", "epochs"), [("sasrec", 20), ("sasrec_bce", 50)])
def test_it_learns_the_ring_that_users_walk(tmp_path, name, epochs):
    config, shop = config_of(tmp_path, models=[name], num_epochs=epochs), small_shop(num_users=150)
    write_data(config, shop)
    train(config)
    rows = shop.examples("test")
    scores = item_scores(load_sasrec(tmp_path / "sequential" / name, "cpu").recommend(rows, 10), rows.target)
    assert scores["hr@1"].mean() > 0.6  # the ring's own share is 0.8; a popular list has about 0.05


@pytest.mark.parametrize("filter_seen", [True, False])
def test_the_epoch_is_chosen_by_lists_as_evaluation_makes_them(tmp_path, filter_seen):
    config, shop = config_of(tmp_path, num_epochs=4), small_shop()
    config.evaluation.filter_seen = filter_seen
    write_data(config, shop)
    train(config)
    rows = held_out(shop, "valid", filter_seen)
    scores = item_scores(load_sasrec(tmp_path / "sequential" / "sasrec", "cpu").recommend(rows, 10), rows.target)
    assert read_record(tmp_path / "sequential" / "sasrec").score == pytest.approx(scores["ndcg@10"].mean(), abs=1e-9)


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    config = config_of(tmp_path, num_epochs=3)
    write_data(config, small_shop())
    first = train(config)
    assert train(config, clean=True) == first
    config.run.seed = 1
    assert train(config, clean=True) != first


def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(
        training, "measure_first_loss", lambda *_: float("inf")
    )  # an epoch of its own, of another model
    config = config_of(tmp_path, num_epochs=6, models=["sasrec", "sasrec_bce"])
    write_data(config, small_shop())
    whole = train(config)
    epochs, original = [], training.train_epoch

    def dies_in_the_third(*arguments):
        epochs.append(arguments[-1])
        if len(epochs) == 9:  # the third epoch of the second model
            raise KeyboardInterrupt
        return original(*arguments)

    artifacts.remove_directories(tmp_path / "sequential")
    monkeypatch.setattr(training, "train_epoch", dies_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert train(config) == whole
    assert epochs == [0, 1, 2, 3, 4, 5, 0, 1, 2, 2, 3, 4, 5]


def test_a_rate_that_diverges_ends_in_one_line_and_publishes_nothing(tmp_path):
    config = config_of(tmp_path, num_epochs=6)
    config.sequential.learning_rate = 1e30  # beyond what the schema takes
    write_data(config, small_shop())
    with pytest.raises(ArtifactError, match=r"sequential: sasrec: .* after epoch \d; nothing of it was published"):
        train(config)
    assert not (tmp_path / "sequential").exists()


def test_a_model_that_a_kill_left_finished_is_freed_of_its_checkpoints(tmp_path, monkeypatch):
    config = config_of(tmp_path, num_epochs=3)
    write_data(config, small_shop())
    whole = train(config)

    def killed(directory):
        raise KeyboardInterrupt

    artifacts.remove_directories(tmp_path / "sequential")
    with monkeypatch.context() as patch:
        patch.setattr(training, "forget_states", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert train(config) == whole


def test_early_stop_keeps_the_best_epoch(tmp_path, monkeypatch):
    config = config_of(tmp_path, num_epochs=20, early_stop=3)
    write_data(config, small_shop())
    scores = iter([0.1, 0.3, 0.2, 0.2, 0.2, 0.9])
    monkeypatch.setattr(training, "score_valid", lambda *_: next(scores))
    train(config)
    directory = tmp_path / "sequential" / "sasrec"
    record = read_record(directory)
    assert (record.unit, record.best, record.length, record.metric, record.score) == ("epochs", 2, 5, "ndcg@10", 0.3)
    assert [entry["ndcg@10"] for entry in record.curve] == [0.1, 0.3, 0.2, 0.2, 0.2]
    assert {path.name for path in directory.iterdir()} == {"model.safetensors", "config.json", "training.json"}


def test_held_out_events_are_in_no_window():
    shop = small_shop()
    other = replace(shop.sequences, item=np.where(shop.seen, shop.sequences.item, 19 - shop.sequences.item))
    options = config_of("x").sequential
    windows = [training.make_windows(replace(shop, sequences=each), options) for each in (shop.sequences, other)]
    assert (other.item != shop.sequences.item).any() and (windows[0].item == windows[1].item).all()


def test_weights_stand_beside_the_targets_they_belong_to_and_weigh_their_loss(tmp_path, monkeypatch):
    shop, options = small_shop(), config_of(tmp_path, balance=0.7, half_life=0.3).sequential
    windows, weight = training.make_windows(shop, options), target_weights(shop, 0.7, 0.3)
    events = training.cut_windows(shop.sequences, shop.seen, shop.max_history)
    real = events >= 0
    assert np.allclose(windows.weight[real], weight[events[real]]) and np.ptp(weight) > 0.5
    for batch in training.draw_batches(windows, 16, np.random.default_rng(0)):
        assert batch.item.shape == batch.weight.shape and (batch.item[:, -1] >= 0).any()

    torch.manual_seed(0)
    model = training.make_model("sasrec", shop, config_of(tmp_path).sequential)
    losses = []
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: losses.append(loss.item()))
    one = training.Windows(windows.item[:1], windows.weight[:1])
    loss_of = lambda model, states, targets, options: targets.float()  # noqa: E731
    training.train_epoch(model, torch.optim.SGD(model.parameters(), 0.0), one, loss_of, options, 0, 0)
    targets = windows.item[0, 1:][windows.item[0, 1:] >= 0]
    assert losses == pytest.approx([np.mean(targets * weight[events[0, 1 : len(targets) + 1]])], rel=1e-5)


@pytest.mark.parametrize("knob", ["balance", "half_life"])
def test_a_weighted_training_ends_elsewhere(tmp_path, knob):
    write_data(config_of(tmp_path / "one"), small_shop())
    write_data(config_of(tmp_path / "two"), small_shop())
    assert train(config_of(tmp_path / "one", num_epochs=1)) != train(
        config_of(tmp_path / "two", num_epochs=1, **{knob: 0.5})
    )


def test_the_rate_falls_from_its_peak_to_nothing():
    assert [training.rate_share(done) for done in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])


def write_vectors(config: Config, seed: int = 0) -> None:
    """Random text vectors of the shop's items as the embeddings artifact."""

    def build(config, directory):
        np.save(directory / "small.emb.npy", np.random.default_rng(seed).normal(size=(20, 8)).astype(np.float32))
        return {}

    stage.run("embeddings", Command(config, clean=False, dry_run=False), build)


def test_text_vectors_are_read_from_the_run_and_asked_for_when_missing(tmp_path):
    config = config_of(tmp_path, num_epochs=20, models=["sasrec", "sasrec_text"])
    shop = small_shop(num_users=150)
    write_data(config, shop)
    with pytest.raises(ArtifactError, match="embeddings is not there yet; run first: genrec embed"):
        train(config)
    write_vectors(config)
    train(config)
    assert "embeddings" in stage.read_manifest(tmp_path / "sequential").inputs
    rows = shop.examples("test")
    loaded = load_sasrec(tmp_path / "sequential" / "sasrec_text", "cpu")
    assert item_scores(loaded.recommend(rows, 10), rows.target)["hr@1"].mean() > 0.6
    each_reward_asks_the_model_of_its_name(config, shop)
    artifacts.remove_directories(tmp_path / "embeddings")
    write_vectors(config, seed=1)
    with pytest.raises(ArtifactError, match="embeddings is now"):
        train(config)


def test_items_begin_as_alike_as_their_texts_are():
    vectors = np.random.default_rng(0).normal(size=(20, 8)) + 3
    centred = vectors - vectors.mean(axis=0)
    for width in (8, 12):  # all components, and fewer than there is room for
        start = training.make_text_start(vectors, width)
        assert start.shape == (20, 8) and start.std() == pytest.approx(training.TEXT_START, rel=1e-3)
        ratio = (start @ start.T) / (centred @ centred.T)
        assert ratio == pytest.approx(np.full_like(ratio, ratio[0, 0]), rel=1e-3)
    leading = training.make_text_start(vectors, 3)
    assert np.abs(leading.T @ leading)[~np.eye(3, dtype=bool)].max() < 1e-6  # uncorrelated
    assert (np.diff(leading.var(axis=0)) < 0).all()  # the strongest first


def test_the_model_begun_from_text_is_the_plain_one_but_for_its_item_vectors(tmp_path):
    config, shop = config_of(tmp_path), small_shop()
    write_data(config, shop)
    write_vectors(config)
    plain, begun = (begin_with(name, config, shop).state_dict() for name in ("sasrec", "sasrec_text"))
    assert {key for key in plain if not torch.equal(plain[key], begun[key])} == {"item.weight"}
    assert torch.equal(plain["item.weight"][:, 8:], begun["item.weight"][:, 8:])  # eight text components, width 16


def begin_with(name: str, config: Config, shop) -> SasRec:
    torch.manual_seed(0)
    vectors = RunStore.of(config).vectors(len(shop.catalog)) if name == training.TEXT else None
    return training.make_model(name, shop, config.sequential, vectors)


def each_reward_asks_the_model_of_its_name(config: Config, shop) -> None:
    store = RunStore.of(config)
    assert {"sasrec", "sasrec_text"} <= find_available(store)
    index = SidIndex(np.arange(20)[:, None], (20,))
    known = load_knowledge(store, shop, index, ["sasrec_text", "sasrec"], "cpu")
    history, item = np.array([[-1, 3, 4]]), np.array([[0, 5, 7]])
    for name, scores in known.sequential.items():
        expected = load_sasrec(config.run.dir / "sequential" / name, "cpu").score_items(history, item)
        np.testing.assert_array_equal(scores(history, item), expected)
    assert known.sequential.keys() == {"sasrec", "sasrec_text"}
    artifacts.remove_directories(config.run.dir / "sequential" / "sasrec")
    assert "sasrec" not in find_available(store) and "sasrec_text" in find_available(store)
    with pytest.raises(ArtifactError, match=r"lacks \S*config\.json, which its manifest lists"):
        load_knowledge(store, shop, index, ["sasrec"], "cpu")


@pytest.mark.parametrize("other", [{"label_smoothing": 0.1}, {"rdrop": 2.0}])
def test_drawn_items_are_refused_beside_what_needs_all_scores(other):
    (name, value), *_ = other.items()
    with pytest.raises(ConfigError, match=rf"sequential.{name} {value} needs the scores of all items.*negatives 64"):
        validate({"sequential": {"negatives": 64, **other}})


def test_its_training_does_not_wait_for_transformers():
    """Which takes seconds to import, most of a small stage."""
    code = "import sys, genrec.training.sequential; assert 'transformers' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(training.__file__).parents[2]).returncode == 0
