"""setup_env.sh: what it installs where, and when it refuses; and that every script runs under bash 3.2.

`python` is a stub that says which version and environment it is of and writes down what pip was asked for.
"""

import os
import re
import shutil
import subprocess

import pytest

from tests import ROOT

TOOLS = ["bash", "dirname", "cat", "cut", "grep", "uname", "mkdir", "chmod", "sha256sum"]
PYTHON = """#!/usr/bin/env bash
if [[ "$1" == -c ]]; then
    printf '%s %s' "$STUB_VERSION" "${STUB_PREFIX:-${VIRTUAL_ENV:-$CONDA_PREFIX}}"
elif [[ "$1 $2" == "-m venv" ]]; then
    mkdir -p "$3/bin" && cat "$0" >"$3/bin/python" && chmod +x "$3/bin/python"
    printf 'VIRTUAL_ENV="%s"; export VIRTUAL_ENV; PATH="%s:$PATH"\\n' "$3" "$3/bin" >"$3/bin/activate"
else
    echo "$*" >>"$STUB_LOG"
    [[ "$*" != *"${STUB_FAILS:-nothing}"* ]]
fi
"""
SCRIPTS = sorted(p for p in ROOT.rglob("*.sh") if not {".venv", "outputs"} & set(p.relative_to(ROOT).parts))
SCRIPTS.append(ROOT / ".ci/run")
NEWER_THAN_3_2 = {
    r"\$\{!?\w+(\[[^]]*\])?(,|\^)": "change of case",
    r"\$\{\w+@[A-Za-z]\}": "${x@Q}",
    r"\b(mapfile|readarray|coproc)\b": "a builtin of bash 4",
    r"\b(declare|local|typeset) -\w*[Agnlu]": "associative, global, name or case attributes",
    r"&>>|\|&|;;?&": "a redirection or case ending of bash 4",
    r"\bwait -n\b|\bshopt -s (globstar|lastpipe)\b": "an option of bash 4",
    r"\[\[ -v ": "[[ -v",
    r"\$\{\w+\[-\d": "an index from the end",
    r"\$\{\w+:[^}]*:\s*-\d": "a length from the end",
    r"\{fd\}|\bEPOCH(SECONDS|REALTIME)\b|\bBASHPID\b": "a variable of bash 4",
    r"printf '?\"?%\(": "a time format",
}


