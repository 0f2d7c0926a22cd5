"""Families by name: what is made ready, from where, and which rows a table gets."""

import pytest

from genrec.artifacts import CARD
from genrec.config_checks import validate
from genrec.errors import ArtifactError
from genrec.evaluation.metrics import Recommendations, check_recommendations
from genrec.models import families
from genrec.models.families import FAMILIES, Request, fingerprints_outside, model_directory, rows_scored
from genrec.models.popular import fit_popular
from genrec.pipeline import FAMILY_READS
from genrec.stages import rl, sft
from genrec.store import RunStore
from tests.small_shop import small_shop

BASELINES = [name for name, stages in FAMILY_READS.items() if not stages]


def settings_of(**knobs):
    return validate({"evaluation": knobs}).evaluation


@pytest.fixture
def request_of(tmp_path):
    def make(**knobs):
        return Request(RunStore(tmp_path), small_shop(), settings_of(**knobs), "cpu")

    return make


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_need_the_data_alone_and_give_valid_lists(request_of, name):
    request = request_of(models=[name])
    rows = request.data.examples("test")
    check_recommendations(FAMILIES[name](request).recommend(rows, 10), len(rows), 10, 20)


def test_popular_recent_takes_its_share_from_the_settings(request_of):
    rows = small_shop().examples("test")
    everything = FAMILIES["popular_recent"](request_of(recent_share=1.0)).recommend(rows, 5)
    assert (everything.item == fit_popular(small_shop().train_count).recommend(rows, 5).item).all()


def test_exact_rows_follow_their_language_model():
    models = ["popular", "sft", "sasrec", "rl"]
    assert rows_scored(settings_of(models=models)) == models
    exact = rows_scored(settings_of(models=models, ranking="exact"))
    assert exact == ["popular", "sft", "sft_exact", "sasrec", "rl", "rl_exact"]


def test_a_given_model_stands_in_for_sft_alone(tmp_path):
    store, given = RunStore(tmp_path), tmp_path / "other"
    settings = settings_of(models=["sft", "rl"], base_model=str(given))
    assert (
        model_directory(store, settings, "sft") == given and model_directory(store, settings, "rl") == tmp_path / "rl"
    )
    assert model_directory(store, settings_of(models=["sft"]), "sft") == tmp_path / "sft"


def test_what_lies_outside_the_stages_has_its_fingerprint(tmp_path):
    store, given = RunStore(tmp_path), tmp_path / "other"
    given.mkdir()
    (given / "model.safetensors").write_text("weights")
    (given / CARD).write_text("{}")
    settings = settings_of(models=["sft"], base_model=str(given), index="sids_grown")
    before = fingerprints_outside(store, settings, "sft")
    assert before.keys() == {"base_model"}
    store.grown_dir.mkdir(parents=True)
    (given / "model.safetensors").write_text("others")
    after = fingerprints_outside(store, settings, "sft")
    assert after.keys() == {"base_model", "sids_grown"} and after["base_model"] != before["base_model"]
    assert fingerprints_outside(store, settings, "popular") == {}


def test_a_directory_without_a_card_is_refused_before_any_file_of_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "large.bin").write_bytes(b"1")
    monkeypatch.setattr("genrec.artifacts.sha256", lambda path: pytest.fail(f"{path} was read"))
    with pytest.raises(ArtifactError, match="is not a model of this project: it has no genrec.json"):
        fingerprints_outside(RunStore(tmp_path), settings_of(models=["sft"], base_model=str(tmp_path)), "sft")
    with pytest.raises(ArtifactError, match="is not a model of this project: it has no genrec.json"):
        rl.sources(validate({"rl": {"model_path": str(tmp_path)}}))
    with pytest.raises(ArtifactError, match=r"is not a model directory: it has no config\.json"):
        sft.sources(validate({"sft": {"base_model": str(tmp_path), "train_from_scratch": False}}))


def test_the_ensemble_is_made_of_sft_and_the_one_named(request_of, monkeypatch):
    class Always:
        def __init__(self, name):
            self.name = name

        def recommend(self, examples, k) -> Recommendations:
            raise NotImplementedError

    for name in ("sft", "sasrec_text"):
        monkeypatch.setitem(families.FAMILIES, name, lambda request, name=name: Always(name))
    settings = {
        "models": ["ensemble"],
        "ensemble_with": "sasrec_text",
        "ensemble_weight": 0.25,
        "normalization": "trie",
    }
    ensemble = FAMILIES["ensemble"](request_of(**settings))
    assert (ensemble.first.name, ensemble.second.name, ensemble.weight) == ("sft", "sasrec_text", 0.25)
