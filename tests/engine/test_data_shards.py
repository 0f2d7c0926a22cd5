"""Whoever carries out the tasks of a preparation, the artifact is that of one process; also when they are killed."""

import os
import signal
import sys
from pathlib import Path

import pytest

from genrec import artifacts
from genrec.artifacts import read_manifest
from genrec.config import Run
from genrec.config_checks import validate
from genrec.data.shards import sharded
from genrec.data.shards.work import MIB, Spent, carry_out, say_spent
from genrec.engine import data_shards
from genrec.engine.data_shards import choose_size, find_workers, say_whole
from genrec.errors import ConfigError
from genrec.stages import prepare
from tests.data.shards.test_sharded import by_shards, draw_events, write_parts


def words(events, run, *more):
    return ["--source", "table", "--dataset", "s", "--events", events, "--run.dir", str(run), *map(str, more)]


def fingerprint(run):
    manifest = read_manifest(run / "data")
    assert manifest is not None
    return manifest.fingerprint


@pytest.fixture
def events(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "flush_path", lambda path: None)
    return write_parts(tmp_path / "events", draw_events())


def test_the_command_makes_the_same_artifact_by_shards_and_leaves_nothing_between(events, tmp_path, capsys):
    prepare.main(words(events, tmp_path / "once"))
    prepare.main(words(events, tmp_path / "shards", "--shard_size", 1))
    assert fingerprint(tmp_path / "shards") == fingerprint(tmp_path / "once")
    assert not list((tmp_path / "shards").rglob(sharded.PLACE))
    said = capsys.readouterr().out
    assert "3 pieces of files, 1 groups of users" in said and "tasks by 1 worker, the largest" in said
    prepare.main(words(events, tmp_path / "shards"))  # how it was made is no part of what it is
    assert "data: up to date" in capsys.readouterr().out


def test_a_command_that_was_stopped_goes_on_and_one_at_once_takes_nothing_of_it(events, tmp_path, capsys, monkeypatch):
    prepare.main(words(events, tmp_path / "once"))
    carried = []

    def stop_at_the_tenth(task):
        carried.append(task.record)
        if len(carried) == 10:
            raise KeyboardInterrupt
        return carry_out(task)

    monkeypatch.setattr("genrec.data.shards.work.carry_out", stop_at_the_tenth)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        prepare.main(words(events, tmp_path / "shards", "--shard_size", 1))
    prepare.main(words(events, tmp_path / "shards", "--shard_size", 1))
    assert "going on from where it was stopped" in capsys.readouterr().out
    assert [carried.count(carried[place]) for place in range(10)] == [1] * 9 + [2]
    carried.clear()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        prepare.main(words(events, tmp_path / "other", "--shard_size", 1))
    prepare.main(words(events, tmp_path / "other"))
    for run in ("shards", "other"):
        assert fingerprint(tmp_path / run) == fingerprint(tmp_path / "once")
        assert not list((tmp_path / run).rglob(sharded.PLACE))


def test_what_a_refusal_advises_works_in_the_same_run(events, tmp_path, capsys):
    with pytest.raises(SystemExit):
        prepare.main(words(events, tmp_path / "run", "--shard_size", 1, "--user_k", 10**6))
    assert "no events are left" in capsys.readouterr().err
    assert not list(tmp_path.glob("run/data*"))
    prepare.main(words(events, tmp_path / "run", "--shard_size", 1))
    assert fingerprint(tmp_path / "run")


def test_by_shards_is_asked_by_size_or_by_the_engine():
    table = {"source": "table", "dataset": "s", "events": "e.csv"}
    assert choose_size(validate({"data": table})) is None
    assert choose_size(validate({"data": table | {"shard_size": 3}})) == 3 * MIB
    assert choose_size(validate({"data": table, "run": {"engine": "ray"}})) == 256 * MIB
    assert choose_size(validate({"data": {"source": "movielens"}, "run": {"engine": "ray"}})) is None
    with pytest.raises(ConfigError, match="data.shard_size 3 would do nothing for data.source toy"):
        validate({"data": {"source": "toy", "shard_size": 3}})


