import numpy as np
import pytest

from tencentgr.checkpoints import make_card, save_best
from tencentgr.dataset import load_data
from tencentgr.ensemble import join_vectors, scale_of
from tencentgr.entries import locate_source
from tencentgr.inference import infer
from tencentgr.model import TencentGR, TencentGRShape
from tencentgr.options import parse_strict


def test_joint_scores_are_the_sum_of_standardised_ones():
    random = np.random.default_rng(0)
    parts = [(random.normal(size=(5, w)) * 10**w, random.normal(size=(9, w)) + 3) for w in (2, 4)]
    queries, items = join_vectors(parts)
    wanted = sum((s := query @ item.T) / s.std(axis=1, keepdims=True) for query, item in parts)
    actual = queries @ items.T
    difference = actual - wanted  # of a query, the same for all items
    assert np.ptp(difference, axis=1) == pytest.approx(np.zeros(5), abs=1e-4)
    assert (np.argsort(actual, axis=1) == np.argsort(wanted, axis=1)).all()


def test_a_query_that_cannot_tell_items_apart_is_left_as_it_is():
    assert scale_of(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 2.0]])).tolist() == [1.0, 1.0]


def test_a_model_with_itself_recommends_what_it_does_alone(sample, tmp_path):
    data = load_data(locate_source(sample))
    network = TencentGR(TencentGRShape(hidden_size=8, num_layers=1, max_history=20), data.schema)
    save_best(tmp_path, network, make_card(network, {}, epoch=1))
    model = str(tmp_path / "best_model.pt")
    flags = ["--inference_only", "--state_dict_path", model, "--data_dir", str(sample), "--device", "cpu"]
    infer(parse_strict([*flags, "--result_dir", str(tmp_path / "alone")]))
    infer(parse_strict([*flags, "--result_dir", str(tmp_path / "both"), "--ensemble_with", model]))
    alone, both = ((tmp_path / name / "result.jsonl").read_text() for name in ("alone", "both"))
    assert alone == both
