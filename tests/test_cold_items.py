"""The neighbours of a history among text vectors, by hand, and the table of cold and warm targets."""

import numpy as np
import pytest

from benchmarks.cold_items import TextNeighbours, make_table, plan_rows
from genrec.commandline import Command
from genrec.data.sequences import Examples
from genrec.stages import evaluate
from tests.small_shop import small_config, small_shop, write_data


def test_neighbours_are_near_the_newest_items_of_the_history():
    vectors = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [-1.0, 0.0]])
    asked = Examples(user=np.array([0]), history=np.array([[-1, 1, 0]]), target=np.array([2]))
    lists = TextNeighbours(vectors).recommend(asked, 4)  # item 0 is the newest: 1 of it, 1/2 of item 1
    assert lists.item.tolist() == [[2, 0, 1, 3]]
    assert np.allclose(lists.score, [[1.5 / 2**0.5, 1.0, 0.5, -1.0]])


def test_the_table_tells_cold_targets_from_warm_ones(tmp_path):
    config = small_config(tmp_path, evaluation={"models": ["popular"]})
    shop = small_shop()
    write_data(config, shop)
    evaluate.evaluate(Command(config, False, dry_run=False), True)
    table = make_table(config).splitlines()
    cold = int((shop.train_count[shop.examples("test").target] == 0).sum())
    assert table[2].startswith("| popular | ") and table[-1] == f"{cold} of 60 targets are cold."


def test_every_share_is_looked_at_before_anything_is_scored(tmp_path, capsys):
    flags = ["--config", "tiny", "--run.dir", str(tmp_path), "--models", "popular,sft", "--normalization"]
    config, shared = plan_rows([*flags, "trie"], ["0.02", "0.05"])
    assert config.evaluation.models == ["popular", "sft"]
    assert [words[-3:] for words in shared] == [["sft", "--evaluation.cold_share", share] for share in ("0.02", "0.05")]
    for normalization, share, told in (("trie", "2", "(got 2)"), ("vocab", "0.05", "set normalization trie")):
        with pytest.raises(SystemExit):
            plan_rows([*flags, normalization], ["0.02", share])
        assert told in capsys.readouterr().err
