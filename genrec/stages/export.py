"""A trained language model as graphs and in small numbers, to be served without the libraries that trained it.

Reads   data/ and sids/, and rl/ where RL was kept, else sft/ (or --model DIR)
Writes  export/{step.onnx, step_int8.onnx, step_int4.onnx (each with .data), head.npy, model.safetensors in bfloat16,
        model.gguf where it is asked for, tokenizer, semantic IDs, the shop's items, export.json}

    genrec export --run.dir outputs/quickstart
    genrec export --run.dir outputs/quickstart --backends onnx,onnx-int8 --max_loss 0.02
    genrec recommend --run.dir outputs/quickstart --user 196 --backend onnx-int8

Each backend answers valid rows beside torch in float32: what it keeps of the lists, what it loses of NDCG@10 and how
fast it is stands in the manifest. One that loses more than --max_loss is not published. Needs pip install
'genrec[onnx]'; to load an ONNX backend needs neither torch nor transformers.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec import artifacts, stage
from genrec.artifacts import EXPORT, GGUF, HEAD, SID_INDEX, TRAINING, read_manifest
from genrec.commandline import Command, parse, stage_program
from genrec.config import Config, Evaluation
from genrec.data.prepared import Prepared
from genrec.data.repeats import leaves_out_seen
from genrec.errors import ArtifactError, exit_on_failure
from genrec.launch import note
from genrec.pipeline import EVERY, artifact_dir, command_of
from genrec.store import RunStore

if TYPE_CHECKING:
    from genrec.evaluation.metrics import Recommendations
    from genrec.models.card import Card
    from genrec.models.families import Recommender
    from genrec.models.losses import Scored

STAGE = "export"
LISTS = ("num_beams", "normalization")  # of evaluation, by which lists are made
WEIGHTS = ("model.safetensors", "generation_config.json")
GGUF_ALONE = f"`{GGUF}` holds the weights for programs that read GGUF; no backend here answers from it."
SAME = 0.99  # of the lists that onnx, which rounds as torch does, must share with it


def main(argv: list[str] | None = None) -> None:
    command = parse(stage_program(command_of(STAGE), __doc__, EVERY[STAGE].section), argv)
    with exit_on_failure(command.config.run.dir):
        stage.run(STAGE, command._replace(config=settle(command)), build, fingerprint_model)


def settle(command: Command) -> Config:
    """The configuration with the model that is meant, its semantic IDs, and lists as the run's table made them."""
    from genrec.model_choice import choose_model, choose_sids, fetch_models, settings_of_run
    from genrec.models.card import load_card

    config = command.config
    if config.export.model in ("", "sft", "rl") and not command.dry_run:
        fetch_models(config, [config.export.model or None])
    named = config.export.model or choose_model(RunStore.of(config))
    own = (name for name in ("sft", "rl") if Path(named).resolve() == artifact_dir(config, name).resolve())
    named = next(own, named)
    card = load_card(find_directory(config, named))
    table = settings_of_run(config.run.dir, Path(named).name, card)
    taken = {key: table[key] for key in LISTS if key in table and not given(command, f"evaluation.{key}")}
    sids = choose_sids(RunStore(config.run.dir), card)
    return config.model_copy(
        update={
            "export": config.export.model_copy(update={"model": named}),
            "sids": config.sids.model_copy(update={"name": sids}),
            "evaluation": config.evaluation.model_copy(update=taken),
        }
    )


def given(command: Command, key: str) -> bool:
    return command.origins.get(key, "").startswith("--")


def find_directory(config: Config, named: str) -> Path:
    return artifact_dir(config, named) if named in ("sft", "rl") else Path(named)


def fingerprint_model(config: Config) -> dict[str, str]:
    """Of a model directory that is none of the run's own artifacts."""
    if config.export.model in ("sft", "rl"):
        return {}
    from genrec.models.card import require_card

    require_card(Path(config.export.model))
    return {"model": artifacts.directory_fingerprint(Path(config.export.model))}


@dataclass(frozen=True)
class Source:
    """The model that is exported."""

    directory: Path
    stage: str  # sft | rl
    fingerprint: str
    card: Card
    data: Prepared
    settings: Evaluation


def read_source(config: Config) -> Source:
    from genrec.models.card import check_card, load_card, prompts_of_evaluation

    store, directory = RunStore.of(config), find_directory(config, config.export.model)
    card, manifest = load_card(directory), read_manifest(directory)
    check_card(directory, card, store, prompts_of_evaluation(card))
    fingerprint = artifacts.directory_fingerprint(directory)
    data, made = store.prepared(), manifest.stage if manifest else "sft"
    by_beams = config.evaluation.model_copy(update={"decoding": "beam"})
    return Source(directory, made, fingerprint, card, data, by_beams)


