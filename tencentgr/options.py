"""Every flag of TencentGR's commands: training and inference (main.py), semantic IDs (train_rqvae.py), a sample
(make_sample.py).

Defaults, then YAML files, then the environment, then the command line. A YAML file may group its keys under headings
(`model:`, `training:`); only the keys count, and they are the flags' names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator

from genrec import commandline
from genrec.commandline import Command, Program, checker
from genrec.config import Section, knob
from genrec.errors import ConfigError
from tencentgr.reads import find_missing, refuse_unread

NEGATIVES = {"bce": 1, "sampled": 256}  # drawn items where none are asked for: a position's, a batch's
SimilarityKind = Literal["dot", "cosine", "scaled", "bilinear"]


def as_texts(value: Any) -> Any:
    """Ids that a YAML file gives as numbers; the one word `none` is no id at all."""
    if value == "none" or value == ["none"]:
        return []
    return [str(one) for one in value] if isinstance(value, list) else value


def check_once(ids: list[str] | None) -> list[str] | None:
    if ids and "none" in ids:
        raise ValueError(f"none stands alone or not at all, found {' '.join(ids)}")
    if ids and len(set(ids)) < len(ids):
        raise ValueError(f"an id stands there twice: {' '.join(ids)}")
    return ids


class TencentGROptions(Section):
    """Training and inference of the TencentGR model."""

    # data
    data_dir: Path = knob(Path("./data"), "seq.jsonl, indexer.pkl and the rest (or TRAIN_DATA_PATH)", result=False)
    source: Literal["tencentgr", "run"] = knob("tencentgr", "the competition's files, or a run prepared by genrec")
    run_dir: Path | None = knob(None, "with --source run: the directory that data/prepare.py wrote", result=False)
    cache_dir: Path | None = knob(None, "converted files (default DATA_DIR/cache)", result=False)
    mm_emb_id: list[str] | None = knob(
        None,
        "multimodal embeddings: of 81..86 (none given: 81), text of a run, or none",
        spellings=("multimodal_features",),
    )
    semantic: bool = knob(True, "use semantic_id_dict.json where the data directory has one")
    semantic_prefixes: bool = knob(False, "each prefix of a semantic ID is a feature of its own too")
    semantic_files: list[Path] = knob(
        [], "further semantic IDs, of an RQ-VAE of coarser or finer grain, as features too", result=False
    )
    valid_share: float = knob(0.1, "share of the users held out", gt=0, lt=1)
    num_workers: int = knob(0, "processes that build batches", result=False, ge=0, le=256)

    # model
    hidden_size: int = knob(64, "width", spellings=("hidden_units",), ge=1, le=65_536)
    num_layers: int = knob(2, "transformer blocks", spellings=("num_blocks",), ge=0, le=1024)
    num_heads: int = knob(2, "attention heads", ge=1)
    dropout: float = knob(0.2, "dropout", spellings=("dropout_rate",), ge=0, lt=1)
    norm_first: bool = knob(False, "normalize before attention and feed-forward, not after")
    max_history: int = knob(
        101,
        "tokens of a sequence, the newest ones and the profile",
        spellings=("maxlen", "max_seq_length"),
        ge=1,
        le=1_000_000,
    )
    rotary: bool = knob(False, "rotary positions in place of position vectors")
    gradient_checkpointing: bool = knob(False, "less memory, more time", result=False)
    fusion: Literal["concat", "gated"] = knob(
        "concat", "feature blocks side by side, or each weighed by a learned gate"
    )
    cross_layers: int = knob(0, "DCN-v2 layers that cross the features of a tower, of rank --hidden_size", ge=0, le=16)
    use_user_id: bool = knob(False, "a vector for each user, beside the profile features")
    use_action_type: bool = knob(False, "tokens know whether their item was clicked")
    time_features: bool = knob(False, "tokens know hour, weekday and the time since the one before")

    # similarity
    similarity: SimilarityKind = knob("dot", "how a state and an item score, without the adaptive mix")
    use_adaptive_similarity: bool = knob(False, "a learned mix of --similarity_types")
    similarity_types: list[SimilarityKind] = knob(
        ["dot", "cosine", "scaled"], "kinds in the adaptive mix", min_length=1
    )

    # loss and negatives
    loss: Literal["bce", "infonce", "sampled", "full"] = knob("bce", "binary, in-batch, sampled or full softmax")
    temperature: float | None = knob(
        None, "of the three softmax losses (none given: 0.1 with infonce or cosine, else 1)", ge=1e-4, le=1e4
    )
    temperature_end: float | None = knob(
        None, "what the temperature of a softmax loss moves to while training goes on", ge=1e-4, le=1e4
    )
    learnable_temperature: bool = knob(False, "let training move the temperature of a softmax loss")
    infonce_negatives: Literal["position", "batch"] = knob(
        "position", "infonce: what other users of the batch took at the same position, or at any"
    )
    num_negatives: int | None = knob(
        None, "drawn items: a position with bce (none given: 1), a batch with sampled (256)", ge=1, le=1_000_000
    )
    use_smart_sampling: bool = knob(False, "three of ten negatives by popularity, the others uniform")
    popularity: Literal["count", "id"] = knob(
        "count", "what is popular: items by training count, or by 1 / id, where ids are ranks"
    )
    popularity_factor: float = knob(0.75, "popular negatives are drawn by popularity ^ this", ge=0, le=100)
    use_curriculum_learning: bool = knob(False, "popular negatives grow from 10% to 80%; needs --use_smart_sampling")
    curriculum_schedule: Literal["linear", "cosine", "exponential"] = knob("linear", "how fast they grow")
    dynamic_candidates: int = knob(
        1, "above 1: each negative is the hardest of up to so many, more and more", ge=1, le=10_000
    )

    # training
    num_epochs: int = knob(10, "passes over the training users", ge=1)
    batch_size: int = knob(128, "users a step, of each process", ge=1)
    learning_rate: float = knob(1e-3, "peak learning rate", spellings=("lr",), gt=0, le=10)
    optimizer: Literal["adam", "adamw"] = knob("adam", "adamw decays weights by --weight_decay")
    weight_decay: float = knob(0.01, "of adamw", ge=0, le=10)
    lr_scheduler: Literal["cosine", "step", "none"] = knob("cosine", "to zero, halved by steps, or constant")
    lr_step_size: int = knob(10, "epochs between two halvings of --lr_scheduler step", ge=1)
    warmup_steps: int = knob(0, "steps in which the rate rises from 0", ge=0)
    grad_clip: float = knob(1.0, "longest gradient; 0 does not clip", spellings=("gradient_clip",), ge=0)
    l2_emb: float = knob(0.0, "weight of the norm of the item vectors in the loss", ge=0, le=1e6)
    early_stop: int = knob(0, "stop after so many epochs without a better valid NDCG@10; 0 never", ge=0)
    bf16: bool = knob(False, "compute in bfloat16")
    save_freq: int = knob(
        5, "epochs between two checkpoints that are kept; 0 keeps the best alone",
        result=False, spellings=("save_frequency",), ge=0,
    )  # fmt: skip
    save_steps: int = knob(0, "also save what resuming needs every so many steps", result=False, ge=0)
    seed: int = knob(42, "of every random choice", ge=0)
    device: str = knob("auto", "auto | cpu | cuda | cuda:1", result=False)

    # places
    log_dir: Path = knob(Path("./logs"), "train.log and evaluation/ (or TRAIN_LOG_PATH)", result=False)
    tb_dir: Path = knob(Path("./tb_logs"), "curves (or TRAIN_TF_EVENTS_PATH)", result=False)
    ckpt_dir: Path | None = knob(None, "models (or TRAIN_CKPT_PATH; default the log directory)", result=False)
    tracker: Literal["tensorboard", "swanlab", "none"] = knob(
        "tensorboard", "curves; all offline, without account", result=False
    )

    # inference
    inference_only: bool = knob(False, "recommend with --state_dict_path in place of training", result=False)
    state_dict_path: Path | None = knob(
        None, "a model to recommend with, or to start training from: .safetensors, .pt, or a directory", result=False
    )
    ensemble_with: list[Path] = knob([], "further models whose scores join --state_dict_path's", result=False)
    filter_seen: bool | Literal["auto"] = knob(
        "auto",
        "leave out what a user had before; auto: where less than 1% of the newest interactions repeat an earlier one",
        result=False,
    )
    result_dir: Path = knob(Path("./results"), "what inference writes (or EVAL_RESULT_PATH)", result=False)

    read_ids = field_validator("mm_emb_id", mode="before")(as_texts)
    check_ids = field_validator("mm_emb_id")(check_once)

    @property
    def embeddings(self) -> tuple[str, ...]:
        """The embeddings to read, by their ids."""
        return tuple(self.mm_emb_id if self.mm_emb_id is not None else ["81"] if self.source == "tencentgr" else [])

    @property
    def models(self) -> Path:
        return self.ckpt_dir or self.log_dir


class RqvaeOptions(Section):
    """Semantic IDs of creatives by an RQ-VAE over their multimodal vectors."""

    data_dir: Path = knob(..., "the competition's files (or TRAIN_DATA_PATH)", result=False)
    output_dir: Path = knob(..., "where the IDs and the model go", result=False)
    cache_dir: Path | None = knob(None, "converted files (default DATA_DIR/cache)", result=False)
    mm_emb_id: list[str] = knob(["81"], "one or several of 81 .. 86", min_length=1)
    num_levels: int = knob(4, "levels, codes a creative", spellings=("num_quantizers",), ge=1, le=64)
    codebook_size: int = knob(256, "codes a level", ge=2, le=32_767)
    batch_size: int = knob(1024, "items a step", ge=1)
    num_epochs: int = knob(50, "passes over the items", ge=1)
    learning_rate: float = knob(1e-3, "AdamW rate", spellings=("lr",), gt=0, le=10)
    beta: float = knob(0.25, "weight of |r - sg(e)|^2", spellings=("commitment_cost",), ge=0, le=1e6)
    seed: int = knob(42, "of everything random", ge=0)
    device: str = knob("auto", "auto | cpu | cuda | cuda:1", result=False)
    add: bool = knob(False, "only give IDs to creatives that have none yet", result=False)

    read_ids = field_validator("mm_emb_id", mode="before")(as_texts)
    check_ids = field_validator("mm_emb_id")(check_once)


class SampleOptions(Section):
    """A data set in the competition's formats with known structure."""

    output_dir: Path = knob(..., "where the files go", result=False)
    users: int = knob(2000, "users of seq.jsonl", ge=2, le=10_000_000)
    items: int = knob(1000, "items of the indexer", ge=40, le=10_000_000)
    longest: int = knob(40, "interactions a user, at most", ge=5, le=100_000)
    seed: int = knob(0, "of everything random", ge=0)
    mm_emb_id: list[Literal["81", "82", "83", "84", "85", "86"]] = knob(["81"], "embeddings to write, of 81 .. 86")
    width: int | None = knob(None, "width of all embeddings in place of their real ones", ge=1, le=65_536)

    read_ids = field_validator("mm_emb_id", mode="before")(as_texts)
    check_ids = field_validator("mm_emb_id")(check_once)


