"""Workers of one server follow one version file: reloads, rollbacks, and a worker that starts anew."""

import asyncio

import pytest

from genrec.errors import ArtifactError
from genrec.serving.catalogue import Catalogue
from genrec.serving.version_file import Agreed, WorkerGroup
from tests.serving.serving_model import load_models, make_catalogue, point


def make_worker(directory, place, number):
    group = WorkerGroup(directory)
    group.worker = number
    catalogue = make_catalogue(place, ("item_knn",))
    return group, catalogue, group.join(catalogue)


def versions(group):
    return {each["worker"]: each["version"] for each in group.reports()}


def test_a_reload_and_a_rollback_of_one_worker_reach_the_other(place, other_run, tmp_path):
    make = [WorkerGroup(tmp_path), WorkerGroup(tmp_path)]
    catalogues = [make_catalogue(place), make_catalogue(place)]
    for number, group in enumerate(make):
        group.worker = number
    assert [group.join(each) for group, each in zip(make, catalogues, strict=True)] == [True, False]
    first = catalogues[0].current.name
    point(place, other_run)
    asyncio.run(catalogues[0].reload())
    make[0].lead(catalogues[0].current)
    make[0].report(catalogues[0])
    second = catalogues[0].current.name
    assert versions(make[1]) == {0: second, 1: first}, "until it looks"
    asyncio.run(make[1].catch_up(catalogues[1]))
    assert versions(make[0]) == {0: second, 1: second} and second != first
    catalogues[1].rollback()
    make[1].lead(catalogues[1].current)
    before = catalogues[0].previous
    asyncio.run(make[0].catch_up(catalogues[0]))
    assert catalogues[0].current is before and make[0].turn == make[1].turn == 3, "from memory"
    late = Catalogue(place, load_models, origin=make[0].origin())
    assert late.current.name == first, "a worker that starts anew takes what the others serve, not what lies there now"


def test_what_a_worker_cannot_follow_to_leaves_the_old_version_and_stands_in_its_report(place, tmp_path):
    group, catalogue, _ = make_worker(tmp_path, place, 1)
    name = catalogue.current.name
    group.write(Agreed(7, "another", str(catalogue.current.origin)))
    asyncio.run(group.catch_up(catalogue))
    report = group.reports()[0]
    assert report["version"] == name and report["turn"] == 7 and "holds version" in report["last_error"]


def test_a_worker_of_other_artifacts_does_not_join(served_run, other_run, tmp_path):
    first, second = WorkerGroup(tmp_path), WorkerGroup(tmp_path)
    assert first.join(make_catalogue(served_run[0]))
    with pytest.raises(ArtifactError, match="the workers serve"):
        second.join(make_catalogue(other_run))


def test_a_reload_waits_for_those_that_are_there(place, tmp_path):
    one, two = make_worker(tmp_path, place, 1), make_worker(tmp_path, place, 2)

    async def wait():
        one[0].lead(one[1].current)
        one[0].report(one[1])
        waiting = asyncio.create_task(one[0].wait_for_all())
        await asyncio.sleep(0.15)
        assert not waiting.done(), "the second has not looked yet"
        await two[0].catch_up(two[1])
        await asyncio.wait_for(waiting, 5)

    asyncio.run(wait())
    one[0].forget(2)
    assert [each["worker"] for each in one[0].reports()] == [1]
