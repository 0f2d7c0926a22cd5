"""A package that is not installed: one line that names the extra, in every place that needs one."""

import sys
import tomllib

import pytest

from genrec.errors import ArtifactError
from tests import ROOT
from UR4Rec.data.dataset_loader import EXCEL, read_sheet
from UR4Rec.data.poster_encoder import read_pixels
from UR4Rec.data.posters import open_image
from UR4Rec.extras import EXTRAS
from UR4Rec.models.llm_backends import openai_backend


def test_the_extras_are_those_of_the_package():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(declared)


@pytest.mark.parametrize(
    ("module", "extra", "need"),
    [
        ("openai", "llm", lambda path: openai_backend("http://localhost:1", 1.0)),
        ("python_calamine", "excel", read_sheet),
        ("PIL.Image", "images", open_image),
        ("PIL.Image", "images", lambda path: read_pixels(path, 8)),
    ],
)
def test_a_missing_package_is_one_line_with_its_extra(monkeypatch, tmp_path, module, extra, need):
    monkeypatch.setitem(sys.modules, module, None)  # Python's way to say that there is none
    path = tmp_path / "file"
    path.write_bytes(EXCEL if isinstance(EXCEL, bytes) else EXCEL[0])
    with pytest.raises(
        ArtifactError, match=rf"needs {module}, which is not installed; pip install 'genrec\[{extra}\]'"
    ):
        need(path)