class CheckOptions(Section):
    """The check of the environment has no flags of its own."""


# The environment of the competition; the first that is set counts.
ENVIRONMENT = {
    "data_dir": ("TRAIN_DATA_PATH",),
    "log_dir": ("TRAIN_LOG_PATH",),
    "tb_dir": ("TRAIN_TF_EVENTS_PATH",),
    "ckpt_dir": ("TRAIN_CKPT_PATH",),
    "result_dir": ("EVAL_RESULT_PATH",),
}
INFERENCE = {"data_dir": ("EVAL_DATA_PATH", "TRAIN_DATA_PATH"), "state_dict_path": ("MODEL_OUTPUT_PATH",)}


def environment_of(values: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """The variables that count under what files and flags say: inference has some of its own."""
    return ENVIRONMENT | (INFERENCE if values.get("inference_only") else {})


def check(tree: dict[str, Any]) -> TencentGROptions:
    """A tree of keys -> options that fit together, with the defaults that hang on others filled in, or ConfigError."""
    options = checker(TencentGROptions)(tree)
    if fault := next(check_together(options), None):
        raise ConfigError(fault)
    return fill_in(options)


def fill_in(options: TencentGROptions) -> TencentGROptions:
    """With the values of options that act and were left to the others."""
    values: dict[str, Any] = {"mm_emb_id": list(options.embeddings)}
    if options.num_negatives is None and not find_missing(options, "num_negatives"):
        values["num_negatives"] = NEGATIVES[options.loss]
    if options.temperature is None and not find_missing(options, "temperature"):
        bounded = options.similarity == "cosine" and not options.use_adaptive_similarity  # scores of -1 to 1
        values["temperature"] = 0.1 if bounded or options.loss == "infonce" else 1.0
    return options.model_copy(update=values)


def check_together(options: TencentGROptions) -> Iterator[str]:
    """Constraints between flags, named with both values."""
    per_head, rest = divmod(options.hidden_size, options.num_heads)
    if rest or (options.rotary and per_head % 2):
        wanted = "an even multiple (--rotary turns pairs)" if options.rotary else "a multiple"
        yield f"--hidden_size {options.hidden_size} is not {wanted} of --num_heads {options.num_heads}"
    if options.inference_only and options.state_dict_path is None:
        yield "--inference_only needs --state_dict_path MODEL, e.g. ./logs/best_model.pt"
    if len(set(options.similarity_types)) < len(options.similarity_types):
        yield f"--similarity_types names a kind twice: {' '.join(options.similarity_types)}"
    if options.temperature_end is not None and options.learnable_temperature:
        yield "--temperature_end moves the temperature and --learnable_temperature learns it; leave one of them out"
    if options.source == "run" and options.run_dir is None:
        yield "--source run needs --run_dir DIR, a run that data/prepare.py has prepared"
    if options.lr_scheduler == "step" and options.num_epochs <= options.lr_step_size and not options.inference_only:
        steps = f"--lr_step_size {options.num_epochs // 2}" if options.num_epochs > 1 else "--lr_scheduler none"
        yield (
            f"--lr_scheduler step halves the rate after --lr_step_size {options.lr_step_size} epochs, which "
            f"--num_epochs {options.num_epochs} never gets beyond; pass {steps}"
        )
    if options.loss == "infonce" and options.batch_size == 1 and not options.inference_only:
        yield (
            "--loss infonce takes its negatives from the other users of a batch, and --batch_size 1 has none; "
            "pass --batch_size 2 or more, or another --loss"
        )
    yield from refuse_unread(options)


def main_program(doc: str = "") -> Program:
    return Program(
        "main.py", doc, TencentGROptions, check, environment=environment_of, headings=True, switches=("clean",)
    )


def rqvae_program(doc: str = "") -> Program:
    variables = {"data_dir": ("TRAIN_DATA_PATH",)}
    return commandline.options_program(
        "train_rqvae.py", doc, RqvaeOptions, environment=lambda values: variables, headings=True, switches=("clean",)
    )


def sample_program(doc: str = "") -> Program:
    return commandline.options_program("make_sample.py", doc, SampleOptions)


def check_program(doc: str = "") -> Program:
    return commandline.options_program("test.py", doc, CheckOptions)


def parse(argv: list[str] | None = None, doc: str = "") -> Command:
    """main.py's command line; help, or one clear line, and exit where there is nothing to run."""
    return commandline.parse(main_program(doc), argv)


def parse_strict(argv: list[str]) -> TencentGROptions:
    """The same without its switches, and with ConfigError in place of an exit."""
    return commandline.parse_strict(main_program(), argv).config
