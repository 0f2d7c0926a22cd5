"""The competition's files -> tables and arrays: hand-worked values, planted faults, the cache, real index files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genrec.errors import ArtifactError
from tencentgr import cache, files, safe_pickle
from tencentgr.dataset import all_items, load_candidates, load_data, load_queries, report_lines
from tencentgr.entries import locate_source
from tests import ROOT
from tests.tencentgr.conftest import ANN, BOB, CYD, INDEXER, write_by_hand

REAL = ROOT.parent / "shared" / "data" / "tencentgr"
needs_real = pytest.mark.skipif(not REAL.exists(), reason="real index files of the competition are not here")


def test_every_number_of_the_hand_made_set(by_hand):
    data = load_data(locate_source(by_hand))
    assert data.schema.num_users == 3 and data.schema.num_items == 4
    assert data.schema.item_sparse == {"100": 2, "117": 3}  # in the order of the competition's list
    assert data.schema.user_sparse == {"103": 2} and data.schema.user_array == {"106": 3}
    assert data.items.sparse.tolist() == [[0, 0], [1, 3], [2, 0], [1, 2], [0, 0]]
    assert data.users.sparse.tolist() == [[0], [2], [0], [1]]
    assert data.users.array.tolist() == [[[0, 0]], [[3, 1]], [[0, 0]], [[0, 0]]]
    assert data.items.emb["81"].tolist() == [[0, 0], [1, 0], [0, 0], [0, 2], [0, 0]]
    assert data.schema.item_emb == {"81": 2} and data.items.semantic is None
    assert data.creative_id.tolist() == ["", "501", "502", "503", "504"]
    events = data.sequences
    assert events.offset.tolist() == [0, 3, 5, 5]
    assert events.item.tolist() == [1, 2, 3, 4, 1]
    assert events.action.tolist() == [0, 1, -1, 1, 0]
    assert events.time.tolist() == [3600, 7200, 97200, 50, 60]
    assert events.user.tolist() == [1, 0, 3]  # bob has no profile
    assert data.user_id.tolist() == ["1", "2", "3"]
    assert data.counts.tolist() == [0, 2, 1, 1, 1]


def test_what_is_missing_is_counted_in_one_place(by_hand):
    text = "\n".join(report_lines(load_data(locate_source(by_hand)).report))
    assert text.startswith("indexer.pkl: 4 items, 3 users, 4 fields; 1 items without features")
    assert "1 lines without interactions" in text
    assert "1 users without a profile" in text
    assert "embedding 81: 2 items have none" in text


FAULTS = [
    (b"{not json", "1 not valid JSON (line 2)"),
    (b"[[1, 2, null", "1 not valid JSON (line 2)"),
    (b'{"user": 1}', "1 not a list of records (line 2)"),
    (b"[]", "1 no usable record (line 2)"),
    ([[2, None, None, None, None, 5]], "1 no usable record (line 2)"),
    ([[2, 1, None, {}, 0, 5], [3, 1, None, {}, 0, 6]], "1 records of several users (line 2)"),
]


@pytest.mark.parametrize(("line", "reason"), FAULTS)
def test_a_bad_line_is_dropped_by_reason_and_number(tmp_path, line, reason):
    write_by_hand(tmp_path, [ANN, line, CYD])
    data = load_data(locate_source(tmp_path))
    assert len(data.sequences) == 2 and data.user_id.tolist() == ["1", "3"]
    assert f"3 read, {reason}, 2 kept" in "\n".join(report_lines(data.report))


@pytest.mark.parametrize(
    "record",
    [[2, 1, None, {}, 0], [2, "x", None, {}, 0, 5], [2, 1, None, {}, 0, None], [2, 0, None, {}, 0, 5], 7, None],
)
def test_a_bad_record_costs_its_line_nothing_else(tmp_path, record):
    write_by_hand(tmp_path, [ANN, [*BOB, record]])
    data = load_data(locate_source(tmp_path))
    assert data.sequences.item.tolist() == [1, 2, 3, 4, 1]
    assert "1 records of another form, dropped" in "\n".join(report_lines(data.report))


def test_unseen_values_items_and_users_become_0_and_are_counted(tmp_path):
    query = [
        ["dave", None, {"103": "77", "106": [2, "9"], "999": 1}, None, None, 0],
        ["dave", 888, None, {"100": 2, "117": "44"}, None, 10],
        ["dave", 2, None, {"100": 2}, 1, 20],
    ]
    write_by_hand(tmp_path, [query, ANN], files.PREDICT_SEQ, files.PREDICT_SEQ_OFFSETS)
    data = load_queries(locate_source(tmp_path))
    assert data.sequences.item.tolist() == [5, 2, 1, 2, 3]  # row 5: an unseen item, features known
    assert data.items.ids.tolist() == [0, 1, 2, 3, 4, 0]
    assert data.items.sparse[5].tolist() == [2, 0]
    assert data.creative_id[5] == "888"
    assert data.sequences.user.tolist() == [4, 1]
    assert data.users.ids.tolist() == [0, 1, 2, 3, 0]
    assert data.users.sparse[4].tolist() == [0] and data.users.array[4].tolist() == [[2, 0]]
    assert data.user_id.tolist() == ["dave", "1"]
    text = "\n".join(report_lines(data.report))
    assert "3 feature values unseen in training" in text
    assert "1 items unseen in training" in text and "1 users unseen in training" in text


def test_an_unseen_item_has_the_vector_of_its_creative(tmp_path):
    query = [["dave", 999, None, {"100": 1}, 0, 5]]
    write_by_hand(tmp_path, [query], files.PREDICT_SEQ, files.PREDICT_SEQ_OFFSETS)
    assert load_queries(locate_source(tmp_path)).items.emb["81"][5].tolist() == [1, 1]


def test_candidates_have_features_vectors_and_known_ids(by_hand):
    lines = [
        {"creative_id": 503, "retrieval_id": 7, "features": {"100": 1}},
        {"creative_id": "999", "retrieval_id": 0, "features": {"100": "66", "117": 3}},
        {"creative_id": 1},
    ]
    (by_hand / files.PREDICT_SET).write_text("".join(json.dumps(line) + "\n" for line in lines))
    actual, schema = load_candidates(locate_source(by_hand))
    assert actual.creative_id.tolist() == ["503", "999"] and actual.retrieval_id.tolist() == [7, 0]
    assert actual.table.ids.tolist() == [0, 3, 0]
    assert actual.table.sparse.tolist() == [[0, 0], [1, 0], [0, 3]]
    assert actual.table.emb["81"].tolist() == [[0, 0], [0, 2], [1, 1]]
    assert actual.report[files.PREDICT_SET]["lines"]["first_lines"] == {"not a candidate": [3]}
    assert schema == load_data(locate_source(by_hand)).schema


def test_all_items_are_candidates_where_none_are_given(by_hand):
    actual = all_items(load_data(locate_source(by_hand)))
    assert actual.creative_id.tolist() == ["501", "502", "503", "504"] and len(actual.table) == 5


def test_lines_out_of_time_order_are_sorted(tmp_path):
    write_by_hand(tmp_path, [[BOB[1], BOB[0], [2, 2, None, {}, 1, 50]], ANN])
    data = load_data(locate_source(tmp_path))
    assert data.sequences.item.tolist() == [4, 2, 1, 1, 2, 3]  # ties as they stood
    assert "1 lines out of time order, sorted" in "\n".join(report_lines(data.report))


@pytest.mark.parametrize("form", [list, dict])
def test_offsets_may_be_a_list_or_a_dict(by_hand, form):
    begins = files.read_offsets(by_hand / files.SEQ_OFFSETS).tolist()
    safe_pickle.dump(begins if form is list else dict(enumerate(begins)), by_hand / files.SEQ_OFFSETS)
    assert len(load_data(locate_source(by_hand)).sequences) == 3


def test_offsets_of_another_file_are_refused(by_hand):
    safe_pickle.dump([0, 5], by_hand / files.SEQ_OFFSETS)
    with pytest.raises(ArtifactError, match="seq_offsets.pkl does not belong to seq.jsonl: it names 2 lines"):
        load_data(locate_source(by_hand))


@pytest.mark.parametrize("name", [files.SEQ, files.SEQ_OFFSETS, files.INDEXER, files.ITEM_FEATURES])
def test_a_missing_file_is_named(by_hand, name):
    (by_hand / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        load_data(locate_source(by_hand))


def test_a_missing_embedding_says_which_there_are(by_hand):
    with pytest.raises(ArtifactError, match=r"creative_emb holds 0 embeddings with the id 83; its ids: \['81'\]"):
        load_data(locate_source(by_hand, [83]))


def test_a_cut_embedding_file_is_an_error_that_names_it(sample, tmp_path):
    name = "emb_82_12"
    shard = next((sample / files.EMBEDDINGS / name).glob("*.json"))
    write_by_hand(tmp_path, [ANN])
    (tmp_path / files.EMBEDDINGS / name).mkdir()
    (tmp_path / files.EMBEDDINGS / name / shard.name).write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=rf"{shard.name}, line \d+: .* cut short or damaged"):
        load_data(locate_source(tmp_path, [82]))


def test_a_vector_of_another_width_is_an_error(by_hand):
    safe_pickle.dump({501: np.ones(3, np.float32)}, by_hand / files.EMBEDDINGS / "emb_81_2.pkl")
    with pytest.raises(ArtifactError, match=r"the vector of 501 has shape \(3,\), expected \(2,\)"):
        load_data(locate_source(by_hand))


def test_semantic_ids_code_0_is_not_missing_and_levels_are_apart(by_hand):
    codes = {"501": [0, 5], "502": [3, 5], "999": [3, 1]}
    (by_hand / files.SEMANTIC).write_text(json.dumps(codes))
    data = load_data(locate_source(by_hand))
    assert data.schema.semantic == (4, 6)
    assert data.items.semantic.tolist() == [[0, 0], [1, 6], [4, 6], [0, 0], [0, 0]]
    assert load_data(locate_source(by_hand, semantic=False)).items.semantic is None


def test_ids_of_several_grains_stand_side_by_side(by_hand, tmp_path):
    fine, coarse = {"501": [0, 3], "503": [2, 1]}, {"501": [1], "502": [0]}
    (by_hand / files.SEMANTIC).write_text(json.dumps(fine))
    (tmp_path / "coarse.json").write_text(json.dumps(coarse))
    data = load_data(locate_source(by_hand, grains=[tmp_path / "coarse.json"]))
    assert data.items.semantic[:4].tolist() == [[0, 0, 0], [1, 4, 2], [0, 0, 1], [3, 2, 0]]
    assert data.schema.semantic == (3, 4, 2)
    with pytest.raises(ArtifactError, match="nowhere.json"):
        load_data(locate_source(by_hand, grains=[tmp_path / "nowhere.json"]))


def test_prefixes_number_the_distinct_beginnings(by_hand):
    codes = {"501": [3, 5, 0], "502": [0, 0, 1], "503": [3, 5, 1], "504": [3, 4, 0]}
    (by_hand / files.SEMANTIC).write_text(json.dumps(codes))
    data = load_data(locate_source(by_hand, prefixes=True))
    assert data.schema.semantic == (4, 6, 2, 3, 4)
    assert data.items.semantic[1:, 3].tolist() == [1, 2, 1, 3]  # (3,5) (0,0) (3,5) (3,4)
    assert data.items.semantic[1:, 4].tolist() == [1, 2, 3, 4]
    (by_hand / files.SEMANTIC).write_text(json.dumps(codes | {"999": [1, 1, 1]}))  # a creative that came later
    assert (load_data(locate_source(by_hand, prefixes=True)).items.semantic == data.items.semantic).all()


@pytest.mark.parametrize("codes", [{"501": [1], "502": [1, 2]}, {"501": [-1]}, {"501": [True]}, {"501": 3}, {}])
def test_semantic_ids_of_another_form_are_refused(by_hand, codes):
    (by_hand / files.SEMANTIC).write_text(json.dumps(codes))
    with pytest.raises(ArtifactError, match="semantic_id_dict.json"):
        load_data(locate_source(by_hand))


def test_data_within_a_model_of_fewer_values(by_hand):
    from dataclasses import replace

    data = load_data(locate_source(by_hand))
    smaller = replace(data.schema, num_items=2, item_sparse={"100": 1, "117": 3}, user_array={"106": 2})
    seen = data.within(smaller)
    assert seen.items.ids.tolist() == [0, 1, 2, 0, 0]
    assert seen.items.sparse.tolist() == [[0, 0], [1, 3], [0, 0], [1, 2], [0, 0]]
    assert seen.users.array[1].tolist() == [[0, 1]]
    with pytest.raises(ArtifactError, match="item_emb of the data is"):
        data.within(replace(data.schema, item_emb={"82": 1024}))
    with pytest.raises(ArtifactError, match="trained with 2 semantic-id features, the data has 0"):
        data.within(replace(data.schema, semantic=(4, 4)))


def test_every_kind_of_field_is_read(by_hand, monkeypatch):
    """The competition has no item lists and no numbers; a field named as one is read as one."""
    from tencentgr import entries

    monkeypatch.setattr(entries, "ITEM_ARRAY", ("117",))
    monkeypatch.setattr(entries, "ITEM_CONTINUAL", ("price",))
    monkeypatch.setattr(entries, "USER_CONTINUAL", ("age",))
    items = {"1": {"117": [3, 1], "price": 2.5}, "2": {"price": 7, "117": 2}, "3": {"price": "cheap"}}
    (by_hand / files.ITEM_FEATURES).write_text(json.dumps(items))
    data = load_data(locate_source(by_hand))
    assert data.schema.item_array == {"117": 3} and data.schema.item_continual == ("price",)
    assert data.items.array[:, 0].tolist() == [[0, 0], [3, 1], [2, 0], [0, 0], [0, 0]]
    assert data.items.continual.tolist() == [[0], [2.5], [7], [0], [0]]
    assert data.users.continual.shape == (4, 1)
    assert data.report["catalog"]["counts"]["feature values that are no number (0)"] == 1


def test_fields_that_nothing_reads_are_named(by_hand):
    safe_pickle.dump(INDEXER | {"f": INDEXER["f"] | {"999": {1: 1}, "888": {}}}, by_hand / files.INDEXER)
    assert report_lines(load_data(locate_source(by_hand)).report)[0].startswith(
        "indexer.pkl: 4 items, 3 users, 4 fields, not used: 888"
    )


def arrays_of(data) -> list:
    return [*vars(data.sequences).values(), *data.items.emb.values(), data.items.sparse, data.users.array]


def test_the_second_load_reads_the_cache_and_nothing_else(by_hand, monkeypatch):
    first = load_data(locate_source(by_hand))
    for name in ("read_lines", "read_object", "read_embedding", "safe_pickle"):
        monkeypatch.delattr(files, name)
    second = load_data(locate_source(by_hand))
    for a, b in zip(arrays_of(first), arrays_of(second), strict=True):
        np.testing.assert_array_equal(a, b)
    assert report_lines(first.report) == report_lines(second.report)


def test_a_changed_file_is_converted_again(by_hand):
    load_data(locate_source(by_hand))
    write_by_hand(by_hand, [BOB])
    assert load_data(locate_source(by_hand)).sequences.item.tolist() == [4, 1]


def test_a_change_that_keeps_the_size_is_noticed(by_hand):
    before = load_data(locate_source(by_hand)).items.sparse.copy()
    path = by_hand / files.ITEM_FEATURES
    path.write_text(path.read_text().replace('"117": 3', '"117": 1'))
    assert (load_data(locate_source(by_hand)).items.sparse != before).any()


def test_half_a_part_of_a_killed_process_is_never_read(by_hand):
    whole = load_data(locate_source(by_hand)).sequences.item.tolist()
    directory = by_hand / "cache"
    (directory / "train").rename(directory / "train.partial")
    (directory / "train.partial" / cache.CARD).unlink()
    (directory / "train.partial" / "item.npy").write_bytes(b"half")
    again = load_data(locate_source(by_hand)).sequences.item.tolist()
    assert again == whole
    assert not (directory / "train.partial").exists()


BUILD = """
import sys, time
from pathlib import Path
import numpy as np
from tencentgr import cache
def build(out):
    np.save(out / "x.npy", np.arange(3))
    Path(sys.argv[1], f"built_{sys.argv[2]}").touch()
    time.sleep(float(sys.argv[3]))
    return {"by": sys.argv[2]}
