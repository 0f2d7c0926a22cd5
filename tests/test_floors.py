"""Imports go down only: floor 0 knows nothing above it, and floors 0 and 1 do not know torch."""

import ast
from pathlib import Path

import pytest

from tests import ROOT

FLOORS = [
    {"config", "config_checks", "commandline", "artifacts", "stage"},
    {"sids", "data", "evaluation"},
    {"models", "quantizers"},
    {"training"},
]
HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "sentence_transformers"}
MODULES = sorted((ROOT / "genrec").rglob("*.py"))
TENCENTGR = sorted((ROOT / "tencentgr").glob("*.py"))  # scripts of floor 4, and modules that they alone share
SHARED = [path for path in TENCENTGR if '__name__ == "__main__"' not in path.read_text(encoding="utf-8")]
UR4REC = sorted((ROOT / "UR4Rec").rglob("*.py"))
SCRIPTS = sorted(path for pattern in ("*.py", "data/*.py", "rq/**/*.py") for path in ROOT.glob(pattern))
SCRIPTS += [path for path in TENCENTGR if path not in SHARED]
SCRIPT_NAMES = {p.stem for p in SCRIPTS} | {f"tencentgr.{p.stem}" for p in TENCENTGR if p not in SHARED}
PICKLE = ROOT / "tencentgr" / "safe_pickle.py"  # a competition's formats are pickles; it opens plain data only


def floor_of(module: str) -> int:
    room = module.split(".")[1]
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def imported(path: Path) -> set[str]:
    """Every module a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            package = node.module in ("genrec", "tencentgr")
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if package else {node.module}
    return names


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "__init__.py"], ids=lambda p: p.stem)
def test_imports_go_down(path):
    own = floor_of("genrec." + path.relative_to(ROOT / "genrec").with_suffix("").as_posix().replace("/", "."))
    for name in imported(path):
        assert not name.startswith("UR4Rec"), f"{path.name} imports {name}, which stands on genrec"
        if name.startswith("genrec."):
            assert floor_of(name) <= own, f"{path.name} imports {name} from a floor above"
        if own < 2:
            assert name.split(".")[0] not in HEAVY, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_do_not_import_scripts(path):
    assert not imported(path) & SCRIPT_NAMES


def test_modules_of_tencentgr_are_shared_by_its_scripts_only():
    for path in [*MODULES, *SCRIPTS, *SHARED]:
        ours = {name for name in imported(path) if name.split(".")[0] == "tencentgr"}
        assert path in TENCENTGR or not ours, path
        assert not ours & SCRIPT_NAMES, path


def test_no_eval_no_pickle_no_remote_code():
    for path in [*MODULES, *UR4REC, *SCRIPTS, *SHARED]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), path
            if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path
        assert path == PICKLE or not imported(path) & {"pickle", "dill", "joblib"}, path
