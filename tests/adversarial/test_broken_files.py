"""Files of a run that are missing, cut off, of another kind, or of another shape, at the stages that read them.

A file that differs from its manifest is refused as changed. `sealed` cases let the manifest agree, as though the file
had been made so: then the reader itself must say what is wrong. Directories of models without a manifest are read so.
"""

import io
import json

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save

from tests.adversarial.shop import npy, npz, put, rewrite_json, rewrite_npz, seal

CONVERT, SIDS, SFT, RL, SEQUENTIAL, ANALYZE = (
    (name, "--clean") for name in ("convert", "sids", "sft", "rl", "sequential", "analyze")
)
CODEBOOKS = (*SFT, "--sid_init", "codebooks")
POPULAR, SASREC, LANGUAGE = (("evaluate", "--clean", "--models", name) for name in ("popular", "sasrec", "sft"))
REWARDED = (*RL, "--reward_type", "sasrec")

# file -> a command that reads it
READERS = {
    "data/catalog.parquet": POPULAR,
    "data/sequences.npz": CONVERT,
    "data/splits.npz": SEQUENTIAL,
    "embeddings/small.emb.npy": SIDS,
    "sids/rqkmeans/sid_index.npz": CONVERT,
    "sids/rqkmeans/codebooks.npz": CODEBOOKS,
    "sids/rqkmeans/quality.json": ANALYZE,
    "sequential/sasrec/model.safetensors": SASREC,
    "sequential/sasrec/config.json": SASREC,
    "sequential/sasrec/training.json": (*ANALYZE, "--model", "sasrec"),
    "sft/model.safetensors": LANGUAGE,
    "sft/config.json": LANGUAGE,
    "sft/genrec.json": RL,
    "sft/sid_index.npz": LANGUAGE,
    "sft/tokenizer.json": LANGUAGE,
    "sft/tokenizer_config.json": RL,
    "sft/training.json": ANALYZE,
    "evaluation/sft/results.json": ANALYZE,
    "evaluation/sft/recommendations.npz": ANALYZE,
}
OPTIONAL = {
    "sids/rqkmeans/quality.json", "sequential/sasrec/training.json", "sft/training.json", "sft/tokenizer_config.json",
}  # fmt: skip


def pickled() -> bytes:
    return npy(np.array([{"a": print}], dtype=object), allow_pickle=True)


KINDS = {
    "missing": None,
    "empty": b"",
    "cut off": "half",
    "garbage": b"\x00\xffgarbage",
    "null": b"null",
    "list": b"[]",
    "object": b'{"a": 1}',
    "latin": b'{"a": "\xe9"}',
    "deep": b"[" * 100_000,
    "npz of others": npz(a=[1]),
    "npy": npy([[1.5]]),
    "pickle": pickled(),
}
TEXT = ("missing", "empty", "cut off", "null", "list", "object", "latin", "deep")
BINARY = ("missing", "empty", "cut off", "garbage", "null", "npz of others", "npy", "pickle")
UNUSED = {("sft/tokenizer_config.json", "object")}  # every key has a default
FAULT = "(cannot be|no |not |lacks|must|has none|have 1 rows)"
LOADING = "missing, mis-shaped or infinite tensors are told by the loader of models"


def artifact_of(path):
    """The directory around a file that has a manifest."""
    return next(parent for parent in path.parents if (parent / "manifest.json").exists())


