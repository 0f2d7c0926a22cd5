"""`genrec.load`: a run, a model directory, an export or a name of the hub made ready to recommend."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from genrec import artifacts
from genrec.config import Evaluation
from genrec.data.shop import Shop, load_shop
from genrec.errors import ArtifactError, ConfigError, suggest
from genrec.model_choice import choose_model, choose_sids, language_stage, settings_of_run
from genrec.models.card import Card, check_files, load_card
from genrec.models.cold_items import load_cold_items, refuse_cold_share
from genrec.models.exported import GRAPHS, ExportedRecommender, check_backend, load_export, load_exported
from genrec.models.families import FAMILIES, Request, find_family
from genrec.models.families import Recommender as Family
from genrec.models.hub import fetch_model, is_hub_name
from genrec.pipeline import FAMILY_READS, command_of
from genrec.plugins import BASELINE, is_plugin, offered_names
from genrec.recommender import Recommender
from genrec.run_choice import is_run
from genrec.sids import load_index
from genrec.store import RunStore
from genrec.verify import verify_files

if TYPE_CHECKING:
    from genrec.data.prepared import Prepared
    from genrec.models.generative import GenerativeRecommender

BACKENDS = ("torch", *GRAPHS)
DECODING = (
    *("decoding", "num_beams", "frontier_budget", "batch_size", "normalization", "index", "exact_memory", "dtype"),
    "cold_share",
)
WEIGHTS = (".safetensors", "config.json")
BATCHES = 8  # that are ranked between two frames: as many rows as evaluation ranks at once


def load(
    place: str | Path,
    model: str | None = None,
    device: str = "auto",
    ranking: Literal["beam", "exact"] = "beam",
    backend: str | None = None,
    **decoding: Any,
) -> Recommender:
    """A run, a model directory, an export or a name of the hub -> Recommender.

    `model`: any family that evaluation scores (sft, rl, sasrec, item_knn, ...); of a run it is rl where RL helped, else
    sft. `ranking` exact scores every item. `backend`: torch, or of an export (of a run that has one too) onnx,
    onnx-int8 or onnx-int4, which by beams need neither torch nor transformers; an export that names none is answered by
    onnx. `decoding`: decoding (beam or frontier), num_beams, frontier_budget, batch_size, normalization, index,
    exact_memory, dtype, cold_share; what is not given is as the run was evaluated, else as the model was taught.
    ArtifactError names what is missing.
    """
    directory = Path(place)
    if backend not in (None, *BACKENDS):
        raise ConfigError(f"no backend '{backend}'{suggest(str(backend), BACKENDS)}; there are: {', '.join(BACKENDS)}")
    if unknown := sorted(set(decoding) - set(DECODING)):
        raise ConfigError(
            f"load takes no '{unknown[0]}'{suggest(unknown[0], DECODING)}; it takes {', '.join(DECODING)}"
        )
    if ranking not in ("beam", "exact"):
        raise ConfigError(f"ranking must be beam or exact, found {ranking!r}")
    if is_run(directory):
        if backend in GRAPHS:
            return load_export_of_run(directory, model, backend, ranking, decoding)
        return load_run(directory, model, device, ranking, decoding)
    if not directory.exists() and is_hub_name(str(place)):
        directory = fetch_model(str(place))
    elif not directory.exists():
        raise ArtifactError(f"{place} is not there; name a run, a model directory, or a model of the hub, OWNER/NAME")
    if not (directory / artifacts.CARD).exists() and not (directory / "config.json").exists():
        raise ArtifactError(
            f"{directory} is neither a run (no stage's artifact is in it) nor a model directory (no {artifacts.CARD})"
        )
    if model is not None:
        raise ConfigError(f"{place} is one model, of which model={model!r} says nothing; leave it out, or name the run")
    if backend is None:
        backend = "onnx" if (directory / artifacts.EXPORT).exists() else "torch"
    return load_directory(directory, device, ranking, decoding, backend)


def check_weights(directory: Path, backend: str) -> None:
    """Of a copy from a run, whose manifest knows more than the card: its weights are those that were trained."""
    own = check_backend(directory, load_export(directory), backend) if backend in GRAPHS else ()
    if manifest := artifacts.read_manifest(directory):
        files = manifest.files.items()
        weights = {name: entry for name, entry in files if name in own or (not own and name.endswith(WEIGHTS))}
        verify_files(directory, weights, command_of(manifest.stage))


def load_directory(
    directory: Path, device: str, ranking: str, decoding: dict[str, Any], backend: str = "torch"
) -> Recommender:
    """A model directory or an export by itself."""
    card = load_card(directory)
    check_files(directory, card)
    check_weights(directory, backend)
    shop = load_shop(directory)
    if decoding.get("index") == "sids_grown":
        raise ConfigError(f"{directory} is a model without its run, and knows no new items; name the run")
    settings = make_settings({"normalization": card.normalization} | decoding)
    refuse_cold_share(directory, settings.cold_share)
    if backend in GRAPHS:
        if settings.dtype is not None:
            raise ConfigError(f"dtype {settings.dtype} is for backend torch; {backend} computes in its own numbers")
        name, family = load_export(directory).stage, load_graph(directory, card, shop, settings, backend, ranking)
        index = load_index(directory / artifacts.SID_INDEX)
    else:
        require_weights(directory)
        require_torch(directory)
        from genrec.models.generative import load_alone

        name, family = "sft", load_alone(directory, card, shop, settings, device, ranking == "exact")
        index = family.model.texts.index
    block, count = BATCHES * settings.batch_size, shop.train_count
    return Recommender(name, directory, family, shop.catalog, count, card.max_history, block, index)


def load_graph(
    directory: Path, card: Card, shop: Shop, settings: Evaluation, backend: str, ranking: str
) -> ExportedRecommender | GenerativeRecommender:
    """By beams in numpy; a frontier and exact ranking search in torch."""
    if ranking == settings.decoding == "beam":
        return load_exported(directory, card, shop, settings, backend)
    from genrec.models.onnx_decoder import load_searched

    return load_searched(directory, card, shop, settings, backend, ranking == "exact")


def require_weights(directory: Path) -> None:
    """An export without bfloat16 weights has nothing that torch could read."""
    if (directory / artifacts.EXPORT).exists() and "bfloat16" not in load_export(directory).files:
        raise ConfigError(
            f"{directory} has no weights for backend torch; it has {', '.join(load_export(directory).files)}"
        )


def require_torch(place: Path) -> None:
    """An install for exports alone has none."""
    if importlib.util.find_spec("torch") is None:
        raise ConfigError(
            f"{place} is computed by torch, which is not installed; name a backend of an export ({', '.join(GRAPHS)}), "
            "or install genrec with all that it needs"
        )


def load_export_of_run(
    run: Path, model: str | None, backend: str, ranking: str, decoding: dict[str, Any]
) -> Recommender:
    """What `genrec export` made of a run, with the run's users; lists are made as the run's table was."""
    store = RunStore(run)
    directory = store.path("export")
    store.manifest("export")
    export = load_export(directory)
    if model not in (None, export.stage):
        raise ConfigError(f"{directory} was made of {export.stage}, found model '{model}'; leave it out")
    card = load_card(directory)
    row = f"{export.stage}_exact" if ranking == "exact" else export.stage
    settings = make_settings(settings_of_run(run, row, card) | decoding)
    shop = load_directory(directory, "cpu", ranking, settings.model_dump() | {"cold_share": 0}, backend)
    data = store.prepared()
    if settings.cold_share:
        family = cast("ExportedRecommender | GenerativeRecommender", shop.family)  # an export is a language model
        cold_items = load_cold_items(store, len(data.catalog), data.train_count, settings.cold_share)
        shop = replace(shop, family=replace(family, cold_items=cold_items))
    return replace(shop, place=run, sequences=data.sequences, max_history=data.max_history)


def load_run(run: Path, model: str | None, device: str, ranking: str, decoding: dict[str, Any]) -> Recommender:
    store = RunStore(run)
    name = choose_model(store) if model is None else model
    exact = f"{name}_exact"
    name = exact if ranking == "exact" and exact in FAMILIES else name
    if name not in (known := [*FAMILIES, *offered_names(BASELINE)]) and not is_plugin(name):
        raise ConfigError(f"no model '{name}'{suggest(name, known)}; there are: {', '.join(known)}; or module:function")
    reads = FAMILY_READS[name]
    for stage in (read for read in reads if read != "sids"):
        store.manifest(stage)
    card = None
    if "sids" in reads:
        require_torch(run)
        card = load_card(store.path(language_stage(name)))
    store = replace(store, sids=choose_sids(store, card))
    settings = make_settings(settings_of_run(run, name, card) | decoding)
    data = store.prepared()
    family = find_family(name)(Request(store, data, settings, device))
    return gather(store, name, family, data, settings)


def gather(store: RunStore, name: str, family: Family, data: Prepared, settings: Evaluation) -> Recommender:
    shop, index, allowed = data, None, None
    if store.sids:
        store.manifest("sids")
        index = store.index()
    if settings.index == "sids_grown" and index is not None:
        grown = store.grown(index)
        shop, index, allowed = store.with_new_items(data), grown.index, grown.allowed
    block = BATCHES * settings.batch_size
    catalog, count = shop.catalog, shop.train_count
    return Recommender(
        name, store.directory, family, catalog, count, data.max_history, block, index, data.sequences, allowed
    )


def make_settings(values: dict[str, Any]) -> Evaluation:
    from genrec.config_checks import explain_errors

    with explain_errors(Evaluation):
        return Evaluation.model_validate(values)