print(cache.read_or_build(Path(sys.argv[1]), "part", {"a": "1"}, build).report["by"])
"""


def start(directory: Path, name: str, seconds: float) -> subprocess.Popen:
    words = [sys.executable, "-c", BUILD, str(directory), name, str(seconds)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    for _ in range(300):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} did not come")


def test_one_process_builds_the_others_wait_and_a_kill_frees_them(tmp_path):
    first = start(tmp_path, "first", 60)
    wait_for(tmp_path / "built_first")
    second = start(tmp_path, "second", 0)
    third = start(tmp_path, "third", 0)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    actual = {process.communicate(timeout=30)[0].strip() for process in (second, third)}
    assert actual in ({"second"}, {"third"})  # one built after the kill, the other read what it built


def test_a_cache_that_cannot_be_written_names_the_way_on(by_hand):
    (by_hand / "cache").write_text("a file in the way")
    with pytest.raises(ArtifactError, match="--cache_dir"):
        load_data(locate_source(by_hand))
    assert len(load_data(locate_source(by_hand, cache_dir=by_hand / "elsewhere")).sequences) == 3


@needs_real
def test_real_index_files_load():
    indexer = files.read_indexer(REAL)
    assert len(indexer["i"]) == 58_734 and len(indexer["u"]) == 865 and len(indexer["f"]) == 22
    for name in (files.SEQ_OFFSETS, files.PREDICT_SEQ_OFFSETS):
        offsets = files.read_offsets(REAL / name)
        assert len(offsets) == 865 and offsets[:3].tolist() == [0, 18809, 38087]
    from tencentgr.entries import schema_of

    schema = schema_of(indexer)
    assert len(schema.item_sparse) == 14 and len(schema.user_sparse) == len(schema.user_array) == 4
    assert schema.item_sparse["111"] == 58_734 and schema.user_array["110"] == 2
