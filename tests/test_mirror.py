"""Each library module has a test file of its name, or a line in CONTRIBUTING.md that says which tests hold it."""

import re

from tests import ROOT

ROOTS = ("genrec", "tencentgr", "UR4Rec")
NO_LIBRARY = {"__init__", "__main__"}


def test_every_module_is_tested_or_says_by_what():
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    modules = [path for root in ROOTS for path in (ROOT / root).rglob("*.py") if path.stem not in NO_LIBRARY]
    untested = {path.relative_to(ROOT).as_posix() for path in modules if path.stem not in tested}
    lines = re.findall(r"^\| (`.+?`) \| (.+?) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    held = {name: where for names, where in lines for name in re.findall(r"`([\w/]+\.py)`", names)}
    assert untested == {name for name in held if (ROOT / name).exists() and "tests/" in held[name]}
    for where in held.values():
        for name in re.findall(r"`(tests/[\w/.]+)`", where):
            assert (ROOT / name).exists(), name
