import pytest

from tests.adversarial.shop import Shop, build_shop, copy_shop


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Shop:
    """Every stage, done once; nobody writes here."""
    return build_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def shop(finished, tmp_path, monkeypatch) -> Shop:
    """A copy of it to break, and nothing else in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GENREC_VERIFY_ALWAYS", raising=False)
    return copy_shop(finished, tmp_path / "shop")
