"""Shards hold the one-process lists, whoever computes them and however often the command was killed."""

import json
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

import genrec
from genrec.artifacts import sha256
from genrec.engine import list_shards
from genrec.engine.list_shards import Job, cut_shards
from genrec.stages import recommend
from tests import ROOT
from tests.asked import ask
from tests.small_model import write_run

SHARDS = ["--all_users", "--k", "3", "--evaluation.batch_size", "2"]  # blocks of 16 users


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(run directory, shop) of 60 users."""
    return write_run(tmp_path_factory.mktemp("runs") / "run")


def lists_in(directory):
    return pl.read_parquet(sorted(directory.glob("part-*.parquet")))


def files_of(directory):
    return {path.name: sha256(path) for path in directory.glob("*.parquet")}


def test_shards_are_whole_blocks_and_no_user_is_lost(tmp_path):
    for users, block, shards in [(60, 16, 4), (60, 16, 3), (1000, 7, 13), (16, 16, 1)]:
        parts = cut_shards(users, block, Job("run", None, {}, {}, tmp_path, shards))
        assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]] and len(parts) == shards
        assert parts[0].start == 0 and parts[-1].stop == users
        assert all(part.start % block == 0 and part.stop > part.start for part in parts)


def test_parts_in_order_are_the_lists_of_one_process(run, tmp_path, capsys):
    text = ask(capsys, "--run.dir", run[0], *SHARDS, "--shards", 3, "--output", tmp_path / "lists")
    wanted = genrec.load(run[0], batch_size=2).recommend(users=run[1].sequences.user_id.tolist(), k=3)
    assert lists_in(tmp_path / "lists").equals(wanted) and "60 users, 180 items by 'rl' in 3 of 3 parts" in text
    assert "all 3 parts are there: up to date" in ask(
        capsys, "--run.dir", run[0], *SHARDS, "--shards", 3, "--output", tmp_path / "lists"
    )


def test_a_call_that_was_stopped_goes_on_with_the_parts_that_are_not_there(run, tmp_path, capsys, monkeypatch):
    words = ["--run.dir", run[0], *SHARDS, "--shards", 4, "--output"]
    ask(capsys, *words, tmp_path / "whole")
    write, begun = list_shards.write_part, []

    def stop_at_the_third(shop, rows, rules, path):
        begun.append(path.name)
        if len(begun) == 3:
            path.with_name(path.name + ".tmp").write_bytes(b"torn")
            raise KeyboardInterrupt
        return write(shop, rows, rules, path)

    monkeypatch.setattr(list_shards, "write_part", stop_at_the_third)
    assert "stopped" in ask(capsys, *words, tmp_path / "lists", code=130)
    assert len(files_of(tmp_path / "lists")) == 2
    text = ask(capsys, *words, tmp_path / "lists")
    assert "2 of 4 parts are there; going on" in text and begun[3:] == begun[2:3] + ["part-00003-of-00004.parquet"]
    assert files_of(tmp_path / "lists") == files_of(tmp_path / "whole")
    assert not list((tmp_path / "lists").glob("*.tmp"))


def test_other_settings_do_not_mix_with_parts_that_are_there(run, tmp_path, capsys):
    words = ["--run.dir", run[0], *SHARDS, "--output", tmp_path / "lists"]
    ask(capsys, *words, "--shards", 2)
    assert "shards is 2 there, 4 asked" in ask(capsys, *words, "--shards", 4, code=1)
    assert "k is 3 there, 5 asked" in ask(capsys, *words, "--shards", 2, "--k", 5, code=1)
    assert "model is 'rl' there, 'sft' asked" in ask(capsys, *words, "--shards", 2, "--model", "sft", code=1)
    (tmp_path / "deny").write_text("B001\n")
    assert "deny is now" in ask(capsys, *words, "--shards", 2, "--deny", tmp_path / "deny", code=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    refused = ask(capsys, *words[:-1], tmp_path / "other", "--shards", 2, code=1)
    assert "holds files and no lists.json" in refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--user", "u3", "--shards", "2"], "--shards 2 cuts many users; add --all_users or --users FILE"),
        (["--all_users", "--shards", "2", "--output", "a.parquet"], "writes a directory of parts, found the file"),
        (["--all_users", "--output", "a.parquet", "--run.engine", "ray"], "add --shards N"),
        (["--all_users", "--shards", "2", "--output", "a"], "60 users are 1 of 128; at most --shards 1"),
    ],
)
def test_what_cannot_be_cut_is_one_line(run, tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        recommend.main(["--run.dir", str(run[0]), *words])
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_workers_on_ray_write_the_same_files_also_when_all_is_killed_on_the_way(run, tmp_path, capsys):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'genrec[ray]'")
    words = ["--run.dir", run[0], *SHARDS, "--shards", 4, "--output"]
    ask(capsys, *words, tmp_path / "alone")
    on_ray = ["--run.engine", "ray", "--run.workers", "2"]
    ask(capsys, *words, tmp_path / "ray", *on_ray)
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "alone")
    assert (tmp_path / "ray" / "lists.json").read_text() == (tmp_path / "alone" / "lists.json").read_text()

    call = [sys.executable, "-m", "genrec", "recommend", *map(str, words), str(tmp_path / "killed"), *on_ray]
    process = subprocess.Popen(call, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not files_of(tmp_path / "killed"):
        time.sleep(0.01)
    process.kill()
    process.wait()
    ask(capsys, *words, tmp_path / "killed", *on_ray)
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "alone")


@pytest.mark.slow
def test_a_worker_that_dies_is_started_anew_and_its_part_made_again(run, tmp_path):
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'genrec[ray]'")
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        shop = genrec.load(run[0], batch_size=2)
        told = (str(run[0]), None, {"batch_size": 2}, {"k": 3})
        worker = ray.remote(list_shards.ListWorker).options(max_restarts=2, max_task_retries=2).remote(*told)
        rows = shop.all_users().take(0, 16)
        ray.get(worker.write.remote(rows, str(tmp_path / "a.parquet")))
        process = ray.get(worker.__ray_call__.remote(lambda _: os.getpid()))
        os.kill(process, signal.SIGKILL)
        assert ray.get(worker.write.remote(rows, str(tmp_path / "b.parquet"))).users == 16
        assert ray.get(worker.__ray_call__.remote(lambda _: os.getpid())) != process
        assert sha256(tmp_path / "a.parquet") == sha256(tmp_path / "b.parquet")
    finally:
        ray.shutdown()


def test_an_engine_that_is_not_there_leaves_no_trace(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["--run.dir", run[0], *SHARDS, "--shards", 2, "--output", tmp_path / "lists", "--run.engine", "ray"]
    assert "pip install 'genrec[ray]'" in ask(capsys, *words, code=1)
    assert not list(tmp_path.iterdir())


def test_what_was_asked_is_written_first(run, tmp_path, capsys):
    ask(capsys, "--run.dir", run[0], *SHARDS, "--shards", 2, "--output", tmp_path / "lists")
    made = json.loads((tmp_path / "lists" / "lists.json").read_text())
    assert made["config"]["k"] == 3 and made["config"]["shards"] == 2 and made["config"]["normalization"] == "trie"
    assert set(made["inputs"]) == {"models", "users", "allow", "deny"}
