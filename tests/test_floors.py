"""Imports go down only: floor 0 knows nothing above it, and floors 0 and 1 do not know torch."""

import ast
from pathlib import Path

import pytest

from tests import ROOT

FLOORS = [
    {
        "artifacts", "commandline", "config", "config_checks", "errors", "guard", "help_text", "launch", "lines",
        "lock", "objects", "own_tasks", "pipeline", "places", "plugins", "presets", "recipe_places", "remote",
        "run_choice", "signals", "stage", "verify", "windows",
    },
    {"sids", "store", "tables", "data", "evaluation", "diagnosis", "advice", "experiments"},
    {"runtime", "embeddings", "models", "quantizers"},
    {"training"},
    {"model_choice", "recommender", "loading", "serving", "engine", "stages", "cli", "__main__"},
]  # fmt: skip
HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "sentence_transformers"}
MODULES = sorted((ROOT / "genrec").rglob("*.py"))
TENCENTGR = sorted((ROOT / "tencentgr").glob("*.py"))  # scripts of floor 4, and modules that they alone share
SHARED = [path for path in TENCENTGR if '__name__ == "__main__"' not in path.read_text(encoding="utf-8")]
UR4REC = sorted((ROOT / "UR4Rec").rglob("*.py"))
SCRIPTS = sorted(path for pattern in ("*.py", "data/*.py", "rq/**/*.py") for path in ROOT.glob(pattern))
SCRIPTS = [path for path in SCRIPTS if path.name != "setup.py"]
SCRIPTS += [path for path in TENCENTGR if path not in SHARED]
SCRIPT_NAMES = {p.stem for p in SCRIPTS} | {f"tencentgr.{p.stem}" for p in TENCENTGR if p not in SHARED}
PICKLE = ROOT / "tencentgr" / "safe_pickle.py"  # a competition's formats are pickles; it opens plain data only


def own_imports(path: Path) -> set[str]:
    """Modules of genrec that a file imports at its top, for the search of circles."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "genrec":
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in NAMES else node.module for name in below}
    return names & NAMES.keys()


NAMES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES if path.name != "__init__.py"}


def test_no_import_circle():
    """Modules can be put in an order in which each imports earlier ones only."""
    waiting = {name: own_imports(path) - {name} for name, path in NAMES.items()}
    while ready := [name for name, needed in waiting.items() if not needed & waiting.keys()]:
        for name in ready:
            del waiting[name]
    assert not waiting, f"these import one another: {sorted(waiting)}"


# Rooms of floor 1, each may use those before it.
ROOMS = ["data", "evaluation", "diagnosis", "advice", "experiments"]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_floor_1_look_one_way(room):
    for path in (ROOT / "genrec" / room).glob("*.py"):
        for later in ROOMS[ROOMS.index(room) + 1 :]:
            assert not any(name.startswith(f"genrec.{later}") for name in imported(path)), (path, later)


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
        if name.startswith("genrec.") and name != "genrec.__version__":
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