class Machine:
    """A directory with a checkout, an environment and a PATH of its own."""

    def __init__(self, directory):
        self.dir, self.log = directory, directory / "log"
        self.environment = directory / "environment"
        self.environment.mkdir()
        self.bin = directory / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.write("env", f'#!{shutil.which("bash")}\nexec "$@"\n')
        self.write("python", PYTHON)
        self.checkout = self.add_checkout("checkout")

    def write(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def add_checkout(self, name):
        for file in ("setup_env.sh", "requirements.txt", "requirements-dev.txt", "pyproject.toml", "setup.py"):
            (self.dir / name).mkdir(exist_ok=True)
            shutil.copy(ROOT / file, self.dir / name / file)
        return self.dir / name

    def setup(self, file="requirements.txt", checkout=None, stdin=subprocess.DEVNULL, **variables):
        """The command's result; `variables` are added to an otherwise empty environment."""
        variables = {"PATH": str(self.bin), "STUB_LOG": str(self.log), "STUB_VERSION": "3.11"} | variables
        script = f'set -euo pipefail; source "{checkout or self.checkout}/setup_env.sh"; setup_env {file}'
        return subprocess.run(["bash", "-c", script], env=variables, stdin=stdin, capture_output=True, text=True)

    def venv(self, *args, **variables):
        return self.setup(*args, VIRTUAL_ENV=str(self.environment), **variables)

    def conda(self, name, **variables):
        return self.setup(CONDA_PREFIX=str(self.environment), CONDA_DEFAULT_ENV=name, **variables)

    def installed(self):
        """What pip was asked for since the last call, without what is the same in every call."""
        calls = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [call.removeprefix("-m pip install --quiet --disable-pip-version-check ") for call in calls]

    def everything(self, file="requirements.txt", checkout=None):
        checkout = checkout or self.checkout
        return [f"-r {checkout}/{file}", f"--no-deps -e {checkout}"]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def one_line(done):
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 1, done.stderr
    return lines[0]


def test_requirements_then_the_project_itself_without_its_dependencies_again(machine):
    done = machine.venv()
    assert done.returncode == 0, done.stderr
    assert machine.installed() == machine.everything()
    assert re.search(rf"installing requirements.txt into {machine.environment}, once; up to [\d.]+ GB", done.stdout)


def test_a_second_call_installs_nothing(machine):
    machine.venv("requirements-dev.txt")
    assert machine.installed() == machine.everything("requirements-dev.txt")
    for file in ("requirements-dev.txt", "requirements.txt"):  # the first includes the second
        done = machine.venv(file)
        assert (done.returncode, done.stdout, machine.installed()) == (0, "", [])


def test_the_smaller_file_does_not_stand_for_the_larger(machine):
    machine.venv()
    machine.installed()
    machine.venv("requirements-dev.txt")
    assert machine.installed() == machine.everything("requirements-dev.txt")


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt", "pyproject.toml", "setup.py"])
def test_what_an_installation_depends_on_makes_it_anew(machine, file):
    machine.venv()
    machine.installed()
    with (machine.checkout / file).open("a") as text:
        text.write("# changed\n")
    machine.venv()
    assert machine.installed() == machine.everything()


def test_another_checkout_in_the_same_environment_takes_its_place_and_gives_it_back(machine):
    other = machine.add_checkout("other")
    for checkout in (machine.checkout, other, machine.checkout):
        machine.venv("requirements.txt", checkout)
        assert machine.installed() == machine.everything(checkout=checkout)


@pytest.mark.parametrize("fails", ["-r ", "-e "])
def test_a_failed_installation_is_tried_again(machine, fails):
    assert "pip could not install" in one_line(machine.venv(STUB_FAILS=fails))
    machine.installed()
    assert machine.venv().returncode == 0
    assert machine.installed() == machine.everything()


def test_torch_comes_first_and_from_the_index_that_is_named(machine):
    done = machine.venv(GENREC_TORCH_INDEX="https://index.example/cpu")
    torch = re.search(r"^torch==.*$", (ROOT / "requirements.txt").read_text(), re.M)[0]
    assert machine.installed() == [f"--index-url https://index.example/cpu {torch}", *machine.everything()]
    assert "CPU build" in done.stdout
    (machine.environment / ".genrec-installed").unlink()
    failed = one_line(machine.venv(GENREC_TORCH_INDEX="https://index.example/cpu", STUB_FAILS="index.example"))
    assert "could not install torch from https://index.example/cpu" in failed


def test_conda_base_is_refused_without_a_terminal(machine):
    said = one_line(machine.conda("base"))
    assert "base" in said and "conda create -n genrec" in said and machine.installed() == []


@pytest.mark.parametrize(("answer", "installs"), [("y", True), ("n", False), ("", False)])
def test_conda_base_takes_a_yes_on_a_terminal(machine, answer, installs):
    terminal, stdin = os.openpty()
    os.write(terminal, f"{answer}\n".encode())
    done = machine.conda("base", stdin=stdin)
    os.close(terminal), os.close(stdin)
    assert (done.returncode == 0) == installs
    assert machine.installed() == (machine.everything() if installs else [])


def test_other_conda_environments_and_a_venv_over_base_are_taken(machine):
    assert machine.conda("genrec").returncode == 0 and machine.installed() == machine.everything()
    (machine.environment / ".genrec-installed").unlink()
    base = {"CONDA_PREFIX": str(machine.dir), "CONDA_DEFAULT_ENV": "base"}
    assert machine.venv(**base).returncode == 0 and machine.installed() == machine.everything()


@pytest.mark.parametrize("version", ["3.10", "3.13", "2.7"])
def test_an_active_environment_of_another_python_is_refused(machine, version):
    said = one_line(machine.venv(STUB_VERSION=version))
    assert f"{machine.environment} has Python {version}; genrec needs 3.11 or 3.12" in said
    assert machine.installed() == []


def test_a_python_of_another_environment_is_refused(machine):
    said = one_line(machine.venv(STUB_PREFIX="/somewhere/else"))
    assert "/somewhere/else" in said and str(machine.environment) in said and machine.installed() == []
    (machine.bin / "python").unlink()
    assert "no environment" in one_line(machine.venv())


def test_without_an_environment_one_is_made(machine):
    machine.write("python3.12", PYTHON)
    done = machine.setup(STUB_VERSION="3.12")
    assert done.returncode == 0, done.stderr
    assert (machine.checkout / ".venv/.genrec-installed").exists() and machine.installed() == machine.everything()


def test_without_a_python_that_fits_none_is_made(machine):
    assert "needs Python 3.11 or 3.12 on the PATH" in one_line(machine.setup(STUB_VERSION="3.9"))
    assert not (machine.checkout / ".venv").exists()


def test_shasum_gives_the_same_stamp_as_sha256sum(machine):
    machine.venv()
    machine.installed()
    (machine.bin / "sha256sum").unlink()
    check = f'[ "$*" = "-a 256" ] && exec {shutil.which("sha256sum")}'
    machine.write("shasum", f"#!{shutil.which('bash')}\n{check}\n")
    assert machine.venv().returncode == 0 and machine.installed() == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_run_under_bash_3_2(script):
    text = "\n".join(re.sub(r"(^|\s)#.*", "", line) for line in script.read_text().splitlines())
    for pattern, what in NEWER_THAN_3_2.items():
        assert not (hit := re.search(pattern, text)), f"{what}: {hit[0]}"
    for name in re.findall(r'(?<!\+)"\$\{(\w+)\[@\]\}"', text):  # an error under set -u where the array is empty
        assert re.search(rf"\b{name}=\([^)\s]", text), f'"${{{name}[@]}}" may be empty; ${{{name}[@]+"${{{name}[@]}}"}}'
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize(
    ("text", "what"),
    [("echo ${x,,}", "case"), ("declare -gA x", "associative"), ("mapfile -t x", "builtin"), ("a |& b", "redirection")],
)
def test_the_list_of_newer_constructs_finds_them(text, what):
    assert any(re.search(pattern, text) for pattern, name in NEWER_THAN_3_2.items() if what in name)


@pytest.mark.parametrize("script", ["rl.sh", "sft_single_gpu_swanlab.sh"])
def test_a_variable_becomes_a_flag_in_lower_case(script):
    name = "LEARNING_RATE"
    environment = {"PATH": os.environ["PATH"], "PYTHON": "echo"}
    with_flag, without = (
        subprocess.run(["bash", ROOT / script, "--x", "1"], env=environment | more, capture_output=True, text=True)
        for more in ({name: "3e-4"}, {})
    )
    assert with_flag.stdout.strip().endswith("--learning_rate 3e-4 --x 1")
    assert without.returncode == 0 and "learning_rate" not in without.stdout
