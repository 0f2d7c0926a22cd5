"""The places of the recipe, where a person who follows it looks: links to the artifacts of a run, never copies.

    outputs/sft_0.5b_<dataset>_<time>, outputs/rl_model     the trained models
    outputs/{baseline,optimized}_model                      where a run was begun from another: that one's, and its own
    data/Amazon/index, data/Amazon/{train,valid,test,info}  semantic IDs, and the rows in MiniOneRec's layout
    evaluation/results.json, evaluation/<name>_results.json all models of the run last scored; one that was named
    analysis_output/<dataset>_<time>                        an analysis
    <--root>/<dataset>.emb.npy                              text vectors

They are made below the checkout whose script was called, for runs that lie there too.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from genrec.artifacts import EMBEDDINGS, INDEX_JSON, ITEM_JSON, MANIFEST, RESULTS, ROUNDS, read_manifest
from genrec.config import Config, Sft
from genrec.launch import note
from genrec.pipeline import artifact_dir
from genrec.places import checkout
from genrec.run_choice import enclosing_run

Places = dict[Path, Path]  # a place -> what of the run it leads to

SPLITS = ("train", "valid", "test", "info")  # directories of a conversion, but its index/
NAMED_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z0-9])", re.IGNORECASE)  # the 0.5B of Qwen2.5-0.5B-Instruct


def link_places(stage: str, config: Config, scored: Mapping[str, str] | None = None) -> None:
    """Let the recipe's places lead to a finished artifact; one line says where, when any is new.

    `scored` is {name of a model's directory that evaluation was given: the row that it became}.
    """
    places = places_below_root(config) if stage == "embeddings" else {}
    home = checkout()
    if home is not None and belongs_to(home, config) and stage in PLACES:
        places |= PLACES[stage](config, home)
        places |= scored_models(config, home, scored or {})
        places |= model_pair(stage, config, home)
    made = [place for place, target in places.items() if link(stage, place, target)]
    if made:
        note(stage, f"also at {', '.join(dict.fromkeys(map(shown, made)))}")


def belongs_to(home: Path, config: Config) -> bool:
    """The run lies below the checkout and is no round of a loop; what is measured is measured on test rows."""
    run = config.run.dir.resolve()
    return run.is_relative_to(home.resolve()) and ROUNDS not in run.parts and config.evaluation.split == "test"


def shown(place: Path) -> str:
    """A place as a person would write it; of the many files of a conversion, their directory."""
    path = place.parent if place.parent.name in SPLITS else place
    short = os.path.relpath(path)
    return str(path) if short.startswith("..") else short


# What each stage has


def places_below_root(config: Config) -> Places:
    root, name = config.run.root, EMBEDDINGS.format(dataset=config.data.dataset)
    if root is None or enclosing_run(root.resolve()):
        return {}
    return {root / name: artifact_dir(config, "embeddings") / name}


def sid_places(config: Config, home: Path) -> Places:
    names = [name.format(dataset=config.data.dataset) for name in (INDEX_JSON, ITEM_JSON)]
    return {home / "data" / "Amazon" / "index" / name: artifact_dir(config, "sids") / name for name in names}


def conversion_places(config: Config, home: Path) -> Places:
    artifact, target = artifact_dir(config, "convert"), home / "data" / "Amazon"
    files = [path for name in SPLITS for path in sorted((artifact / name).iterdir())]
    return {target / path.relative_to(artifact): path for path in files}


def sft_places(config: Config, home: Path) -> Places:
    directory = artifact_dir(config, "sft")
    begin = f"sft_{model_size(config.sft)}_{config.data.dataset}"
    return dated_place(home / "outputs", begin, directory)


def rl_places(config: Config, home: Path) -> Places:
    return {home / "outputs" / "rl_model": artifact_dir(config, "rl")}


def evaluation_places(config: Config, home: Path) -> Places:
    return {home / "evaluation" / RESULTS: artifact_dir(config, "evaluation") / RESULTS}


def analysis_places(config: Config, home: Path) -> Places:
    return dated_place(home / "analysis_output", config.data.dataset, artifact_dir(config, "analysis"))


PLACES: Mapping[str, Callable[[Config, Path], Places]] = {
    "embeddings": lambda config, home: {},
    "sids": sid_places,
    "convert": conversion_places,
    "sft": sft_places,
    "rl": rl_places,
    "evaluation": evaluation_places,
    "analysis": analysis_places,
}


def model_size(settings: Sft) -> str:
    """The size in the base model's name; the recipe's own where it says none."""
    if settings.train_from_scratch:
        return "scratch"
    size = NAMED_SIZE.search(Path(settings.base_model).name)
    return f"{size[1]}b" if size else "0.5b"


def dated_place(parent: Path, begin: str, directory: Path) -> Places:
    """<begin>_<when the artifact was finished>; a link to it of an earlier time is taken away."""
    finished = time.localtime((directory / MANIFEST).stat().st_mtime)
    place = parent / f"{begin}_{time.strftime('%Y%m%d_%H%M%S', finished)}"
    for other in parent.glob(f"{begin}_*"):
        if other != place and other.is_symlink() and other.resolve() == directory.resolve():
            other.unlink()
    return {place: directory}


def scored_models(config: Config, home: Path, scored: Mapping[str, str]) -> Places:
    """evaluation/<name>_results.json of a model directory that was named: <name>, or <name>_model."""
    rows = artifact_dir(config, "evaluation")
    return {
        home / "evaluation" / f"{name.removesuffix('_model')}_{RESULTS}": rows / row / RESULTS
        for name, row in scored.items()
    }


def model_pair(stage: str, config: Config, home: Path) -> Places:
    """Of a run that was begun from another and trained this model anew: both models, by the recipe's names."""
    base = config.run.from_run
    if stage not in ("sft", "rl") or base is None:
        return {}
    manifests = [read_manifest(base / stage), read_manifest(artifact_dir(config, stage))]
    if None in manifests or len({manifest.fingerprint for manifest in manifests if manifest}) == 1:
        return {}
    outputs = home / "outputs"
    return {outputs / "baseline_model": base / stage, outputs / "optimized_model": artifact_dir(config, stage)}


# Links


def link(stage: str, place: Path, target: Path) -> bool:
    """Whether the link is new. A person's own file or link at its place is left, and said."""
    wanted = os.path.relpath(target.resolve(), place.parent.resolve())
    if place.is_symlink() and os.readlink(place) == wanted:
        return False
    if (place.is_symlink() or place.exists()) and not is_ours(place):
        note(stage, f"{place} is a file of your own and stays; {target} is this run's")
        return False
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        remove_dangling(place.parent, target.resolve())
        beside = place.with_name(f".{place.name}.{os.getpid()}")
        beside.symlink_to(wanted)
        os.replace(beside, place)
    except OSError as error:
        note(stage, f"no link at {place} ({error.strerror}); {target} is what it would lead to")
        return False
    return True


def is_ours(place: Path) -> bool:
    """A link into a run, or one that led to what is no more."""
    return place.is_symlink() and (not place.exists() or enclosing_run(place.resolve()) is not None)


def remove_dangling(directory: Path, target: Path) -> None:
    """Links to files that an artifact no longer has, of the run that `target` lies in; a person's own stay."""
    run = enclosing_run(target)
    for path in directory.iterdir():
        if run and path.is_symlink() and not path.exists() and path.resolve().is_relative_to(run):
            path.unlink()
