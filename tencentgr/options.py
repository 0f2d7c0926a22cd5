"""Every flag of main.py, in one place: defaults, then a YAML file, then the environment, then the command line.

A YAML file may group its keys in sections (`model:`, `training:`); only the keys count, and they are the flags' names.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from genrec.commandline import load_yaml
from genrec.config import Section, knob
from genrec.errors import ConfigError, exit_on_usage_error, suggest

Kind = Literal["dot", "cosine", "scaled", "bilinear"]


class Options(Section):
    """Training and inference of the TencentGR model."""

    # data
    data_dir: Path = knob(Path("./data"), "seq.jsonl, indexer.pkl and the rest (or TRAIN_DATA_PATH)", result=False)
    source: Literal["tencentgr", "run"] = knob("tencentgr", "the competition's files, or a run prepared by genrec")
    run_dir: Path | None = knob(None, "with --source run: the directory that data/prepare.py wrote", result=False)
    cache_dir: Path | None = knob(None, "converted files (default DATA_DIR/cache)", result=False)
    mm_emb_id: list[str] | None = knob(
        None, "multimodal embeddings: of 81..86 (none given: 81), text of a run, or none"
    )
    semantic: bool = knob(True, "use semantic_id_dict.json where the data directory has one")
    semantic_prefixes: bool = knob(False, "each prefix of a semantic ID is a feature of its own too")
    valid_share: float = knob(0.1, "share of the users held out", gt=0, lt=1)
    num_workers: int = knob(0, "processes that build batches", result=False, ge=0)

    # model
    hidden_units: int = knob(64, "width", ge=1)
    num_blocks: int = knob(2, "transformer blocks", ge=0)
    num_heads: int = knob(2, "attention heads", ge=1)
    dropout_rate: float = knob(0.2, "dropout", ge=0, lt=1)
    norm_first: bool = knob(False, "normalise before attention and feed-forward, not after")
    maxlen: int = knob(101, "tokens of a sequence, the newest ones and the profile", ge=1)
    rotary: bool = knob(False, "rotary positions in place of position vectors")
    gradient_checkpointing: bool = knob(False, "less memory, more time", result=False)
    use_user_id: bool = knob(False, "a vector for each user, beside the profile features")
    use_action_type: bool = knob(False, "tokens know whether their item was clicked")
    time_features: bool = knob(False, "tokens know hour, weekday and the time since the one before")

    # similarity
    similarity: Kind = knob("dot", "how a state and an item score, without the adaptive mix")
    use_adaptive_similarity: bool = knob(False, "a learned mix of --similarity_types")
    similarity_types: list[Kind] = knob(["dot", "cosine", "scaled"], "kinds in the adaptive mix", min_length=1)

    # loss and negatives
    loss: Literal["bce", "infonce", "sampled", "full"] = knob("bce", "binary, in-batch, sampled or full softmax")
    temperature: float = knob(0.1, "of the three softmax losses", gt=0)
    learnable_temperature: bool = knob(False, "let training move the temperature of a softmax loss")
    num_negatives: int = knob(1, "drawn items: a position with bce, a batch with sampled", ge=1)
    use_smart_sampling: bool = knob(False, "three of ten negatives by popularity, the others uniform")
    popularity_factor: float = knob(0.75, "popular negatives are drawn by training count ^ this", ge=0)
    use_curriculum_learning: bool = knob(False, "popular negatives grow from 10% to 80%; needs --use_smart_sampling")
    curriculum_schedule: Literal["linear", "cosine", "exponential"] = knob("linear", "how fast they grow")
    dynamic_candidates: int = knob(1, "above 1: each negative is the hardest of up to so many, more and more", ge=1)

    # training
    num_epochs: int = knob(10, "passes over the training users", ge=1)
    batch_size: int = knob(128, "users a step, of each process", ge=1)
    lr: float = knob(1e-3, "peak learning rate", gt=0)
    optimizer: Literal["adam", "adamw"] = knob("adam", "adamw decays weights by --weight_decay")
    weight_decay: float = knob(0.01, "of adamw", ge=0)
    lr_scheduler: Literal["cosine", "step", "none"] = knob("cosine", "to zero, halved every 10 epochs, or constant")
    warmup_steps: int = knob(0, "steps in which the rate rises from 0", ge=0)
    grad_clip: float = knob(1.0, "longest gradient; 0 does not clip", ge=0)
    l2_emb: float = knob(0.0, "weight of the norm of the item vectors in the loss", ge=0)
    early_stop: int = knob(0, "stop after so many epochs without a better valid NDCG@10; 0 never", ge=0)
    bf16: bool = knob(False, "compute in bfloat16")
    save_freq: int = knob(5, "epochs between two checkpoints that are kept; 0 keeps the best alone", ge=0, result=False)
    save_steps: int = knob(0, "also save what resuming needs every so many steps", ge=0, result=False)
    seed: int = knob(42, "of every random choice", ge=0)
    device: str = knob("auto", "auto | cpu | cuda | cuda:1", result=False)
    clean: bool = knob(False, "forget an earlier run in these directories", result=False)

    # places
    log_dir: Path = knob(Path("./logs"), "train.log and evaluation/ (or TRAIN_LOG_PATH)", result=False)
    tb_dir: Path = knob(Path("./tb_logs"), "curves (or TRAIN_TF_EVENTS_PATH)", result=False)
    ckpt_dir: Path | None = knob(None, "models (or TRAIN_CKPT_PATH; default the log directory)", result=False)
    tracker: Literal["tensorboard", "swanlab", "none"] = knob("tensorboard", "curves; all offline, without account",
                                                              result=False)  # fmt: skip

    # inference
    inference_only: bool = knob(False, "recommend with --state_dict_path in place of training", result=False)
    state_dict_path: Path | None = knob(None, "a model: .safetensors, .pt, or a checkpoint directory", result=False)
    result_dir: Path = knob(Path("./results"), "what inference writes (or EVAL_RESULT_PATH)", result=False)

    @property
    def embeddings(self) -> tuple[str, ...]:
        """The embeddings to read, by their ids."""
        return tuple(self.mm_emb_id if self.mm_emb_id is not None else ["81"] if self.source == "tencentgr" else [])

    @property
    def models(self) -> Path:
        return self.ckpt_dir or self.log_dir


# The environment of the competition; the first that is set counts.
ENVIRONMENT = {
    "data_dir": ("TRAIN_DATA_PATH",),
    "log_dir": ("TRAIN_LOG_PATH",),
    "tb_dir": ("TRAIN_TF_EVENTS_PATH",),
    "ckpt_dir": ("TRAIN_CKPT_PATH",),
    "result_dir": ("EVAL_RESULT_PATH",),
}
INFERENCE = {"data_dir": ("EVAL_DATA_PATH", "TRAIN_DATA_PATH"), "state_dict_path": ("MODEL_OUTPUT_PATH",)}

# Keys that config files of this family spell otherwise.
SPELLINGS = {
    "learning_rate": "lr",
    "max_seq_length": "maxlen",
    "gradient_clip": "grad_clip",
    "save_frequency": "save_freq",
    "multimodal_features": "mm_emb_id",
}


def parse(argv: list[str] | None = None, doc: str = "") -> Options:
    """Command line -> Options; help, or one clear line, and exit where there is nothing to run."""
    with exit_on_usage_error():
        return parse_strict(sys.argv[1:] if argv is None else argv, doc)


def parse_strict(argv: list[str], doc: str = "") -> Options:
    parser = make_parser(doc)
    launched = ("--local-rank", "--local_rank")  # torch.distributed.launch adds it; LOCAL_RANK says the same
    found, rest = parser.parse_known_args([word for word in argv if not word.startswith(launched)])
    if rest:
        word = next((word for word in rest if word.startswith("--")), rest[0])
        raise ConfigError(f"unknown flag {word}{near(word.lstrip('-').partition('=')[0])}")
    flags = vars(found)
    given = from_file(flags.pop("config"))
    given |= from_environment(flags.get("inference_only", given.get("inference_only", False)))
    options = validate(given | flags)
    check_together(options)
    return options


def make_parser(doc: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )  # fmt: skip
    parser.add_argument("--config", type=Path, default=None, help="YAML file with the same names; flags win over it")
    for name, field in Options.model_fields.items():
        help = f"{field.description} (default {shown(field.default)})".replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=help)
        elif list in {get_origin(kind) for kind in (field.annotation, *get_args(field.annotation))}:
            parser.add_argument(f"--{name}", nargs="*", metavar="X", help=help)
        else:
            parser.add_argument(f"--{name}", metavar="X", help=help)
    return parser


def shown(default: Any) -> str:
    return " ".join(default) if isinstance(default, list) else str(default)


def from_file(path: Path | None) -> dict[str, Any]:
    """The keys of a YAML file, out of their sections."""
    content = load_yaml(path) if path else {}
    keys: dict[str, Any] = {}
    for name, value in content.items():
        keys |= value if isinstance(value, dict) else {name: value}
    known = {SPELLINGS.get(name, name): value for name, value in keys.items()}
    for name in known:
        if name not in Options.model_fields:
            raise ConfigError(f"{path}: unknown key '{name}'{near(name)}")
    return known | ({"mm_emb_id": list(map(str, known["mm_emb_id"]))} if known.get("mm_emb_id") else {})


def from_environment(inference: bool) -> dict[str, str]:
    names = ENVIRONMENT | (INFERENCE if inference else {})
    found = {
        key: next((os.environ[name] for name in those if os.environ.get(name)), None) for key, those in names.items()
    }
    return {key: value for key, value in found.items() if value is not None}


def validate(values: dict[str, Any]) -> Options:
    try:
        return Options(**values)
    except ValidationError as error:
        item = error.errors()[0]
        path = ".".join(str(part) for part in item["loc"])
        raise ConfigError(f"--{path}: {item['msg']} (got {item['input']!r})") from None


def near(word: str) -> str:
    return suggest(word, [*Options.model_fields, "config"]) or "; --help lists all"


def check_together(options: Options) -> None:
    """Constraints between flags, named with both values."""
    per_head, rest = divmod(options.hidden_units, options.num_heads)
    if rest or (options.rotary and per_head % 2):
        wanted = "an even multiple (--rotary turns pairs)" if options.rotary else "a multiple"
        raise ConfigError(f"--hidden_units {options.hidden_units} is not {wanted} of --num_heads {options.num_heads}")
    if options.use_curriculum_learning and not options.use_smart_sampling:
        raise ConfigError(
            "--use_curriculum_learning needs --use_smart_sampling: it says how many negatives are popular"
        )
    if options.inference_only and options.state_dict_path is None:
        raise ConfigError("--inference_only needs --state_dict_path MODEL, e.g. ./logs/best_model.pt")
    if len(set(options.similarity_types)) < len(options.similarity_types):
        raise ConfigError(f"--similarity_types names a kind twice: {' '.join(options.similarity_types)}")
    if options.source == "run" and options.run_dir is None:
        raise ConfigError("--source run needs --run_dir DIR, a run that data/prepare.py has prepared")