def test_a_dataset_is_read_at_once_and_cut_by_nobody(tmp_path):
    (tmp_path / "state.json").touch()
    for events in ("hf:somebody/shop", str(tmp_path)):
        data = {"source": "table", "dataset": "s", "events": events}
        assert choose_size(validate({"data": data, "run": {"engine": "ray"}})) is None
    with pytest.raises(ConfigError, match="shard_size 3 cuts files, and data.events hf:somebody/shop is a dataset"):
        validate({"data": data | {"events": "hf:somebody/shop", "shard_size": 3}})


def test_what_was_spent_and_what_could_not_be_cut_are_said():
    spent = [Spent("parse", 3, 4.0, 5 * MIB), Spent("k-core", 2, 1.0, 9 * MIB), Spent("k-core", 2, 0.5, MIB)]
    assert say_spent(spent, 2) == ["7 tasks by 2 workers, the largest 9 MiB; CPU s: parse 4.0, k-core 1.5"]
    assert say_whole([], 9 * MIB) == [] and "a.gz: larger than 9 MiB" in say_whole([Path("x/a.gz")], 9 * MIB)[0]


def test_without_ray_the_engine_is_one_line(events, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit):
        prepare.main(words(events, tmp_path / "run", "--run.engine", "ray"))
    assert "pip install 'genrec[ray]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# On Ray


def die_once(mark, function, *told):
    """A task whose first worker is killed while it is at it."""
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*told)


@pytest.mark.slow
def test_workers_on_ray_make_the_same_however_many_they_are_and_when_they_are_killed(events, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'genrec[ray]'")
    from tests.data.shards.test_sharded import at_once

    config = validate({"data": {"source": "table", "dataset": "s", "events": events, "ties": "random"}})
    wanted = at_once(config.data, tmp_path)
    for count in (1, 2, 4):
        run = Run(engine="ray", workers=count, dir=tmp_path / f"run-{count}")
        with find_workers(run) as workers:
            assert by_shards(config.data, tmp_path / f"by-{count}", 9_000, workers) == wanted
    with find_workers(Run(engine="ray", workers=2, dir=tmp_path / "killed")) as workers:

        def with_deaths(tasks):
            """Of each step the first task's worker dies."""
            mark = str(tmp_path / f"died-{tasks[0].record.parent.name}-{tasks[0].record.stem}") if tasks else ""
            planted = [task._replace(function=die_once, told=(mark, task.function, *task.told)) for task in tasks[:1]]
            return workers([*planted, *tasks[1:]])

        assert by_shards(config.data, tmp_path / "killed", 9_000, with_deaths) == wanted
    assert len(list(tmp_path.glob("died-*"))) > 8


@pytest.mark.slow
def test_a_file_that_a_node_does_not_see_is_one_line(events, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'genrec[ray]'")
    config = validate({"data": {"source": "table", "dataset": "s", "events": events}})

    def lose(tasks):
        (Path(events) / "part-1.csv").unlink(missing_ok=True)
        return data_shards.give_out(*[*connected, tasks])

    from genrec.engine.cluster import cluster
    from genrec.errors import ArtifactError

    run = Run(engine="ray", dir=tmp_path / "run")
    with cluster(run, [run.dir]) as ray:
        connected = (ray, run)
        with pytest.raises(ArtifactError, match="part-1.csv is not seen by node"):
            by_shards(config.data, tmp_path, 10**6, lose)


@pytest.mark.slow
def test_a_node_that_is_lost_on_the_way_changes_nothing(events, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'genrec[ray]'")
    from ray.cluster_utils import Cluster

    from tests.data.shards.test_sharded import at_once

    config = validate({"data": {"source": "table", "dataset": "s", "events": events}})
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    lost = [nodes.add_node(num_cpus=1)]
    run = Run(engine="ray", workers=2, ray_address=nodes.address, dir=tmp_path / "run")
    try:
        with find_workers(run) as workers:

            def lose_one(tasks):
                for number, done in enumerate(workers(tasks)):
                    if number == 1 and lost:  # while both have a task
                        nodes.remove_node(lost.pop(), allow_graceful=False)
                    yield done

            made = by_shards(config.data, tmp_path, 9_000, lose_one)
    finally:
        nodes.shutdown()
    assert not lost and made == at_once(config.data, tmp_path)