def build(config: Config, partial: Path) -> dict[str, Any]:
    from genrec.models.gguf_export import require_gguf
    from genrec.models.onnx_export import require_exporter

    require_exporter()
    if "gguf" in config.export.backends:
        require_gguf()
    source = read_source(config)
    carry_files(config, source, partial)
    write_backends(config, source, partial)
    list_files(source, config.export.backends, partial)
    measured = measure(config, source, partial)
    refused = [name for name, found in measured["backends"].items() if not found["published"]]
    kept = [name for name in config.export.backends if name not in refused]
    if not kept:
        raise ArtifactError(
            f"every backend loses more than {config.export.max_loss:.0%} of NDCG@10 on valid rows, as the lines above "
            "say; raise --export.max_loss, or name other --export.backends"
        )
    remove_others(kept, partial)
    list_files(source, kept, partial)
    describe(source, kept, partial)
    return measured


def carry_files(config: Config, source: Source, partial: Path) -> None:
    """What recommends needs beside the weights, as in a model directory."""
    from transformers import AutoTokenizer

    from genrec.data.shop import make_shop, save_shop
    from genrec.models.card import load_own_index, save_card

    index = load_own_index(source.directory, RunStore.of(config))
    AutoTokenizer.from_pretrained(source.directory, local_files_only=True).save_pretrained(partial)
    save_shop(make_shop(source.data, list(source.card.profile)), partial)
    save_card(partial, source.card, index)
    if (source.directory / TRAINING).exists():
        shutil.copy2(source.directory / TRAINING, partial / TRAINING)


def write_backends(config: Config, source: Source, partial: Path) -> None:
    """Every backend that is asked for; what a killed run finished is not written again."""
    import torch

    from genrec.models.exported import GRAPHS
    from genrec.models.gguf_export import write_gguf
    from genrec.models.language import load_pretrained
    from genrec.models.onnx_export import write_graph, write_head, write_int4, write_int8

    model, tokenizer = load_pretrained(str(source.directory), torch.float32)
    model.eval()
    asked, there = set(config.export.backends), {name for name, file in GRAPHS.items() if (partial / file).exists()}
    if asked & GRAPHS.keys():
        write_head(model, partial)
    if asked & GRAPHS.keys() - there and "onnx" not in there:
        note(STAGE, "the decoder becomes a graph (takes a while)")
        write_graph(model, partial, source.fingerprint)
    for name, write in (("onnx-int8", write_int8), ("onnx-int4", write_int4)):
        if name in asked - there:
            write(partial)
    if "gguf" in asked:
        write_gguf(model, tokenizer, partial / GGUF)
    model.config.save_pretrained(partial)
    if "bfloat16" in asked:
        model.to(torch.bfloat16).save_pretrained(partial)


def files_of(backend: str, partial: Path) -> list[str]:
    from genrec.models.exported import GRAPHS

    names = [GGUF] if backend == "gguf" else list(WEIGHTS)
    if backend in GRAPHS:
        names = [GRAPHS[backend], f"{GRAPHS[backend]}.data", HEAD]
    return [name for name in names if (partial / name).exists()]


def list_files(source: Source, backends: list[str], partial: Path) -> None:
    """export.json."""
    from genrec.models.exported import Export
    from genrec.models.onnx_export import OPSET

    files = {name: {file: (partial / file).stat().st_size for file in files_of(name, partial)} for name in backends}
    artifacts.write_json(partial / EXPORT, asdict(Export(source.stage, source.fingerprint, OPSET, files)))


def remove_others(kept: list[str], partial: Path) -> None:
    """The files that no backend of these reads."""
    from genrec.models.exported import GRAPHS

    needed = {file for name in kept for file in files_of(name, partial)}
    for name in (*GRAPHS, "bfloat16", "gguf"):
        for file in set(files_of(name, partial)) - needed:
            (partial / file).unlink()


# What the backends are worth


def measure(config: Config, source: Source, partial: Path) -> dict[str, Any]:
    """Each backend beside torch in float32, on valid rows; one line a backend."""
    from genrec.models.losses import LENGTH, compare_lists, time_in_turn

    scored, names = choose_rows(config, source), config.export.backends
    sides = {name: load_side(config, source, name, partial) for name in ("torch", *names)}
    lists = {name: side.recommend(scored.examples, LENGTH) for name, side in sides.items()}
    seconds, whole, backends = time_in_turn(sides, scored.examples), weigh_float32(source), {}
    for name in names:
        size = sum((partial / file).stat().st_size for file in files_of(name, partial))
        costs = {"bytes": size, "share_of_float32": round(size / whole, 3)}
        costs |= hold_against(config, scored, lists["torch"], lists[name])
        backends[name] = costs | {"speed": round(seconds["torch"] / seconds[name], 2)}
        note(STAGE, describe_backend(name, backends[name], config.export.max_loss))
        if name == "onnx":
            require_same(source, costs["top10_overlap"])
    same = compare_lists(scored, lists["torch"], lists["torch"], config.run.seed)
    own = {"bytes": whole, same.metric: same.baseline, "cpu_ms_a_row": round(seconds["torch"] * 1e3, 2)}
    return {"model": source.stage, "rows": len(scored.examples), "float32": own, "backends": backends}


