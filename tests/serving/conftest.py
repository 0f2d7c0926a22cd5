import pytest

from tests.small_model import write_run


@pytest.fixture(scope="session")
def served_run(tmp_path_factory):
    """(run directory, shop)"""
    return write_run(tmp_path_factory.mktemp("served") / "run")
