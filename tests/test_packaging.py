"""The package: what the wheel holds, that it works away from the checkout, and that pins and ranges agree."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import genrec
from tests import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PACKAGES = ("genrec", "tencentgr", "UR4Rec")
GENERATED = shutil.ignore_patterns("__pycache__", "Multimodal_Datasets", "logs", "tb_logs", "results", "*.egg-info")


def files_of(*patterns):
    """Names below the checkout, without what runs have left there."""
    paths = (path.relative_to(ROOT) for pattern in patterns for path in ROOT.glob(pattern))
    return {path.as_posix() for path in paths if not {"__pycache__", "Multimodal_Datasets"} & set(path.parts)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that no build directory is left and none of an earlier build is packed."""
    directory = tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "config"):
        shutil.copytree(ROOT / name, directory / "source" / name, ignore=GENERATED)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, directory / "source" / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", directory, directory / "source"], check=True)
    return next(directory.glob("genrec-*.whl"))


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(directory)
    return directory


def run_outside(unpacked, tmp_path, *command):
    """In an empty directory, with the unpacked wheel in place of the checkout."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *command],
        env=environment | {"PYTHONPATH": str(unpacked), "PYTHONSAFEPATH": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_all_modules_all_presets_and_nothing_else(wheel):
    modules = files_of(*(f"{package}/**/*.py" for package in PACKAGES))
    presets = files_of("config/**/*.yaml", "config/**/*.json")
    assert {"config/quickstart.yaml", "config/accelerate/ddp.yaml", "config/datasets/toys_and_games.yaml"} <= presets
    page = files_of("genrec/serving/page/*")
    assert "genrec/serving/page/index.html" in page
    packed_presets = {name.replace("config/", "genrec/presets/", 1) for name in presets}
    wanted = modules | page | packed_presets | {"tencentgr/config.yaml"}
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in packed if ".dist-info/" not in name} == wanted


def test_every_file_of_config_is_a_preset_that_is_packed():
    files = {path for path in (ROOT / "config").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.suffix for path in files} <= {".yaml", ".json"}


def test_the_wheel_is_of_this_version_and_has_the_command(wheel, unpacked, tmp_path):
    assert wheel.name == f"genrec-{genrec.__version__}-py3-none-any.whl"
    entry = next(unpacked.glob("*.dist-info/entry_points.txt")).read_text()
    assert entry.split() == ["[console_scripts]", "genrec", "=", "genrec.cli:main"]
    said = run_outside(unpacked, tmp_path, "-c", "import genrec; print(genrec.__version__, genrec.__file__)")
    assert said.split() == [genrec.__version__, str(unpacked / "genrec/__init__.py")]


@pytest.mark.parametrize("package", ["genrec.config", "tencentgr.options", "UR4Rec.prompts", "UR4Rec.extras"])
def test_every_system_is_imported_from_the_wheel(unpacked, tmp_path, package):
    said = run_outside(unpacked, tmp_path, "-c", f"import {package} as module; print(module.__file__)")
    assert Path(said.strip()).is_relative_to(unpacked)


def test_the_command_finds_its_presets_in_the_wheel(unpacked, tmp_path):
    """All of them, by bare name, as the checkout does."""
    inside = subprocess.run([sys.executable, "-m", "genrec", "presets"], cwd=ROOT, capture_output=True, text=True)
    said = run_outside(unpacked, tmp_path, "-m", "genrec", "presets")
    assert said == inside.stdout and "quickstart" in said and "datasets/toys_and_games" in said
    code = "from genrec.presets import find_config; print(find_config('tiny').read_text())"
    assert run_outside(unpacked, tmp_path, "-c", code).strip() == (ROOT / "config/tiny.yaml").read_text().strip()


def test_the_entry_point_is_there(unpacked, tmp_path):
    module, function = PROJECT["scripts"]["genrec"].split(":")
    said = run_outside(unpacked, tmp_path, "-c", f"from {module} import {function}; {function}(['--version'])")
    assert said == f"genrec {genrec.__version__}\n"


@pytest.mark.parametrize("script", ["main", "make_sample", "train_rqvae"])
def test_scripts_of_tencentgr_run_from_inside_it_and_as_modules(unpacked, tmp_path, script):
    inside = subprocess.run(
        [sys.executable, f"{script}.py", "--help"], cwd=ROOT / "tencentgr", capture_output=True, text=True
    )
    assert inside.returncode == 0 and "--seed" in inside.stdout, inside.stderr
    said = run_outside(unpacked, tmp_path, "-m", f"tencentgr.{script}", "--help")
    assert said.splitlines()[0] == inside.stdout.splitlines()[0] and "--seed" in said


# Requirements


def pins(file):
    """{name: version} of a requirements file and of those it includes; every line is a pin or an inclusion."""
    found = {}
    for line in (ROOT / file).read_text().splitlines():
        if line.startswith("-r "):
            found |= pins((ROOT / file).parent.relative_to(ROOT) / line[3:])
        elif line and not line.startswith("#"):
            name, version = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", line).groups()
            assert canonicalize_name(name) not in found, f"{name} is pinned twice"
            found[canonicalize_name(name)] = version
    return found


def ranges(requirements):
    """{name: Requirement}, with the extras of this project replaced by what they stand for."""
    found = {}
    for requirement in map(Requirement, requirements):
        for extra in sorted(requirement.extras) if requirement.name == "genrec" else ():
            found |= ranges(EXTRAS[extra])
        if requirement.name != "genrec":
            found[canonicalize_name(requirement.name)] = requirement
    return found


def imported_roots(directory):
    names = set()
    for path in directory.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names


def test_pins_lie_inside_the_ranges():
    declared = ranges(PROJECT["dependencies"]) | {k: v for rows in EXTRAS.values() for k, v in ranges(rows).items()}
    for name, version in pins("requirements-dev.txt").items():
        assert name in declared, f"{name} is pinned and pyproject.toml does not name it"
        assert version in declared[name].specifier, f"{name}=={version} is outside {declared[name].specifier}"


def test_what_the_package_needs_is_pinned():
    product = set(ranges(PROJECT["dependencies"]))
    optional = {name for extra in ("swanlab", "tensorboard") for name in ranges(EXTRAS[extra])}
    assert set(pins("requirements.txt")) == product | optional
    assert set(pins("requirements-dev.txt")) == product | optional | set(ranges(EXTRAS["dev"]))


def test_what_answers_exports_is_pinned_as_elsewhere_and_has_no_torch():
    serving = pins("requirements-onnx.txt")
    assert serving.items() <= pins("requirements-dev.txt").items()
    assert {"onnxruntime", "tokenizers", "numpy", "polars"} <= set(serving)
    assert not {"torch", "transformers"} & set(serving)


def test_tencentgr_has_the_requirements_of_the_project():
    assert pins("tencentgr/requirements.txt") == pins("requirements.txt")


def test_only_ur4rec_imports_what_is_an_extra_of_its_own():
    extras = {"openai", "python_calamine", "PIL"}
    assert not extras & (imported_roots(ROOT / "genrec") | imported_roots(ROOT / "tencentgr"))
    product = ranges(PROJECT["dependencies"])
    assert not {"openai", "python-calamine", "pillow"} & set(product)