def hold_against(config: Config, scored: Scored, float32: Recommendations, lists: Recommendations) -> dict[str, Any]:
    from genrec.evaluation.report import estimate_to_json
    from genrec.models.losses import compare_lists, measure_overlap

    found = compare_lists(scored, float32, lists, config.run.seed)
    return {
        "top10_overlap": round(measure_overlap(float32, lists), 4),
        "metric": found.metric,
        "change": estimate_to_json(found.difference),
        "published": bool(-found.difference.mean <= config.export.max_loss * found.baseline),
    }


def require_same(source: Source, overlap: float) -> None:
    if overlap < SAME:
        raise ArtifactError(
            f"the graph of {source.directory} shares {overlap:.1%} of its lists with the model, {SAME:.0%} are "
            "needed: graphs of this kind of model are not exported; use --export.backends bfloat16"
        )


def choose_rows(config: Config, source: Source) -> Scored:
    from genrec.evaluation.metrics import ListSettings, sid_groups
    from genrec.evaluation.report import describe_rows
    from genrec.models.losses import LENGTH, Scored
    from genrec.stages.evaluate import choose_examples

    data, settings = source.data, source.settings
    if not len(data.splits["valid"]):
        raise ArtifactError(f"{artifact_dir(config, 'data')} has no valid rows to compare the backends on")
    seen = leaves_out_seen(settings.filter_seen, data)
    examples = choose_examples(data, "valid", config.export.rows, config.run.seed)
    rows = describe_rows(examples, data.catalog, data.sequences, "valid", len(data.splits["valid"]))
    lists = ListSettings(min(LENGTH, settings.num_beams, len(data.catalog)), filter_seen=seen)
    codes = RunStore.of(config).index().codes
    return Scored(rows, examples.without_seen() if seen else examples, data.train_count, sid_groups(codes), lists)


def weigh_float32(source: Source) -> int:
    """Bytes of the model's weights in float32."""
    from genrec.models.loading import count_weights

    return 4 * count_weights(source.directory)


def load_side(config: Config, source: Source, backend: str, partial: Path) -> Recommender:
    """One of the backends, or torch in float32, under the settings of evaluation."""
    from genrec.data.shop import load_shop
    from genrec.models.exported import GRAPHS, load_exported
    from genrec.models.generative import load_alone

    shop, settings = load_shop(partial), source.settings
    if backend in GRAPHS:
        return load_exported(partial, source.card, shop, settings, backend)
    if backend == "gguf":
        return read_gguf(source, partial)
    directory = partial if backend == "bfloat16" else source.directory
    numbers = settings.model_copy(update={"dtype": "bfloat16" if backend == "bfloat16" else "float32"})
    return load_alone(directory, source.card, shop, numbers, "cpu")


def read_gguf(source: Source, partial: Path) -> Recommender:
    """What torch makes of the file, as another program would read it."""
    import torch

    from genrec.data.shop import load_shop
    from genrec.models.card import load_own_texts
    from genrec.models.generative import GenerativeModel, GenerativeRecommender, make_decoding
    from genrec.models.language import load_pretrained

    model, tokenizer = load_pretrained(str(partial / GGUF), torch.float32)
    texts = load_own_texts(partial, source.card, load_shop(partial))
    generative = GenerativeModel(model, tokenizer, texts, source.card.cutoff_len)
    return GenerativeRecommender(generative, make_decoding(source.settings, exact=False))


def describe_backend(name: str, costs: dict[str, Any], max_loss: float) -> str:
    change = costs["change"]
    bounds = "" if change["low"] is None else f" [{change['low']:+.4f}, {change['high']:+.4f}]"
    end = "" if costs["published"] else f"; not published: it loses more than {max_loss:.0%}"
    return (
        f"{name}: {costs['bytes'] / 2**20:.1f} MiB, {costs['top10_overlap']:.1%} of the top 10, "
        f"{costs['metric'].upper()} {change['mean']:+.4f}{bounds}, {costs['speed']:.2f} times the speed of torch "
        f"float32{end}"
    )


# For people


def describe(source: Source, kept: list[str], partial: Path) -> None:
    """README.md, where it is known how the training went."""
    from genrec.data.shop import load_shop
    from genrec.models.readme import Described, describe_backends, write_readme
    from genrec.runtime.training_record import read_record
    from genrec.sids import load_index

    if not (partial / TRAINING).exists():
        return
    index = load_index(partial / SID_INDEX)
    model = Described(source.stage, source.card, load_shop(partial), index, read_record(partial))
    answering = [name for name in kept if name != "gguf"]  # which other programs read
    write_readme(model, partial, loading=describe_backends(model, ".", answering) if answering else GGUF_ALONE)
