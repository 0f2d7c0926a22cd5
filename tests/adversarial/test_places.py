"""Run directories of every kind: things in the way, names, links, foreign files, stages out of order, full disks."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from genrec.pipeline import STAGES
from tests.adversarial.shop import Shop, call, put

WRITERS = ("convert", "sids", "sequential", "evaluate", "analyze")  # stages that are quick to make anew
BESIDE = ("evaluate", "analyze")  # what is measured otherwise gets a name of its own
OTHER = {"convert": ("--guard_formulas",)}  # draws nothing, so another seed is no other setting
REFUSING = tuple(command for command in WRITERS if command not in BESIDE)
MANY = {"sids": "sids/rqkmeans", "evaluate": "evaluation/popular", "analyze": "analysis/sft"}
ARTIFACT = {stage.command: name for name, stage in STAGES.items()} | MANY  # of evaluation the first row


def files_below(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def contents(directory):
    """Of a run, but for locks and what verification remembers."""
    return {path: data for path, data in files_below(directory).items() if not path.name.startswith(".")}


# Stages out of order

ORDER = {
    ("embed", "data"): "data is not there yet; run first: .*prepare",
    ("sids", "data"): "data is not there yet; run first: .*prepare",
    ("sids", "embeddings"): "embeddings is not there yet; run first: .*embed",
    ("convert", "sids"): "sids/rqkmeans is not there yet; run first: .*sids",
    ("sequential", "data"): "data is not there yet; run first: .*prepare",
    ("sft", "sids"): "sids/rqkmeans is not there yet; run first: .*sids",
    ("rl", "sft"): "sft is not there yet; run first: .*sft",
    ("evaluate --models sft", "sft"): "sft is not there yet; run first: .*sft",
    ("evaluate --models sasrec", "sequential"): "sequential is not there yet; run first: .*sequential",
    ("analyze", "data"): "data is not there yet; run first: .*prepare",
    ("iterate", "data"): "the loop|failed, see above|not there yet",
}


@pytest.mark.parametrize("command, missing", ORDER)
def test_a_stage_before_what_it_reads(shop, command, missing, monkeypatch):
    shop.remove(missing)
    if command == "iterate":
        monkeypatch.setattr("genrec.stages.iterate.subprocess.run", lambda words, **_: fail_like(words))
    shop.call(*command.split(), "--clean").check(1, ORDER[command, missing])


@pytest.mark.parametrize(
    "command", ["prepare", "embed", "sids", "convert", "sequential", "sft", "rl", "evaluate", "analyze", "iterate"]
)
def test_a_refused_call_on_a_mistyped_run_directory_leaves_no_trace(shop, tmp_path, command):
    more = ["--data.source", "movielens", "--data.raw_dir", "nowhere"] if command == "prepare" else []
    before = {path for path in tmp_path.rglob("*")}
    place = tmp_path / "outputs" / "typo"
    call(command, "--config", str(shop.preset), "--run.dir", str(place), *more).check(1, "")
    assert {path for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("command", [*REFUSING, "sft", "rl"])
def test_a_refused_call_on_a_run_leaves_nothing_in_it(shop, command):
    before = {path for path in shop.run.rglob("*") if not path.name.startswith(".verified")}
    shop.call(command, *OTHER.get(command, ("--run.seed", "7"))).check(1, "made with other settings|run.seed")
    assert {path for path in shop.run.rglob("*") if not path.name.startswith(".verified")} == before


def fail_like(words):
    from types import SimpleNamespace

    return SimpleNamespace(returncode=call(*words[3:]).code)


@pytest.mark.parametrize("command", REFUSING)
def test_other_settings_without_clean_are_refused(shop, command):
    before = contents(shop.run)
    other = OTHER.get(command, ("--run.seed", "7"))
    shop.call(command, *other).check(1, r"was made with other settings|run.seed.*42.*7")
    assert contents(shop.run) == before


@pytest.mark.parametrize("command", BESIDE)
def test_what_is_measured_by_other_settings_lies_beside(shop, command):
    before = contents(shop.run)
    shop.call(command, "--run.seed", "7").check(0, "done in .*sft.seed-7")
    assert (shop.run / f"{ARTIFACT[command]}.seed-7" / "manifest.json").is_file()
    tables = {Path("evaluation") / name for name in ("results.json", "summary.txt")}  # of all rows
    after = contents(shop.run)
    assert all(after[path] == data for path, data in before.items() if path not in tables)


@pytest.mark.parametrize("command", [*WRITERS, "sft", "rl"])
def test_a_finished_stage_is_up_to_date(shop, command):
    before = contents(shop.run)
    shop.call(command).check(0, "up to date")
    assert contents(shop.run) == before


@pytest.mark.parametrize("command", ["embed", "sft", "rl", *WRITERS])
def test_a_dry_run_writes_nothing(shop, command):
    before = contents(shop.run)
    shop.call(command, "--dry-run", "--clean").check(0, "to run anew")
    assert contents(shop.run) == before


# Things in the way


@pytest.mark.parametrize("command", WRITERS)
def test_a_foreign_directory_of_the_artifacts_name_stays(shop, command):
    shutil.rmtree(shop.run / ARTIFACT[command])
    put(shop.run / ARTIFACT[command] / "thesis.txt", "mine")
    for flags in ([], ["--clean"]):
        shop.call(command, *flags).check(1, "exists but is no artifact: it has no manifest.json; move it away")
    assert (shop.run / ARTIFACT[command] / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("command", WRITERS)
def test_a_file_of_the_artifacts_name_stays(shop, command):
    shutil.rmtree(shop.run / ARTIFACT[command])
    put(shop.run / ARTIFACT[command], "mine")
    for flags in ([], ["--clean"]):
        shop.call(command, *flags).check(1, "exists but is no artifact|Not a directory")
    assert (shop.run / ARTIFACT[command]).read_text() == "mine"


@pytest.mark.parametrize("command", WRITERS)
def test_a_foreign_partial_directory_stays(shop, command):
    shutil.rmtree(shop.run / ARTIFACT[command])
    partial = shop.run / f"{ARTIFACT[command]}.partial"
    put(partial / "thesis.txt", "mine")
    for flags in ([], ["--clean"]):
        shop.call(command, *flags).check(1, "was not begun by this program: it has no .begun.json; move it away")
    assert (partial / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("command", WRITERS)
def test_a_file_in_the_place_of_the_partial_directory_stays(shop, command):
    partial = shop.run / f"{ARTIFACT[command]}.partial"
    put(partial, "mine")
    shop.call(command, "--clean").check(1, "partial is no directory of this program; move it away")
    assert partial.read_text() == "mine"


@pytest.mark.parametrize("command", WRITERS)
def test_what_stands_in_the_place_of_the_replaced_stays(shop, command):
    replaced = shop.run / f"{ARTIFACT[command]}.replaced"
    put(replaced / "thesis.txt", "mine")
    shop.call(command, "--clean").check(1, "replaced.*no manifest.json; move it away")
    assert (replaced / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("command", WRITERS)
def test_clean_keeps_foreign_files_within_the_artifact_or_names_them(shop, command):
    foreign = shop.run / ARTIFACT[command] / "thesis.txt"
    put(foreign, "mine")
    shop.call(command, "--clean").check(
        1, "thesis.txt is no file of this artifact, and --clean would remove it; move it away"
    )
    assert foreign.read_text() == "mine"


@pytest.mark.parametrize("command", WRITERS)
def test_a_link_in_the_place_of_the_artifact_is_not_followed(shop, tmp_path, command):
    original, elsewhere = shop.run / ARTIFACT[command], tmp_path / "elsewhere"
    shutil.move(original, elsewhere)
    original.symlink_to(elsewhere)
    before = files_below(elsewhere)
    shop.call(command, "--clean").check(1, "is a symbolic link to .*elsewhere; remove the link, or move what it is")
    assert original.is_symlink() and files_below(elsewhere) == before


@pytest.mark.parametrize("kind", ["nowhere", "itself"])
@pytest.mark.parametrize("command", WRITERS)
def test_a_link_that_leads_nowhere(shop, command, kind):
    original = shop.run / ARTIFACT[command]
    shutil.rmtree(original)
    original.symlink_to(original if kind == "itself" else shop.home / "nowhere")
    shop.call(command).check(1, "symbolic link|Too many levels")


def test_a_linked_run_directory_is_one_run(shop, tmp_path):
    (tmp_path / "link").symlink_to(shop.run)
    call("convert", "--config", str(shop.preset), "--run.dir", str(tmp_path / "link")).check(0, "up to date")
    call("convert", "--config", str(shop.preset), "--run.dir", str(tmp_path / "link"), "--clean").check(0, "done in")
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("command", ["prepare", "convert", "sft", "evaluate", "analyze", "iterate"])
@pytest.mark.parametrize("kind", ["file", "below a file", "long", "loop"])
def test_a_run_directory_that_cannot_be_one(shop, tmp_path, kind, command):
    places = {"file": tmp_path / "f", "below a file": tmp_path / "f/g/h", "long": tmp_path / ("n" * 300)}
    (tmp_path / "f").write_text("mine")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    place = places.get(kind, tmp_path / "loop" / "run")
    call(command, "--config", str(shop.preset), "--data.raw_dir", str(tmp_path / "raw"), "--run.dir", str(place)).check(
        1, "Not a directory|File exists|File name too long|Too many levels|leads to itself|exists but is no"
    )
    assert (tmp_path / "f").read_text() == "mine"


# Names

NAMES = [
    "with spaces", "[brackets] *?", "{dataset}", "Übung-日本", "new\nline", "esc\x1b[31m", "-dash", "quote'\"", "%s %d",
    "$HOME", "..", ".", "a/../b", "tab\tname", "~tilde", "#hash", "trailing.", "back\\slash", "\udcff",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_run_directory_of_any_name(finished, tmp_path, monkeypatch, name):
    home = tmp_path / "home" / "inner"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    place = home / name.replace("{dataset}", "small")
    shutil.copytree(finished.run, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*.lock"))
    flags = ["--config", str(finished.preset), f"--run.dir={name}"]
    call("convert", *flags).check(0, "up to date")
    call("convert", *flags, "--clean").check(0, "done in")
    call("evaluate", *flags, "--clean", "--models", "popular").check(0, "popular")
    shutil.rmtree(place / "data", ignore_errors=True)
    call("convert", *flags, "--clean").check(1, "data is not there yet")


# Disks


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ESTALE"])
@pytest.mark.parametrize("command", WRITERS)
def test_a_disk_that_does_not_take_more(shop, monkeypatch, command, number):
    before = contents(shop.run)

    def refuse(*_, **__):
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)), "disk")

    monkeypatch.setattr("genrec.artifacts.os.replace", refuse)
    shop.call(command, "--clean").check(1, f"cannot write under .*{os.strerror(getattr(errno, number))}")
    monkeypatch.undo()
    kept = {path: data for path, data in contents(shop.run).items() if ".partial" not in str(path)}
    assert kept == before, "what was finished is as it was"


@pytest.mark.parametrize("command", WRITERS)
def test_a_full_disk_while_the_artifact_is_built(shop, monkeypatch, command):
    before = contents(shop.run)

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("genrec.artifacts.flush", refuse)
    shop.call(command, "--clean").check(1, "cannot write under .*No space left on device.*Nothing finished was touched")
    monkeypatch.undo()
    shop.call(command, "--clean").check(0, "done in|up to date")
    assert contents(shop.run).keys() == before.keys()


def test_a_refused_clean_has_removed_nothing(shop):
    before = contents(shop.run)
    shop.call("sids", "--clean", "--codebook_size", "30000").check(1, "30000 is more than the 20 items")
    shop.call("embed", "--clean").check(1, "nowhere")
    shop.call("sft", "--clean", "--train_from_scratch", "false", "--base_model", "nowhere").check(1, "nowhere")
    shop.call("rl", "--clean", "--model_path", "nowhere").check(1, "nowhere is not a directory")
    shop.call("evaluate", "--clean", "--base_model", "nowhere").check(1, "nowhere is not a directory")
    shop.call("analyze", "--clean", "--model", "nowhere").check(1, "no predictions of 'nowhere'")
    kept = {path: data for path, data in contents(shop.run).items() if ".partial" not in str(path)}
    assert kept == before


# Other places that flags name

GIVEN = {
    "sft --clean --preferences nowhere.json --tasks.preference_to_sid 1": "nowhere.json cannot be read",
    "sft --clean --preferences D --tasks.preference_to_sid 1": "D cannot be read",
    "sft --clean --preferences F --tasks.preference_to_sid 1": "F.*not valid JSON",
    "sft --clean --preferences N --tasks.preference_to_sid 1": "N",
    "sft --clean --preferences L --tasks.preference_to_sid 1": "L",
    "sft --clean --preferences B --tasks.preference_to_sid 1": "B.*not valid JSON",
    "sft --clean --train_from_scratch false --base_model D": "D.*no config.json",
    "sft --clean --train_from_scratch false --base_model F": "F",
    "sft --clean --train_from_scratch false --base_model x.gguf": "x.gguf",
    "sft --clean --train_from_scratch false --base_model package:nothing": "nothing",
    "sft --clean --run.device gpu": "gpu",
    "sft --clean --run.device cuda:99": "cuda",
    "embed --clean --descriptions nowhere.json": "nowhere",
    "embed --clean --descriptions D": "D|nowhere",
    "embed --clean --plm_checkpoint D": "D",
    "embed --clean --plm_checkpoint F": "F",
    "embed --clean --plm_checkpoint package:nothing": "nothing",
    "rl --clean --model_path D": "D is not a model of this project",
    "rl --clean --model_path F": "F is not a directory",
    "rl --clean --reward_type sasrec_text": "sasrec_text",
    "evaluate --clean --base_model D": "D is not a model of this project",
    "evaluate --clean --base_model F": "F is not a directory",
    "evaluate --clean --index sids_grown": "sids_grown/rqkmeans is not there yet",
    "evaluate --clean --models sasrec_bce": "no SASRec in .*sasrec_bce",
    "analyze --clean --model D": "D",
    "analyze --clean --model F": "no predictions of 'F'",
    "analyze --clean --exact D": "D",
    "analyze --clean --exact nowhere": "nowhere",
    "sids --add nowhere.json": "nowhere.json",
    "sids --add D": "D cannot be read",
    "sids --add F": "F.*not valid JSON",
    "sids --add N": "N",
    "sids --add L": "L",
    "sids --retire 99": "99",
    "sids --clean --method imported": "imported needs",
    "convert --output_path F": "cannot write F",
    "prepare --clean --data.source minionerec --raw_dir D": "D",
    "prepare --clean --data.source movielens --dataset ml-100k --raw_dir F": "F",
    "prepare --clean --data.source amazon18 --raw_dir F --url file:///nowhere/{dataset}/{file}": "F|nowhere",
    "prepare --clean --data.source amazon23 --raw_dir D --url file:///nowhere/{dataset}/{file}": "nowhere",
    "prepare --clean --data.source amazon18 --raw_dir D --url not-a-url": "not-a-url",
    "prepare --clean --data.source amazon18 --raw_dir D --url {nothing}": "nothing",
    "run --yes --to data --data.source minionerec --data.raw_dir D --clean": "",
}


@pytest.mark.parametrize("words", GIVEN)
def test_a_place_that_a_flag_names(shop, words, monkeypatch):
    put_given_files(shop)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("genrec.stages.run.call", lambda command, flags, *_: exit_like(call(command, *flags)))
    command, *flags = words.split(" ")
    before = contents(shop.run)
    shop.call(command, *flags).check(1, GIVEN[words])
    kept = {path: data for path, data in contents(shop.run).items() if ".partial" not in str(path)}
    assert kept == before, "what was finished is as it was"


@pytest.mark.parametrize("place, says", {"nowhere": "also at", "D": "also at", "F": "no link at .*File exists"}.items())
def test_a_root_beside_a_named_run_gets_a_link_to_the_vectors(shop, place, says):
    put_given_files(shop)
    before = contents(shop.run)
    shop.call("embed", "--root", place).check(0, f"embeddings: up to date\nembeddings: {says}")
    assert contents(shop.run) == before and (shop.home.parent / "F").read_bytes() == b""


def exit_like(outcome):
    import sys

    sys.stderr.write(outcome.stderr)
    if outcome.traceback is not None:
        raise outcome.traceback
    raise SystemExit(outcome.code)


def put_given_files(shop: Shop):
    """In the working directory: an empty directory, an empty file, null, a list, and bytes of no encoding."""
    (shop.home.parent / "D").mkdir()
    for name, content in {"F": b"", "N": b"null", "L": b"[1, [], null]", "B": b"\xff\xfe\x00"}.items():
        put(shop.home.parent / name, content)
