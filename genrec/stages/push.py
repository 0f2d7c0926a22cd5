"""A trained model, whole, to the Hugging Face hub or into a directory of its own.

    genrec push outputs/quickstart OWNER/NAME             of a run rl where RL helped, else sft
    genrec push outputs/quickstart/sft OWNER/NAME --private True
    genrec push outputs/quickstart/export OWNER/NAME      what genrec export made, table and all
    genrec push outputs/quickstart --output model         only the copy, nothing leaves this machine

The copy holds weights, tokenizer, semantic IDs, the shop's item ids and titles, and a README.md with the table of the
run's evaluation. `genrec.load("OWNER/NAME")` and `genrec.load("model")` read it. The token is that of `hf auth login`
or HF_TOKEN.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from genrec import artifacts
from genrec.commandline import options_program, parse
from genrec.config import Section, knob
from genrec.errors import ArtifactError, ConfigError, exit_on_failure, exit_on_usage_error, first_line
from genrec.launch import note


class PushOptions(Section):
    """What is published, and where."""

    directory: Path = knob(..., "a run or a model directory; also as the first word", spellings=("dir",))
    repo: str = knob("", "OWNER/NAME on the hub; also as the second word", pattern=r"^([\w.\-]+/[\w.\-]+)?$")
    private: bool = knob(False, "a new repository is private")
    output: Path | None = knob(None, "write the copy here, and keep it")


def main(argv: list[str] | None = None) -> None:
    argv = name_words(sys.argv[1:] if argv is None else argv)
    options = parse(options_program("genrec push", __doc__, PushOptions), argv).config
    with exit_on_usage_error():
        if not options.repo and options.output is None:
            raise ConfigError("where to? name a repository, `genrec push DIR OWNER/NAME`, or a directory, --output DIR")
    with exit_on_failure(options.output or Path()):
        push(options)


def name_words(argv: list[str]) -> list[str]:
    """`DIR REPO --flags` -> `--directory DIR --repo REPO --flags`."""
    words = list(argv)
    flags: list[str] = []
    for name in ("directory", "repo"):
        if words and not words[0].startswith("-"):
            flags.append(f"--{name}={words.pop(0)}")
    return [*flags, *words]


def push(options: PushOptions) -> None:
    if options.output is not None:
        export(options.directory, options.output, options.repo or ".")
        note("push", f"{options.directory} -> {options.output}")
        if options.repo:
            upload(options.output, options)
        return
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "model"
        export(options.directory, copy, options.repo)
        upload(copy, options)


def export(place: Path, target: Path, name: str) -> None:
    """A whole copy of a model, with its card; `name` is how the card's lines load it."""
    from genrec.data.shop import load_shop
    from genrec.models.card import check_files, load_card
    from genrec.models.exported import load_export
    from genrec.models.hub import copy_files
    from genrec.models.readme import Described, describe_backends, rows_of_run, write_readme
    from genrec.runtime.training_record import read_record
    from genrec.sids import load_index

    directory = find_model(place)
    if target.exists():
        raise ArtifactError(f"--output {target} is there already; name a directory that is not")
    card = load_card(directory)
    check_files(directory, card)
    manifest = artifacts.read_manifest(directory)
    stage, fingerprint, backends = manifest.stage if manifest else "sft", manifest and manifest.fingerprint, None
    if (directory / artifacts.EXPORT).exists():
        made = load_export(directory)
        stage, fingerprint, backends = made.stage, made.model, list(made.files)
    rows = rows_of_run(directory.resolve().parent, stage, fingerprint) if fingerprint else []
    if not rows:
        note("push", f"{directory} has no row in its run's evaluation; the card goes without a table")
    index = load_index(directory / artifacts.SID_INDEX)
    model = Described(stage, card, load_shop(directory), index, read_record(directory))
    loading = describe_backends(model, name, backends) if backends else None
    with artifacts.whole_directory(target) as beside:
        copy_files(directory, beside)
        write_readme(model, beside, name, rows, loading)


def find_model(place: Path) -> Path:
    from genrec.model_choice import choose_model
    from genrec.run_choice import is_run
    from genrec.store import RunStore

    if not place.is_dir():
        raise ArtifactError(f"{place} is not a directory; name a run or a model directory")
    return place / choose_model(RunStore(place)) if is_run(place) else place


def upload(directory: Path, options: PushOptions) -> None:
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        url = api.create_repo(options.repo, private=options.private, exist_ok=True)
        api.upload_folder(repo_id=options.repo, folder_path=directory, commit_message="A model of genrec")
    except Exception as error:  # httpx, OSError and the hub's own families
        raise ArtifactError(
            f"{options.repo} was not written ({first_line(error)}); log in with `hf auth login`, or write the copy "
            "to a directory: --output DIR"
        ) from None
    note("push", f"{options.directory} -> {url}; load it by genrec.load('{options.repo}')")