def break_file(path, kind):
    content = path.read_bytes()
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "changed":
        put(path, content[:-1] + bytes([content[-1] ^ 1]))
    elif kind != "missing":
        put(path, content[: len(content) // 2] if KINDS[kind] == "half" else KINDS[kind])


@pytest.mark.parametrize("kind", ["missing", "changed", "directory", "empty"])
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_not_what_its_manifest_says(shop, name, kind):
    break_file(shop.run / name, kind)
    says = {
        "missing": "lacks .*which its manifest lists; run: .* --clean",
        "changed": "was changed after it was made: sha256 .* in the manifest, .* there now; .*--clean",
        "directory": "is no file, though the manifest lists it; .*--clean",
        "empty": "was changed after it was made: [0-9,]+ bytes in the manifest, 0 bytes there now",
    }
    command, *flags = READERS[name]
    shop.call(command, *flags).check(1, says[kind])


def sealed_cases():
    for name, words in READERS.items():
        for kind in TEXT if name.endswith(".json") else BINARY:
            if (name, kind) in UNUSED or (kind == "missing" and name in OPTIONAL):
                continue
            trips = name.endswith("safetensors") or name in ("sft/config.json", "sft/tokenizer.json")
            trips = trips or (name, kind) in {("sft/tokenizer_config.json", each) for each in ("null", "list", "deep")}
            marks = []
            yield pytest.param(name, words, kind, id=f"{name} {kind}", marks=marks)


@pytest.mark.parametrize("name, words, kind", sealed_cases())
def test_a_file_that_its_reader_cannot_read(shop, name, words, kind):
    break_file(shop.run / name, kind)
    artifact = artifact_of(shop.run / name)
    seal(artifact)
    command, *flags = words
    before = {path for path in shop.run.rglob("manifest.json")}
    shop.call(command, *flags).check(
        1,
        rf"{artifact.name}\b.*{FAULT}|no SASRec in|no predictions of|tokenizer does not know",
    )
    assert {path for path in shop.run.rglob("manifest.json")} >= before, "--clean removed what was finished"


# Well-formed files of another shape: (what is wrong, file, change, [(command, what is said), ...])


def arrays(**changes):
    """Arrays of an npz, each by a function of what it was."""

    def change(path):
        with np.load(path) as file:
            content = dict(file)
        rewrite_npz(path, **{name: function(content[name]) for name, function in changes.items()})

    return change


def values(**changes):
    return lambda path: rewrite_json(path, **changes)


def content(written: bytes):
    return lambda path: put(path, written)


def table(function):
    def change(path):
        file = io.BytesIO()
        function(pl.read_parquet(path)).write_parquet(file)
        put(path, file.getvalue())

    return change


def tensors(function):
    """The tensors of a safetensors file, the first by name given too."""

    def change(path):
        state = load_file(path)
        function(state, min(state))
        put(path, save(state, {"format": "pt"}))

    return change


def vectors(row, value, rows=20):
    matrix = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
    matrix[row] = value
    return content(npy(matrix))


def nan(state, name):
    state[name] = state[name] * float("nan")


SEQUENCES, SPLITS, CATALOG = "data/sequences.npz", "data/splits.npz", "data/catalog.parquet"
VECTORS, INDEX, BOOKS = "embeddings/small.emb.npy", "sids/rqkmeans/sid_index.npz", "sids/rqkmeans/codebooks.npz"
QUALITY = "sids/rqkmeans/quality.json"
WEIGHTS, CARD, TRAINING = "sft/model.safetensors", "sft/genrec.json", "sft/training.json"
SHAPE, SASREC_WEIGHTS = "sequential/sasrec/config.json", "sequential/sasrec/model.safetensors"
LISTS, RESULTS = "evaluation/sft/recommendations.npz", "evaluation/sft/results.json"
NO_SUCH = "row 0 of .* is event .* of user .*, who has no such event"
BEYOND = r"events name item \d+, the catalogue has \d+ items"
NOT_LISTS = "recommendations.npz must hold rows"
NO_MODEL = "sft.*(model.safetensors|cannot be loaded)"
OTHER_SIDS = r"has <a_\d.* for item \d+, .*sids/rqkmeans has <a_.* for it .* of 20 items differ.* was changed"
EMPTY = np.zeros(0, np.int64)
MISSHAPEN = [
    ("an item beyond the catalogue", SEQUENCES, arrays(item=lambda a: a + 30),
     {CONVERT: BEYOND, SIDS: BEYOND, SEQUENTIAL: BEYOND, SFT: BEYOND, POPULAR: BEYOND, ANALYZE: BEYOND}),
    ("an item below 0", SEQUENCES, arrays(item=lambda a: a - 30), {SEQUENTIAL: "the least item is -30"}),
    ("items as floats", SEQUENCES, arrays(item=lambda a: a.astype(float)), {SEQUENTIAL: "item float64"}),
    ("an item too few", SEQUENCES, arrays(item=lambda a: a[:-1]), {SEQUENTIAL: "item int32 .280,.*time int64 .281,"}),
    ("offsets that fall", SEQUENCES, arrays(offset=lambda a: a[::-1]), {SEQUENTIAL: "offsets must rise from 0"}),
    ("users in a matrix", SEQUENCES, arrays(user_id=lambda a: a[None]), {SEQUENTIAL: "user_id .*.1, 40."}),
    ("users as numbers", SEQUENCES, arrays(user_id=lambda a: np.arange(len(a))), {POPULAR: "user_id int64"}),
    ("nobody", SEQUENCES, content(npz(item=EMPTY, time=EMPTY, offset=[0], user_id=np.zeros(0, "U1"))),
     {SEQUENTIAL: "has no users", SFT: "has no users", POPULAR: "has no users", CONVERT: "has no users"}),
    ("test beyond the events", SPLITS, arrays(test_end=lambda a: a + 10**6), {POPULAR: NO_SUCH, CONVERT: NO_SUCH}),
    ("train beyond the events", SPLITS, arrays(train_end=lambda a: a + 10**6), {SIDS: NO_SUCH, SEQUENTIAL: NO_SUCH}),
    ("valid before the events", SPLITS, arrays(valid_end=lambda a: a - 10**6), {SEQUENTIAL: NO_SUCH}),
    ("test of unknown users", SPLITS, arrays(test_user=lambda a: a + 1000), {POPULAR: NO_SUCH}),
    ("test of other users", SPLITS, arrays(test_user=lambda a: np.roll(a, 1)), {POPULAR: NO_SUCH}),
    ("users and ends of two lengths", SPLITS, arrays(test_user=lambda a: a[:-1]), {POPULAR: "int32 .39,.*int64 .40,"}),
    ("no test rows", SPLITS, arrays(test_user=lambda a: a[:0], test_end=lambda a: a[:0]),
     {POPULAR: "no test rows .161 train, 40 valid, 0 test", ANALYZE: "35 of its 35 rows are not in this run"}),
    ("no train rows", SPLITS, arrays(train_user=lambda a: a[:0], train_end=lambda a: a[:0]),
     {POPULAR: "no train rows", SEQUENTIAL: "no train rows", SFT: "no train rows"}),
    ("no valid rows", SPLITS, arrays(valid_user=lambda a: a[:0], valid_end=lambda a: a[:0]),
     {SEQUENTIAL: "no valid rows", SFT: "no valid rows"}),
    ("fewer items", CATALOG, table(lambda t: t.head(5)),
     {SIDS: "have 20 rows, the catalogue has 5 items", SEQUENTIAL: BEYOND, SFT: BEYOND, CONVERT: BEYOND}),
    ("no item", CATALOG, table(lambda t: t.head(0)), {POPULAR: BEYOND, SIDS: "the catalogue has 0 items"}),
    ("no titles", CATALOG, table(lambda t: t.drop("title")), {POPULAR: "no column 'title' of texts; it has item_id"}),
    ("titles as numbers", CATALOG, table(lambda t: t.with_columns(title=pl.lit(1))), {POPULAR: "no column 'title'"}),
    ("titles left out", CATALOG, table(lambda t: t.with_columns(title=pl.lit(None, dtype=pl.String))),
     {POPULAR: "20 items have no title", SFT: "20 items have no title", CONVERT: "20 items have no title"}),
    ("a NaN", VECTORS, vectors(3, np.nan), {SIDS: "hold NaN or infinite numbers in 1 rows, first row 3"}),
    ("an infinity", VECTORS, vectors(3, np.inf), {SIDS: "hold NaN or infinite numbers in 1 rows, first row 3"}),
    ("a row of zeros", VECTORS, vectors(3, 0), {SIDS: "hold 1 rows of zeros, first row 3"}),
    ("numbers whose squares overflow", VECTORS, vectors(3, 3e38),
     {SIDS: r"numbers up to 3e\+38, whose squares overflow", (*SIDS, "--method", "rqvae"): "squares overflow",
      (*SIDS, "--method", "rqkmeans_constrained"): "squares overflow"}),
    ("integers", VECTORS, content(npy(np.ones((20, 8), int))), {SIDS: "must be a float matrix.*int64 .20, 8."}),
    ("three axes", VECTORS, content(npy(np.ones((20, 2, 4)))), {SIDS: "must be a float matrix.*.20, 2, 4."}),
    ("width 0", VECTORS, content(npy(np.ones((20, 0)))), {SIDS: "width 0"}),
    ("a row too many", VECTORS, vectors(0, 1, rows=21), {SIDS: "have 21 rows, the catalogue has 20 items"}),
    ("a code beyond its level", INDEX, arrays(codes=lambda a: a + 100),
     {CONVERT: "codes reach from 100 to 107, but the levels have .8, 8. codes", SFT: "codes reach from 100"}),
    ("codes as floats", INDEX, arrays(codes=lambda a: a.astype(float)), {CONVERT: "must hold integers.*float64"}),
    ("codes of fewer items", INDEX, arrays(codes=lambda a: a[:5]),
     {CONVERT: "has 5 items, the catalogue 20", SFT: "are of 5 items, the catalogue has 20", ANALYZE: "has 5 items"}),
    ("a gap in a SID", INDEX, arrays(codes=lambda a: np.where(a == a[0, 0], -1, a)), {CONVERT: "has a gap"}),
    ("one axis", INDEX, arrays(codes=lambda a: a[:, 0]), {CONVERT: "codes have shape .20,"}),
    ("no codes", INDEX, arrays(codes=lambda a: a[:0]), {CONVERT: "it has 0 items", SFT: "it has 0 items"}),
    ("levels of a million codes", INDEX, arrays(sizes=lambda a: a * 10**5), {SFT: "levels of 1 to 32767 codes"}),
    ("levels of no code", INDEX, arrays(sizes=lambda a: a * 0), {SFT: "levels of 1 to 32767 codes"}),
    ("codebooks of two widths", BOOKS, arrays(codebook_0=lambda a: a[:, :3]), {CODEBOOKS: ".8, 3."}),
    ("a NaN in a codebook", BOOKS, arrays(codebook_0=lambda a: a * np.nan), {CODEBOOKS: "finite"}),
    ("levels as a number", QUALITY, values(levels=3), {ANALYZE: "quality.json is no report on semantic IDs .levels"}),
    ("no neighbours", QUALITY, values(neighbours=[]), {ANALYZE: "quality.json is no report.*neighbours"}),
    ("no collisions", QUALITY, values(collisions={}), {ANALYZE: "quality.json is no report.*collisions.before"}),
    ("NaN weights", WEIGHTS, tensors(nan), {LANGUAGE: NO_MODEL, RL: NO_MODEL}),
    ("a tensor too few", WEIGHTS, tensors(lambda s, n: s.pop(n)), {LANGUAGE: NO_MODEL, RL: NO_MODEL}),
    ("a tensor too many", WEIGHTS, tensors(lambda s, n: s.update(extra=torch.ones(2))), {LANGUAGE: NO_MODEL}),
    ("a tensor of another shape", WEIGHTS, tensors(lambda s, n: s.update({n: s[n][:3].clone()})), {RL: NO_MODEL}),
    ("NaN weights", SASREC_WEIGHTS, tensors(nan), {SASREC: "sasrec", REWARDED: "sasrec"}),
    ("a tensor too few", SASREC_WEIGHTS, tensors(lambda s, n: s.pop(n)), {SASREC: "model.safetensors"}),
    ("fewer items", SHAPE, values(num_items=10), {SASREC: "model.safetensors"}),
    ("heads that do not divide", SHAPE, values(num_heads=3), {SASREC: "8 is not a multiple of num_heads 3"}),
    ("a width of words", SHAPE, values(hidden_size="x"), {SASREC: "config.json is no SasRecShape: hidden_size.*'x'"}),
    ("a width of 0", SHAPE, values(hidden_size=0), {SASREC: "sasrec/"}),
    ("items below 0", SHAPE, values(num_items=-3), {SASREC: "config.json is not the shape of a SASRec"}),
    ("padding above", SHAPE, values(padding="up"), {SASREC: "padding: .*'right' or 'left' .found 'up'"}),
    ("temperature 0", SHAPE, values(temperature=0), {SASREC: "finite|SASRec"}),
    ("SIDs of another run", CARD, values(sids="abc"), {LANGUAGE: "trained with sids abc, but this run has", RL: "abc"}),
    ("SIDs as a list", CARD, values(sids=[1]), {LANGUAGE: "genrec.json is no Card: sids: .*found .1"}),
    ("a cutoff of words", CARD, values(cutoff_len="x"), {LANGUAGE: "cutoff_len: .*'x'", RL: "cutoff_len: .*'x'"}),
    ("a cutoff of 0", CARD, values(cutoff_len=0), {LANGUAGE: "cutoff_len: .*found 0"}),
    ("a profile as a word", CARD, values(profile="taste"), {LANGUAGE: "profile: .*'taste'"}),
    ("a profile nobody knows", CARD, values(profile=["x"]), {LANGUAGE: "profile.0: .*'companions'.*'x'"}),
    ("no prompts", CARD, values(prompts={}), {LANGUAGE: "trained with the text of 'toy' None, but this run has"}),
    ("a key too many", CARD, values(more=1), {LANGUAGE: "genrec.json has 'more', which no Card has"}),
    ("another architecture", "sft/config.json", values(model_type="bert"), {LANGUAGE: NO_MODEL}),
    ("an unknown architecture", "sft/config.json", values(model_type="zzz"), {LANGUAGE: "cannot be loaded.*zzz"}),
    ("another vocabulary", "sft/config.json", values(vocab_size=5), {LANGUAGE: NO_MODEL}),
    ("SIDs of fewer items", "sft/sid_index.npz", arrays(codes=lambda a: a[:5]),
     dict.fromkeys((LANGUAGE, RL), r"sid_index.npz has 5 items, levels .*, .*rqkmeans has 20 items, .* was changed")),
    ("SIDs of other items", "sft/sid_index.npz", arrays(codes=lambda a: np.roll(a, 1, axis=0)),
     dict.fromkeys((LANGUAGE, RL), OTHER_SIDS)),
    ("a run's SIDs of other items", "sids/rqkmeans/sid_index.npz", arrays(codes=lambda a: np.roll(a, 1, axis=0)),
     dict.fromkeys((LANGUAGE, RL), OTHER_SIDS)),
    ("a best before the beginning", TRAINING, values(best=-1), {ANALYZE: "no TrainingRecord: best: .*found -1"}),
    ("a length of words", TRAINING, values(length="x"), {ANALYZE: "no TrainingRecord: length: .*'x'"}),
    ("a unit nobody knows", TRAINING, values(unit="days"), {ANALYZE: "unit: .*'epochs' or 'steps'.*'days'"}),
    ("an item beyond the catalogue", LISTS, arrays(item=lambda a: np.where(a < 0, a, a + 100)),
     {ANALYZE: r"ranks item 1\d\d of 20"}),
    ("a history beyond it", LISTS, arrays(history=lambda a: a + 100), {ANALYZE: r"ranks item 1\d\d of 20"}),
    ("users of another run", LISTS, arrays(user=lambda a: a + 100), {ANALYZE: "scored on other data: 35 of"}),
    ("lists of fewer rows", LISTS, arrays(item=lambda a: a[:-1]), {ANALYZE: NOT_LISTS}),
    ("one axis", LISTS, arrays(item=lambda a: a[:, 0]), {ANALYZE: NOT_LISTS}),
    ("items as floats", LISTS, arrays(item=lambda a: a.astype(float)), {ANALYZE: NOT_LISTS}),
    ("scores that are no numbers", LISTS, arrays(score=lambda a: a * np.nan), {ANALYZE: NOT_LISTS}),
    ("an item twice", LISTS, arrays(item=lambda a: np.where(a < 0, a, 3)), {ANALYZE: "name an item twice"}),
    ("no rows", LISTS, arrays(**dict.fromkeys(("item", "score", "user", "target", "history"), lambda a: a[:0])),
     {ANALYZE: NOT_LISTS}),
    ("rows as a list", RESULTS, values(rows=[]), {ANALYZE: "not the results.json of one model"}),
    ("rows without a catalogue", RESULTS, values(rows={"split": "test"}), {ANALYZE: "results.json.*fingerprint"}),
    ("metrics as a number", RESULTS, values(metrics=3), {ANALYZE: "not the results.json of one model"}),
    ("a model as a list", RESULTS, values(model=[1]), {ANALYZE: "its model is .1"}),
]  # fmt: skip


@pytest.mark.parametrize(
    "name, change, words, says",
    [
        pytest.param(name, change, words, says, id=f"{name}: {what}, {' '.join(words)}")
        for what, name, change, readers in MISSHAPEN
        for words, says in readers.items()
    ],
)
def test_a_file_of_another_shape(shop, name, change, words, says):
    change(shop.run / name)
    seal(artifact_of(shop.run / name))
    command, *flags = words
    shop.call(command, *flags).check(1, says)


MANIFESTS = {
    b"": "is not valid JSON",
    b"null": "is no Manifest",
    b"[]": "is no Manifest",
    b"{}": "is no Manifest: stage: Field required",
    b"\xff\xfe": "is not valid JSON",
    b"[" * 100_000: "is not valid JSON",
    "directory": "manifest.json cannot be read",
    "more": "has 'more', which no Manifest has",
    "format_version": "has format 2, this code reads 1",
    "files": "is no Manifest: files",
    "entry": "is no Manifest: files: 'a' must be a path below it",
    "outside": "is no Manifest: files: '../../x' must be a path below it",
    "config": "is no Manifest: config",
    "fingerprint": "is no Manifest: fingerprint",
}
ODD = {
    "more": {"more": 1},
    "format_version": {"format_version": 2},
    "files": {"files": []},
    "entry": {"files": {"a": {}}},
    "outside": {"files": {"../../x": {"sha256": "", "bytes": 0}}},
    "config": {"config": [1]},
    "fingerprint": {"fingerprint": 3},
}


@pytest.mark.parametrize("kind", MANIFESTS, ids=[str(kind)[:20] for kind in MANIFESTS])
@pytest.mark.parametrize("command", ["convert", "prepare"])  # one that reads data/, the one that writes it
def test_a_manifest_that_is_none(shop, command, kind):
    path = shop.run / "data" / "manifest.json"
    if isinstance(kind, bytes):
        put(path, kind)
    elif kind == "directory":
        path.unlink()
        path.mkdir()
    else:
        rewrite_json(path, **ODD[kind])
    shop.call(command, *(["--clean"] if command == "convert" else [])).check(1, MANIFESTS[kind])


BEGUN = {
    b"": "not valid JSON",
    b"null": "began|begun",
    b"[]": "began|begun",
    b"{}": "began|begun",
    b'{"config": 3}': "be",
}


@pytest.mark.parametrize("written", BEGUN)
def test_a_beginning_that_is_none(shop, written):
    shop.remove("convert")
    partial = shop.run / "convert.partial"
    put(partial / ".begun.json", written)
    put(partial / "notes.txt", "mine")
    shop.call("convert").check(1, "convert.partial")
    shop.call("convert", "--clean").check(1, "convert.partial")
    assert (partial / "notes.txt").read_text() == "mine"


def test_the_manifest_of_every_stage_lists_what_lies_there(finished):
    for path in finished.run.rglob("manifest.json"):
        listed = json.loads(path.read_text())["files"]
        there = {str(file.relative_to(path.parent)) for file in path.parent.rglob("*") if file.is_file()}
        assert {name for name in there if not name.startswith(".")} == {*listed, "manifest.json"}
