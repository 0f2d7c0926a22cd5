import shutil

import pytest

from tests.serving.postgres import MISSING, PostgresServer, find_programs
from tests.small_model import write_model, write_run
from tests.small_shop import small_config


@pytest.fixture(scope="session")
def served_run(tmp_path_factory):
    """(run directory, shop)"""
    return write_run(tmp_path_factory.mktemp("served") / "run")


@pytest.fixture(scope="session")
def other_run(served_run, tmp_path_factory):
    """The same shop with another rl."""
    run, shop = served_run
    other = tmp_path_factory.mktemp("other") / "run"
    shutil.copytree(run, other)
    shutil.rmtree(other / "rl")
    sections = {"sft": {"scratch": {"hidden_size": 16, "num_layers": 1}}, "rl": {"reward_type": "ranking"}}
    write_model(small_config(other, **sections), shop, "rl", 7, best=1, normalization="trie")
    return other


@pytest.fixture
def place(served_run, tmp_path):
    """A link to the run, as a deployment's `current`."""
    link = tmp_path / "current"
    link.symlink_to(served_run[0])
    return link


@pytest.fixture(scope="session")
def postgres():
    """A database server, its own; skipped with a message where there is none to start."""
    programs = find_programs()
    if programs is None:
        pytest.skip(MISSING)
    server = PostgresServer(programs)
    server.start()
    yield server
    server.stop("immediate")
    server.remove()
