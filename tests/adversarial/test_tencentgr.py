"""What people and disks do to TencentGR's files and flags: an exit code and one line for each, never a traceback."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from genrec.commandline import parse
from tencentgr import main, make_sample, options, safe_pickle, train_rqvae
from tencentgr.generator import write_sample
from tests.adversarial.wings import (
    Answer,
    Case,
    both,
    call,
    check_answer,
    check_every_kill,
    check_kill,
    check_race,
    cut,
    edit_json,
    flip,
    leave,
    make_directory,
    put,
    race,
    remove,
    restore,
)

TINY = "--num_epochs 1 --hidden_size 8 --num_layers 1 --num_heads 1 --max_history 8 --device cpu --tracker none"
DATA = "--data_dir {}/data --cache_dir {}/cache"
COMMANDS = {
    "train": f"{DATA} --log_dir {{}}/logs --tb_dir {{}}/tb {TINY}",
    "infer": f"{DATA} --inference_only --state_dict_path {{}}/logs/best_model.safetensors --result_dir {{}}/out"
    " --device cpu",
    "rqvae": f"{DATA} --output_dir {{}}/ids --num_levels 2 --codebook_size 4 --num_epochs 1 --device cpu",
    "sample": "--output_dir {}/made --users 3 --items 40",
    "run": f"--source run --run_dir {{}}/run --cache_dir {{}}/cache --log_dir {{}}/logs --tb_dir {{}}/tb {TINY}",
}


def train_main() -> None:
    command = options.parse(sys.argv[1:])
    main.main(command.config, command.clean)


def rqvae_main() -> None:
    command = parse(options.rqvae_program(), sys.argv[1:])
    train_rqvae.main(command.config, command.clean)


def sample_main() -> None:
    make_sample.main(parse(options.sample_program(), sys.argv[1:]).config)


MAINS = {"train": train_main, "infer": train_main, "run": train_main, "rqvae": rqvae_main, "sample": sample_main}


def pickled(name, value):
    return lambda directory: safe_pickle.dump(value, directory / name)


def edit_indexer(change):
    def spoil(directory: Path) -> None:
        indexer = safe_pickle.load(directory / "data/indexer.pkl")
        change(indexer)
        safe_pickle.dump(indexer, directory / "data/indexer.pkl")

    return spoil


def lines(name, *values):
    """A sequence file of these lines, with its offsets."""
    encoded = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]

    def spoil(directory: Path) -> None:
        (directory / "data" / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in encoded))
        begins = np.cumsum([0, *(len(line) + 1 for line in encoded)])[:-1].tolist()
        safe_pickle.dump(begins, directory / "data" / f"{name}_offsets.pkl")

    return spoil


def add_lines(*more):
    def spoil(directory: Path) -> None:
        old = (directory / "data/seq.jsonl").read_bytes().splitlines()
        lines("seq", *old, *more)(directory)

    return spoil


def vectors(change):
    def spoil(directory: Path) -> None:
        path = directory / "data/creative_emb/emb_81_8.pkl"
        values = {name: np.array(vector) for name, vector in safe_pickle.load(path).items()}
        change(values)
        safe_pickle.dump(values, path)

    return spoil


def first(values):
    return next(iter(values))


def all_vectors(value):
    def change(values):
        for name in values:
            values[name] = np.full(8, value, np.float32)

    return vectors(change)


def json_vectors(*texts):
    def spoil(directory: Path) -> None:
        (directory / "data/creative_emb/emb_81_8.pkl").unlink()
        put(
            "data/creative_emb/emb_81_8/part.json", b"\n".join(t if isinstance(t, bytes) else t.encode() for t in texts)
        )(directory)

    return spoil


def codes(value):
    """Every creative of the indexer gets `value`, a list."""

    def spoil(directory: Path) -> None:
        names = safe_pickle.load(directory / "data/indexer.pkl")["i"]
        (directory / "data/semantic_id_dict.json").write_text(json.dumps({str(name): value for name in names}))

    return spoil


def weights(change, name="best_model.safetensors"):
    """Tensors and header of a model written again."""

    def spoil(directory: Path) -> None:
        from safetensors import safe_open

        with safe_open(directory / "logs" / name, "pt") as file:
            tensors, header = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
        change(tensors, header)
        save_file(tensors, directory / "logs" / name, header)

    return spoil


def header(change):
    def edit(tensors, metadata):
        card = json.loads(metadata["card"])
        change(card)
        metadata["card"] = json.dumps(card)

    return weights(edit)


def torch_file(value, name="logs/other.pt"):
    return lambda directory: torch.save(value, directory / name)


HUGE = 2**62
event = [1, 1, None, None, 0, 5]
PROFILE = [1, None, {"103": 1}, None, None, 0]
OTHER = "--state_dict_path {}/logs/other.pt"
BEL = "\x1b]0;x\x07"

CASES = [
    # indexer.pkl
    Case("indexer missing", "train", remove("data/indexer.pkl"), says="{}/data/indexer.pkl is missing"),
    Case(
        "indexer empty",
        "train",
        put("data/indexer.pkl", b""),
        says="{}/data/indexer.pkl is refused: it begins with b'' instead of a protocol from 2 to 5",
    ),
    Case(
        "indexer cut",
        "train",
        cut("data/indexer.pkl"),
        says="{}/data/indexer.pkl is refused: FRAME at byte 2: 2,628 bytes are announced, 1,308",
    ),
    Case(
        "indexer a directory",
        "train",
        make_directory("data/indexer.pkl"),
        says="{}/data/indexer.pkl is a directory, not a file",
    ),
    Case(
        "indexer a list",
        "train",
        pickled("data/indexer.pkl", [1]),
        says="{}/data/indexer.pkl must hold a dict with the keys 'u', 'i' and 'f', and a dict by",
    ),
    Case(
        "indexer text",
        "train",
        put("data/indexer.pkl", "{'u': 1}"),
        says='{}/data/indexer.pkl is refused: it begins with b"{\'" instead of a protocol from 2',
    ),
    Case(
        "indexer without items",
        "train",
        edit_indexer(lambda i: i["i"].clear()),
        says="0 train sequences with a target that training knows, at least 1 needed",
    ),
    Case("indexer without users", "train", edit_indexer(lambda i: i["u"].clear()), code=0),
    Case(
        "indexer ids from 0",
        "train",
        edit_indexer(lambda i: i["i"].update({k: v - 1 for k, v in i["i"].items()})),
        says="{}/data/indexer.pkl: the ids of 'i' are not 1..40",
    ),
    Case(
        "indexer ids of text",
        "train",
        edit_indexer(lambda i: i["i"].update({k: str(v) for k, v in i["i"].items()})),
        says="{}/data/indexer.pkl: the ids of 'i' are not 1..40",
    ),
    Case(
        "indexer feature not a dict",
        "train",
        edit_indexer(lambda i: i["f"].update({"100": [1, 2]})),
        says="{}/data/indexer.pkl must hold a dict of ids at '100', found list",
    ),
    Case(
        "indexer f a list",
        "train",
        edit_indexer(lambda i: i.update(f=[])),
        says="{}/data/indexer.pkl must hold a dict with the keys 'u', 'i' and 'f', and a dict by",
    ),
    Case("indexer name with escapes in f", "train", edit_indexer(lambda i: i["f"].update({BEL: {1: 1}})), code=0),
    Case(
        "indexer name with escapes, ids wrong",
        "train",
        edit_indexer(lambda i: i["f"].update({BEL: {1: 2}})),
        says="{}/data/indexer.pkl: the ids of '\\x1b]0;x\\x07' are not 1..1",
    ),
    Case(
        "indexer name with NUL",
        "train",
        edit_indexer(lambda i: i["i"].update({"a\0": len(i["i"]) + 1})),
        says="{}/data/indexer.pkl: the name 'a\\x00' of 2 characters",
    ),
    Case(
        "indexer name of 300 characters",
        "train",
        edit_indexer(lambda i: i["i"].update({"a" * 300: len(i["i"]) + 1})),
        says="{}/data/indexer.pkl: the name 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' of 300",
    ),
    # item_feat_dict.json
    Case(
        "features missing", "train", remove("data/item_feat_dict.json"), says="{}/data/item_feat_dict.json is missing"
    ),
    Case(
        "features empty",
        "train",
        put("data/item_feat_dict.json", ""),
        says="{}/data/item_feat_dict.json cannot be read: it is not valid JSON (Expecting value:",
    ),
    Case(
        "features cut",
        "train",
        cut("data/item_feat_dict.json"),
        says="{}/data/item_feat_dict.json cannot be read: it is not valid JSON (Expecting value:",
    ),
    Case(
        "features a directory",
        "train",
        make_directory("data/item_feat_dict.json"),
        says="{}/data/item_feat_dict.json is a directory, not a file",
    ),
    Case(
        "features a list",
        "train",
        put("data/item_feat_dict.json", "[1]"),
        says="{}/data/item_feat_dict.json must hold a JSON object, found list",
    ),
    Case(
        "features not UTF-8",
        "train",
        put("data/item_feat_dict.json", b'{"1": {"100": "\xff"}}'),
        says="{}/data/item_feat_dict.json cannot be read: it is not valid JSON ('utf-8' codec",
    ),
    Case(
        "features deep",
        "train",
        put("data/item_feat_dict.json", "[" * 100_000),
        says="{}/data/item_feat_dict.json cannot be read: it is not valid JSON (maximum recursion",
    ),
    Case(
        "features of an item a number",
        "train",
        put("data/item_feat_dict.json", '{"1": 5}'),
        says="{}/data/item_feat_dict.json: the features of item '1' must be an object, found int",
    ),
    Case(
        "features of an item a list",
        "train",
        put("data/item_feat_dict.json", '{"1": ["100"]}'),
        says="{}/data/item_feat_dict.json: the features of item '1' must be an object, found list",
    ),
    Case(
        "features huge",
        "train",
        put("data/item_feat_dict.json", '{"1": {"100": 99999999999999999999, "101": NaN}}'),
        code=0,
    ),
    Case("features a list for a number", "train", put("data/item_feat_dict.json", '{"1": {"100": [1]}}'), code=0),
    # seq.jsonl, seq_offsets.pkl
    Case("sequences missing", "train", remove("data/seq.jsonl"), says="{}/data/seq.jsonl is missing"),
    Case(
        "sequences empty",
        "train",
        put("data/seq.jsonl", ""),
        says="{}/data/seq_offsets.pkl does not belong to seq.jsonl: it names 30 lines, the last",
    ),
    Case(
        "sequences cut",
        "train",
        cut("data/seq.jsonl", 0.9),
        says="{}/data/seq_offsets.pkl does not belong to seq.jsonl: it names 30 lines, the last",
    ),
    Case(
        "sequences a directory",
        "train",
        make_directory("data/seq.jsonl"),
        says="{}/data/seq.jsonl is a directory, not a file",
    ),
    Case(
        "sequences not UTF-8",
        "train",
        lines("seq", b"\xff\xfe", b"[\xff]"),
        says="{}/data/seq.jsonl holds no usable line: 2 read, 2 not valid JSON (line 1, 2), 0 kept",
    ),
    Case("sequences one bad line", "train", add_lines(b"\xff"), code=0, says="1 not valid JSON"),
    Case(
        "sequences all of other forms",
        "train",
        lines("seq", {"user": 1}, [1, 2], [[1, 2]], 5, None),
        says="{}/data/seq.jsonl holds no usable line: 5 read, 3 not a list of records (line 1, 4,",
    ),
    Case(
        "sequences of one user",
        "train",
        lines("seq", [event, event, event]),
        says="0 valid sequences with a target that training knows, at least 1 needed",
    ),
    Case(
        "sequences of profiles alone",
        "train",
        lines("seq", [PROFILE], [PROFILE]),
        says="0 train sequences with a target that training knows, at least 1 needed",
    ),
    Case(
        "sequences of unknown items",
        "train",
        lines("seq", *[[[n, 1000 + i, None, {}, 0, i] for i in range(4)] for n in range(1, 30)]),
        says="0 train sequences with a target that training knows, at least 1 needed",
    ),
    Case("sequences time NaN", "train", add_lines(b"[[1, 1, null, null, 0, NaN]]"), code=0, says="1 no usable record"),
    Case(
        "sequences time far",
        "train",
        add_lines([[1, 1, None, None, 0, HUGE - 1], [1, 2, None, None, 0, 0]]),
        "--time_features",
        code=0,
    ),
    Case("sequences item far", "train", add_lines([[1, HUGE - 1, None, {}, 0, 1], [1, 2, None, None, 0, 2]]), code=0),
    Case("sequences item beyond", "train", add_lines([[1, 2**70, None, {}, 0, 1], [1, 2, None, None, 0, 2]]), code=0),
    Case(
        "sequences action 127",
        "train",
        add_lines([[1, 1, None, None, 127, 1], [1, 2, None, None, 127, 2]]),
        "--use_action_type",
        code=0,
    ),
    Case(
        "sequences user with escapes",
        "train",
        add_lines([[BEL, 1, None, None, 0, 1], [BEL, 2, None, None, 0, 2]]),
        code=0,
    ),
    Case(
        "sequences lone surrogate",
        "train",
        add_lines(b'[["\\ud800", 1, null, null, 0, 1], ["\\ud800", 2, null, null, 0, 2]]'),
        code=0,
    ),
    Case("sequences deep line", "train", add_lines(b"[" * 50_000), code=0, says="1 not valid JSON"),
    Case(
        "sequences profile features odd",
        "train",
        add_lines([[1, None, {"103": {}, "106": "x", "107": [None, [1]]}, None, None, 0], event, event]),
        code=0,
    ),
    Case("offsets missing", "train", remove("data/seq_offsets.pkl"), says="{}/data/seq_offsets.pkl is missing"),
    Case(
        "offsets empty",
        "train",
        put("data/seq_offsets.pkl", b""),
        says="{}/data/seq_offsets.pkl is refused: it begins with b'' instead of a protocol from 2",
    ),
    Case(
        "offsets of another file",
        "train",
        pickled("data/seq_offsets.pkl", [0, 5]),
        says="{}/data/seq_offsets.pkl does not belong to seq.jsonl: it names 2 lines, the last at",
    ),
    Case(
        "offsets of text",
        "train",
        pickled("data/seq_offsets.pkl", ["0"]),
        says="{}/data/seq_offsets.pkl must hold a list of byte offsets, or a dict of them by line",
    ),
    Case(
        "offsets negative",
        "train",
        pickled("data/seq_offsets.pkl", [-1]),
        says="{}/data/seq_offsets.pkl: the offsets run from -1 to -1, expected 0 to 2^63 - 1",
    ),
    Case(
        "offsets a dict of floats",
        "train",
        pickled("data/seq_offsets.pkl", {0: 0.5}),
        says="{}/data/seq_offsets.pkl must hold a list of byte offsets, or a dict of them by line",
    ),
    Case(
        "offsets a dict by float",
        "train",
        pickled("data/seq_offsets.pkl", {"a": 1, "b": 2}),
        says="{}/data/seq_offsets.pkl must hold a list of byte offsets, or a dict of them by line",
    ),
    Case(
        "offsets a number",
        "train",
        pickled("data/seq_offsets.pkl", 3),
        says="{}/data/seq_offsets.pkl must hold a list of byte offsets, or a dict of them by line",
    ),
    Case(
        "offsets an array of floats",
        "train",
        pickled("data/seq_offsets.pkl", np.array([0.5])),
        says="{}/data/seq_offsets.pkl must hold a list of byte offsets, or a dict of them by line",
    ),
    Case(
        "offsets a directory",
        "train",
        make_directory("data/seq_offsets.pkl"),
        says="{}/data/seq_offsets.pkl is a directory, not a file",
    ),
    # creative_emb
    Case(
        "vectors missing",
        "train",
        remove("data/creative_emb/emb_81_8.pkl"),
        says="{}/data/creative_emb holds 0 embeddings with the id 81",
    ),
    Case(
        "vectors empty",
        "train",
        put("data/creative_emb/emb_81_8.pkl", b""),
        says="{}/data/creative_emb/emb_81_8.pkl is refused: it begins with b'' instead of a",
    ),
    Case(
        "vectors a directory",
        "train",
        make_directory("data/creative_emb/emb_81_8.pkl"),
        says="{}/data/creative_emb/emb_81_8.pkl holds no *.json file",
    ),
    Case(
        "vectors none",
        "train",
        pickled("data/creative_emb/emb_81_8.pkl", {}),
        says="{}/data/creative_emb/emb_81_8.pkl holds no vectors",
    ),
    Case(
        "vectors twice",
        "train",
        put("data/creative_emb/emb_81_9.pkl", b""),
        says="{}/data/creative_emb holds 2 embeddings with the id 81",
    ),
    Case(
        "vectors of another width",
        "train",
        vectors(lambda v: v.update({first(v): np.ones(7, np.float32)})),
        says="{}/data/creative_emb/emb_81_8.pkl: the vector of 20000000052 has shape (7,),",
    ),
    Case(
        "vectors of another width, name with escapes",
        "train",
        vectors(lambda v: v.update({BEL: np.ones(7, np.float32)})),
        says="{}/data/creative_emb/emb_81_8.pkl: the vector of '\\x1b]0;x\\x07' has shape (7,),",
    ),
    Case(
        "vectors one NaN",
        "train",
        vectors(lambda v: v.update({first(v): np.full(8, np.nan, np.float32)})),
        says="{}/data/creative_emb/emb_81_8.pkl: the vector of 20000000052 holds nan",
    ),
    Case(
        "vectors infinite",
        "train",
        all_vectors(np.inf),
        says="{}/data/creative_emb/emb_81_8.pkl: the vector of 20000000052 holds inf",
    ),
    Case(
        "vectors of 3e38",
        "train",
        all_vectors(3e38),
        says="{}/data/creative_emb/emb_81_8.pkl: the vector of 20000000052 holds",
    ),
    Case(
        "vectors float64 too large",
        "train",
        vectors(lambda v: v.update({first(v): np.full(8, 1e300)})),
        says="{}/data/creative_emb/emb_81_8.pkl: the vector of 20000000052 holds inf",
    ),
    Case(
        "vectors of text",
        "train",
        vectors(lambda v: v.update({first(v): ["a"] * 8})),
        says="{}/data/creative_emb/emb_81_8.pkl: the vector of 20000000052 is not 8 numbers",
    ),
    Case(
        "vectors of width 0",
        "train",
        lambda d: (d / "data/creative_emb/emb_81_8.pkl").rename(d / "data/creative_emb/emb_81_0.pkl"),
        says="{}/data/creative_emb/emb_81_0.pkl: the vector of 20000000052 has shape (8,),",
    ),
    Case(
        "vectors of a width beyond",
        "train",
        lambda d: (d / "data/creative_emb/emb_81_8.pkl").rename(
            d / "data/creative_emb/emb_81_99999999999999999999.pkl"
        ),
        says="{}/data/creative_emb/emb_81_99999999999999999999.pkl: the vector of 20000000052 has",
    ),
    Case(
        "vectors folder a file",
        "train",
        both(lambda d: shutil.rmtree(d / "data/creative_emb"), put("data/creative_emb", "")),
        says="there is no folder {}/data/creative_emb of embeddings",
    ),
    Case(
        "json vectors cut",
        "train",
        json_vectors('{"anonymous_cid": "1", "emb": [1, 2'),
        says="{}/data/creative_emb/emb_81_8/part.json, line 1: not a JSON object with",
    ),
    Case(
        "json vectors not UTF-8",
        "train",
        json_vectors(b"\xff\xfe"),
        says="{}/data/creative_emb/emb_81_8/part.json, line 1: not a JSON object with",
    ),
    Case(
        "json vectors deep",
        "train",
        json_vectors("[" * 100_000),
        says="{}/data/creative_emb/emb_81_8/part.json, line 1: not a JSON object with",
    ),
    Case(
        "json vectors a list",
        "train",
        json_vectors("[]"),
        says="{}/data/creative_emb/emb_81_8/part.json, line 1: not a JSON object with",
    ),
    Case(
        "json vectors of text",
        "train",
        json_vectors('{"anonymous_cid": "1", "emb": "12345678"}'),
        says="{}/data/creative_emb/emb_81_8/part.json: the vector of '1' has shape (), expected",
    ),
    Case(
        "json vectors of null",
        "train",
        json_vectors('{"anonymous_cid": "1", "emb": [null, 1, 1, 1, 1, 1, 1, 1]}'),
        says="{}/data/creative_emb/emb_81_8/part.json: the vector of '1' holds nan",
    ),
    Case(
        "json vectors NaN",
        "train",
        json_vectors('{"anonymous_cid": "1", "emb": [NaN, 1, 1, 1, 1, 1, 1, 1]}'),
        says="{}/data/creative_emb/emb_81_8/part.json: the vector of '1' holds nan",
    ),
    Case(
        "json vectors nested",
        "train",
        json_vectors('{"anonymous_cid": "1", "emb": [[1], 2]}'),
        says="{}/data/creative_emb/emb_81_8/part.json: the vector of '1' is not 8 numbers",
    ),
    Case(
        "json vectors without a file",
        "train",
        both(remove("data/creative_emb/emb_81_8.pkl"), lambda d: (d / "data/creative_emb/emb_81_8").mkdir()),
        says="{}/data/creative_emb/emb_81_8 holds no *.json file",
    ),
    Case(
        "json vectors a directory",
        "train",
        both(
            remove("data/creative_emb/emb_81_8.pkl"),
            lambda d: (d / "data/creative_emb/emb_81_8/a.json").mkdir(parents=True),
        ),
        says="{}/data/creative_emb/emb_81_8/a.json is a directory, not a file",
    ),
    # semantic_id_dict.json
    Case(
        "codes empty",
        "train",
        put("data/semantic_id_dict.json", ""),
        says="{}/data/semantic_id_dict.json cannot be read: it is not valid JSON (Expecting",
    ),
    Case(
        "codes none",
        "train",
        put("data/semantic_id_dict.json", "{}"),
        says="{}/data/semantic_id_dict.json must give every creative a list of codes of one",
    ),
    Case(
        "codes a list",
        "train",
        put("data/semantic_id_dict.json", "[]"),
        says="{}/data/semantic_id_dict.json must hold a JSON object, found list",
    ),
    Case(
        "codes a directory",
        "train",
        make_directory("data/semantic_id_dict.json"),
        says="{}/data/semantic_id_dict.json cannot be read: Is a directory",
    ),
    Case(
        "codes of lengths",
        "train",
        put("data/semantic_id_dict.json", '{"1": [1], "2": [1, 2]}'),
        says="{}/data/semantic_id_dict.json must give every creative a list of codes of one",
    ),
    Case(
        "codes negative",
        "train",
        codes([-1, 0]),
        says="{}/data/semantic_id_dict.json: the codes of '20000000052' are [-1, 0], expected",
    ),
    Case(
        "codes beyond int32",
        "train",
        codes([2**31, 0]),
        says="{}/data/semantic_id_dict.json: the codes of '20000000052' are [2147483648, 0],",
    ),
    Case(
        "codes beyond int64",
        "train",
        codes([2**64, 0]),
        says="{}/data/semantic_id_dict.json: the codes of '20000000052' are",
    ),
    Case(
        "codes of more rows than memory",
        "train",
        codes([2**31 - 5, 0]),
        says="{}/data/semantic_id_dict.json: the codes of '20000000052' are [2147483643, 0],",
    ),
    Case(
        "codes true",
        "train",
        codes([True, 0]),
        says="{}/data/semantic_id_dict.json: the codes of '20000000052' are [True, 0], expected",
    ),
    Case(
        "codes of escapes",
        "train",
        put("data/semantic_id_dict.json", json.dumps({BEL: [-1]})),
        says="{}/data/semantic_id_dict.json: the codes of '\\x1b]0;x\\x07' are [-1], expected whole",
    ),
    # places
    Case(
        "data a file",
        "train",
        both(lambda d: shutil.rmtree(d / "data"), put("data", "")),
        says="there is no data directory {}/data",
    ),
    Case(
        "data with brackets and spaces",
        "train",
        lambda d: shutil.copytree(d / "data", d / "my [data] 1"),
        ["--data_dir", "{}/my [data] 1"],
        code=0,
    ),
    Case(
        "logs a file",
        "train",
        both(lambda d: shutil.rmtree(d / "logs"), put("logs", "")),
        says="cannot write under {}/logs: File exists ({}/logs)",
    ),
    Case(
        "curves a file",
        "train",
        put("tb", ""),
        "--tracker tensorboard --seed 3",
        says="cannot write under {}/logs: File exists ({}/tb)",
    ),
    Case(
        "cache a file",
        "train",
        both(lambda d: shutil.rmtree(d / "cache"), put("cache", "")),
        says="cannot write {}/cache (File exists)",
    ),
    Case(
        "cache card empty",
        "train",
        put("cache/train/entry.json", ""),
        says="{}/cache/train/entry.json cannot be read: it is not valid JSON (Expecting value:",
    ),
    Case("cache card a list", "train", put("cache/train/entry.json", "[]"), code=0),
    Case(
        "cache card without a report",
        "train",
        edit_json("cache/train/entry.json", lambda c: c.pop("report")),
        says="{}/cache/train/entry.json lacks files and report",
    ),
    Case(
        "cache array missing",
        "train",
        remove("cache/train/item.npy"),
        "--seed 3",
        says="{}/cache/train lacks item.npy, which its manifest lists",
    ),
    Case(
        "cache array empty",
        "train",
        put("cache/train/item.npy", b""),
        "--seed 3",
        says="{}/cache/train/item.npy was changed after it was made: 884 bytes in the manifest, 0",
    ),
    Case(
        "cache array cut",
        "train",
        cut("cache/train/item.npy"),
        "--seed 3",
        says="{}/cache/train/item.npy was changed after it was made: 884 bytes in the manifest,",
    ),
    Case(
        "cache array changed",
        "train",
        flip("cache/train/item.npy", -1),
        "--seed 3",
        says="{}/cache/train/item.npy was changed after it was made:",
    ),
    Case(
        "cache entry a file",
        "train",
        both(lambda d: shutil.rmtree(d / "cache/train"), put("cache/train", "")),
        "--seed 3",
        says="cannot write {}/cache/train (Not a directory)",
    ),
    # what a run left
    Case(
        "run.json empty",
        "train",
        put("logs/run.json", ""),
        says="{}/logs/run.json cannot be read: it is not valid JSON (Expecting value: line 1",
    ),
    Case(
        "run.json a list",
        "train",
        put("logs/run.json", "[]"),
        says='{}/logs/run.json must hold {"config": {...}, "inputs": {...}}, which say what',
    ),
    Case(
        "run.json other keys",
        "train",
        put("logs/run.json", "{}"),
        says='{}/logs/run.json must hold {"config": {...}, "inputs": {...}}, which say what',
    ),
    Case(
        "run.json config a list",
        "train",
        put("logs/run.json", '{"config": [], "inputs": {}}'),
        says='{}/logs/run.json must hold {"config": {...}, "inputs": {...}}, which say what',
    ),
    Case(
        "checkpoint empty",
        "train",
        both(remove("logs/training.json"), put("logs/checkpoint.safetensors", b"")),
        code=0,
        says="training begins anew",
    ),
    Case(
        "checkpoint cut",
        "train",
        both(remove("logs/training.json"), cut("logs/checkpoint.safetensors")),
        code=0,
        says="training begins anew",
    ),
    Case(
        "checkpoint a directory",
        "train",
        both(remove("logs/training.json"), make_directory("logs/checkpoint.safetensors")),
        code=1,
        says="Is a directory ({}/logs/checkpoint.previous.safetensors)",
    ),
    Case(
        "checkpoint without a header",
        "train",
        both(remove("logs/training.json"), weights(lambda t, h: h.pop("training"), "checkpoint.safetensors")),
        code=0,
        says="training begins anew",
    ),
    Case(
        "checkpoint header a list",
        "train",
        both(remove("logs/training.json"), weights(lambda t, h: h.update(training="[]"), "checkpoint.safetensors")),
        code=0,
        says="training begins anew",
    ),
    Case(
        "checkpoint header no JSON",
        "train",
        both(remove("logs/training.json"), weights(lambda t, h: h.update(training="{"), "checkpoint.safetensors")),
        code=0,
        says="training begins anew",
    ),
    Case(
        "checkpoint lacks a tensor",
        "train",
        both(remove("logs/training.json"), weights(lambda t, h: t.pop(first(t)), "checkpoint.safetensors")),
        code=0,
        says="training begins anew",
    ),
    Case(
        "checkpoint has one more",
        "train",
        both(
            remove("logs/training.json"),
            weights(lambda t, h: t.update({"model.x": torch.ones(1)}), "checkpoint.safetensors"),
        ),
        code=0,
        says="training begins anew",
    ),
    Case(
        "checkpoint NaN",
        "train",
        both(
            remove("logs/training.json"),
            weights(
                lambda t, h: t["model.model.item.weight" if "model.model.item.weight" in t else first(t)].fill_(
                    float("nan")
                ),
                "checkpoint.safetensors",
            ),
        ),
        code=0,
    ),
    Case(
        "best lost at the end",
        "train",
        both(remove("logs/training.json"), remove("logs/best_model.safetensors")),
        code=0,
        says="training begins anew",
    ),
    Case(
        "train.log not UTF-8",
        "train",
        both(remove("logs/training.json"), remove("logs/checkpoint.safetensors"), put("logs/train.log", b"\xff}\n")),
        code=0,
    ),
    Case(
        "train.log other lines",
        "train",
        both(
            remove("logs/training.json"),
            remove("logs/checkpoint.safetensors"),
            put("logs/train.log", '{"a": 1}\n{}\n[}\n'),
        ),
        code=0,
    ),
    Case(
        "train.log a directory",
        "train",
        both(remove("logs/training.json"), remove("logs/checkpoint.safetensors"), make_directory("logs/train.log")),
        says="cannot write under {}/logs: Is a directory ({}/logs/train.log)",
    ),
    # models
    Case(
        "model missing", "infer", remove("logs/best_model.safetensors"), says="no model {}/logs/best_model.safetensors"
    ),
    Case(
        "model empty",
        "infer",
        put("logs/best_model.safetensors", b""),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "model cut",
        "infer",
        cut("logs/best_model.safetensors"),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "model changed by a bit",
        "infer",
        flip("logs/best_model.safetensors"),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "model pt changed by a bit",
        "infer",
        flip("logs/best_model.pt", 2000),
        "--state_dict_path {}/logs/best_model.pt",
        says="{}/logs/best_model.pt was changed after it was made:",
    ),
    Case(
        "model text",
        "infer",
        put("logs/best_model.safetensors", "weights"),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "model directory empty",
        "infer",
        make_directory("logs/none"),
        "--state_dict_path {}/logs/none",
        says="no model {}/logs/none/model.safetensors",
    ),
    Case(
        "model pt a directory",
        "infer",
        make_directory("logs/other.pt"),
        OTHER,
        says="no model {}/logs/other.pt/model.safetensors",
    ),
    Case(
        "model lacks a tensor",
        "infer",
        weights(lambda t, h: t.pop(first(t))),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "model has one more",
        "infer",
        weights(lambda t, h: t.update({"x": torch.ones(1)})),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "model of another shape",
        "infer",
        weights(lambda t, h: t.update({first(t): torch.ones(1)})),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "model NaN",
        "infer",
        weights(lambda t, h: [x.fill_(float("nan")) for x in t.values() if x.is_floating_point()]),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "model 3e38",
        "infer",
        weights(lambda t, h: [x.fill_(3e38) for x in t.values() if x.is_floating_point()]),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "card no JSON",
        "infer",
        weights(lambda t, h: h.update(card="{")),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "card a list",
        "infer",
        weights(lambda t, h: h.update(card="[]")),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "card without a shape",
        "infer",
        header(lambda c: c.pop("shape")),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "card with another shape",
        "infer",
        header(lambda c: c["shape"].update(depth=3)),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "card with a shape of text",
        "infer",
        header(lambda c: c["shape"].update(hidden_size="8")),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "card without a schema",
        "infer",
        header(lambda c: c.pop("schema")),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "card with other features",
        "infer",
        header(lambda c: c["schema"].update(item_sparse={"1": 2})),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "card with items beyond memory",
        "infer",
        header(lambda c: c["schema"].update(num_items=2**50)),
        says="{}/logs/best_model.safetensors was changed after it was made:",
    ),
    Case(
        "pt text",
        "infer",
        put("logs/other.pt", "weights"),
        OTHER,
        says="{}/logs/other.pt cannot be read as tensors: Weights only load failed. In PyTorch",
    ),
    Case(
        "pt empty",
        "infer",
        put("logs/other.pt", ""),
        OTHER,
        says="{}/logs/other.pt cannot be read as tensors: EOFError",
    ),
    Case("pt a list", "infer", torch_file([1]), OTHER, says="{}/logs/other.pt holds a list, expected tensors by name"),
    Case(
        "pt a tensor",
        "infer",
        torch_file(torch.ones(2)),
        OTHER,
        says="{}/logs/other.pt holds a Tensor, expected tensors by name",
    ),
    Case(
        "pt of numbers",
        "infer",
        torch_file({"model_state_dict": {"a": 1}}),
        OTHER,
        says="{}/logs/other.pt holds no tensors by name, as best_model.pt does and a bare",
    ),
    Case(
        "pt weights a list",
        "infer",
        torch_file({"model_state_dict": [1], "config": "{}"}),
        OTHER,
        says="{}/logs/other.pt holds no tensors by name, as best_model.pt does and a bare",
    ),
    Case(
        "pt card no JSON",
        "infer",
        torch_file({"model_state_dict": {}, "config": "{"}),
        OTHER,
        says="the card in {}/logs/other.pt is not valid JSON: Expecting property name enclosed in",
    ),
    Case(
        "pt card a number",
        "infer",
        torch_file({"model_state_dict": {}, "config": 3}),
        OTHER,
        says="the card in {}/logs/other.pt is not valid JSON: the JSON object must be str, bytes",
    ),
    Case(
        "pt runs code",
        "infer",
        lambda d: (d / "logs/other.pt").write_bytes(b"\x80\x04cos\nsystem\nX\x04\x00\x00\x00true\x85R."),
        OTHER,
        says="{}/logs/other.pt cannot be read as tensors: Weights only load failed. In PyTorch",
    ),
    Case("results a file", "infer", put("out", ""), says="cannot write under {}/out: File exists ({}/out)"),
    # queries and candidates
    Case("queries without candidates", "infer", remove("data/predict_set.jsonl"), code=0),
    Case(
        "queries empty",
        "infer",
        put("data/predict_seq.jsonl", ""),
        says="{}/data/predict_seq_offsets.pkl does not belong to predict_seq.jsonl: it names 19",
    ),
    Case(
        "queries a directory",
        "infer",
        make_directory("data/predict_seq.jsonl"),
        says="{}/data/predict_seq.jsonl is a directory, not a file",
    ),
    Case(
        "queries without offsets",
        "infer",
        remove("data/predict_seq_offsets.pkl"),
        says="{}/data/predict_seq_offsets.pkl is missing",
    ),
    Case(
        "candidates empty",
        "infer",
        put("data/predict_set.jsonl", ""),
        says="{}/data/predict_set.jsonl holds no usable candidate: 0 read, 0 kept",
    ),
    Case(
        "candidates a directory",
        "infer",
        make_directory("data/predict_set.jsonl"),
        says="{}/data/predict_set.jsonl is a directory, not a file",
    ),
    Case(
        "candidates of other forms",
        "infer",
        put("data/predict_set.jsonl", b"{}\n[]\n\xff\n3\n"),
        says="{}/data/predict_set.jsonl holds no usable candidate: 4 read, 4 not a candidate",
    ),
    Case(
        "candidate id beyond uint64",
        "infer",
        put("data/predict_set.jsonl", json.dumps({"creative_id": 1, "retrieval_id": 2**64, "features": {}})),
        says="{}/data/predict_set.jsonl holds no usable candidate: 1 read, 1 not a candidate",
    ),
    Case(
        "candidate id twice",
        "infer",
        put(
            "data/predict_set.jsonl",
            "\n".join(json.dumps({"creative_id": n, "retrieval_id": 1, "features": {}}) for n in (1, 2)),
        ),
        code=0,
    ),
    Case(
        "candidate name long",
        "infer",
        put("data/predict_set.jsonl", json.dumps({"creative_id": "a" * 10_000, "retrieval_id": 1, "features": {}})),
        says="{}/data/predict_set.jsonl holds no usable candidate: 1 read, 1 not a candidate",
    ),
    Case(
        "candidate name with NUL",
        "infer",
        put("data/predict_set.jsonl", json.dumps({"creative_id": "a\0", "retrieval_id": 1, "features": {}})),
        says="{}/data/predict_set.jsonl holds no usable candidate: 1 read, 1 not a candidate",
    ),
    Case(
        "candidate features odd",
        "infer",
        put(
            "data/predict_set.jsonl",
            json.dumps({"creative_id": 1, "retrieval_id": 1, "features": {"100": {}, "101": [1], "102": "x"}}),
        ),
        code=0,
    ),
    # semantic IDs
    Case(
        "ids place a file",
        "rqvae",
        both(lambda d: shutil.rmtree(d / "ids"), put("ids", "")),
        says="cannot write under {}/ids: Not a directory ({}/ids/rqvae.partial)",
    ),
    Case(
        "ids of vectors 3e38",
        "rqvae",
        all_vectors(3e38),
        "--clean",
        says="{}/data/creative_emb/emb_81_8.pkl: the vector of 20000000052 holds",
    ),
    Case(
        "ids of zeros",
        "rqvae",
        all_vectors(0),
        "--clean",
        says="--codebook_size 4 is more than the 0 items with vectors",
    ),
    Case(
        "ids of more codes than items",
        "rqvae",
        leave,
        "--codebook_size 1000 --clean",
        says="--codebook_size 1000 is more than the 39 items with vectors",
    ),
    Case(
        "ids card empty",
        "rqvae",
        put("ids/rqvae.json", ""),
        says="{}/ids/rqvae.json cannot be read: it is not valid JSON (Expecting value: line 1",
    ),
    Case(
        "ids card a list",
        "rqvae",
        put("ids/rqvae.json", "[]"),
        says='{}/ids/rqvae.json must hold {"config": {...}, "inputs": {...}}, which say what',
    ),
    Case(
        "ids card other keys",
        "rqvae",
        put("ids/rqvae.json", "{}"),
        says='{}/ids/rqvae.json must hold {"config": {...}, "inputs": {...}}, which say what',
    ),
    Case(
        "ids other settings",
        "rqvae",
        leave,
        "--seed 3",
        says="{}/ids was made with other settings: seed is 42 there, 3 asked.",
    ),
    Case(
        "ids begun empty",
        "rqvae",
        both(remove("ids/rqvae.json"), put("ids/rqvae.partial/begun.json", "")),
        says="{}/ids/rqvae.partial/begun.json cannot be read: it is not valid JSON (Expecting",
    ),
    Case(
        "ids begun checkpoint empty",
        "rqvae",
        both(
            lambda d: shutil.copytree(d / "ids", d / "ids/rqvae.partial"),
            lambda d: (d / "ids/rqvae.json").rename(d / "ids/rqvae.partial/begun.json"),
            put("ids/rqvae.partial/checkpoint.safetensors", ""),
        ),
        code=0,
        says="training begins anew",
    ),
    Case(
        "ids add without", "rqvae", lambda d: shutil.rmtree(d / "ids"), "--add", says="{}/ids holds no finished RQ-VAE"
    ),
    Case(
        "ids add model empty",
        "rqvae",
        put("ids/rqvae_model.safetensors", ""),
        "--add",
        says="{}/ids/rqvae_model.safetensors was changed after it was made:",
    ),
    Case(
        "ids add model changed",
        "rqvae",
        flip("ids/rqvae_model.safetensors"),
        "--add",
        says="{}/ids/rqvae_model.safetensors was changed after it was made:",
    ),
    Case(
        "ids add model of another header",
        "rqvae",
        lambda d: save_file({"a": torch.ones(1)}, d / "ids/rqvae_model.safetensors", {"quantizer": "{}"}),
        "--add",
        says="{}/ids/rqvae_model.safetensors was changed after it was made:",
    ),
    Case(
        "ids add codes empty",
        "rqvae",
        put("ids/semantic_id_dict.json", ""),
        "--add",
        says="{}/ids/semantic_id_dict.json was changed after it was made:",
    ),
    Case(
        "ids up to date but codes gone",
        "rqvae",
        remove("ids/semantic_id_dict.json"),
        says="{}/ids lacks semantic_id_dict.json, which rqvae.json lists",
    ),
    Case(
        "ids up to date but codes changed",
        "rqvae",
        flip("ids/semantic_id_dict.json", 4),
        says="{}/ids/semantic_id_dict.json was changed after it was made:",
    ),
    # a prepared run
    Case("run missing", "run", leave, says="{}/run/data is not there yet"),
    Case("run a file", "run", put("run", ""), says="{}/run/data is not there yet"),
    Case("run empty", "run", lambda d: (d / "run").mkdir(), says="{}/run/data is not there yet"),
    Case(
        "run manifest a list",
        "run",
        put("run/data/manifest.json", "[]"),
        code=1,
        says="{}/run/data/manifest.json is no",
    ),
    # the sample
    Case("sample place a file", "sample", put("made", ""), says="cannot write under {}/made: File exists ({}/made)"),
]

# command, flags, exit code, what the line says
FLAGS = [
    (
        "train",
        "--seed 18446744073709551616",
        2,
        "seed: a number must be finite and at most 4,294,967,295, found",
    ),
    ("train", "--seed -1", 2, "seed: Input should be greater than or equal to 0 (got -1)"),
    ("train", "--seed 1.5", 2, "seed: Input should be a valid integer, got a number with a fractional part (got 1.5)"),
    ("train", "--seed .nan", 2, "seed: Input should be a finite number (got nan)"),
    ("train", "--seed x", 2, "seed: Input should be a valid integer, unable to parse string as an integer (got"),
    ("train", "--num_epochs -1", 2, "num_epochs: Input should be greater than or equal to 1 (got -1)"),
    ("train", "--num_epochs .inf", 2, "num_epochs: Input should be a finite number (got inf)"),
    ("train", "--num_epochs 0", 2, "num_epochs: Input should be greater than or equal to 1 (got 0)"),
    (
        "train",
        "--num_epochs 1e30",
        2,
        "num_epochs: Unable to parse input string as an integer, exceeded maximum size (got",
    ),
    ("train", "--learning_rate .inf", 2, "learning_rate: Input should be a finite number (got inf)"),
    ("train", "--learning_rate .nan", 2, "learning_rate: Input should be a finite number (got nan)"),
    ("train", "--learning_rate 0", 2, "learning_rate: Input should be greater than 0 (got 0)"),
    ("train", "--learning_rate -1", 2, "learning_rate: Input should be greater than 0 (got -1)"),
    ("train", "--learning_rate 1e6", 2, "learning_rate: Input should be less than or equal to 10 (got 1000000.0)"),
    ("train", "--temperature .inf", 2, "temperature: Input should be a finite number (got inf)"),
    ("train", "--temperature 0", 2, "temperature: Input should be greater than or equal to 0.0001 (got 0)"),
    ("train", "--temperature 1e-40", 2, "temperature: Input should be greater than or equal to 0.0001 (got 1e-40)"),
    ("train", "--temperature 1e9", 2, "temperature: Input should be less than or equal to 10000 (got 1000000000.0)"),
    ("train", "--valid_share 1e-9", 1, "0 valid sequences with a target that training knows, at least 1 needed"),
    ("train", "--valid_share 0", 2, "valid_share: Input should be greater than 0 (got 0)"),
    ("train", "--valid_share 1", 2, "valid_share: Input should be less than 1 (got 1)"),
    ("train", "--valid_share .nan", 2, "valid_share: Input should be a finite number (got nan)"),
    ("train", "--valid_share 0.999999", 1, "0 train sequences with a target that training knows, at least 1 needed"),
    ("train", "--dropout 1", 2, "dropout: Input should be less than 1 (got 1)"),
    ("train", "--dropout -0.1", 2, "dropout: Input should be greater than or equal to 0 (got -0.1)"),
    ("train", "--hidden_size 0", 2, "hidden_size: Input should be greater than or equal to 1 (got 0)"),
    (
        "train",
        "--hidden_size 1000000000",
        2,
        "hidden_size: Input should be less than or equal to 65536 (got 1000000000)",
    ),
    ("train", "--num_layers 100000000", 2, "num_layers: Input should be less than or equal to 1024 (got 100000000)"),
    ("train", "--num_heads 0", 2, "num_heads: Input should be greater than or equal to 1 (got 0)"),
    ("train", "--num_heads 3 --hidden_size 8", 2, "--hidden_size 8 is not a multiple of --num_heads 3"),
    ("train", "--max_history 0", 2, "max_history: Input should be greater than or equal to 1 (got 0)"),
    (
        "train",
        "--max_history 2000000000",
        2,
        "max_history: Input should be less than or equal to 1000000 (got 2000000000)",
    ),
    ("train", "--batch_size 0", 2, "batch_size: Input should be greater than or equal to 1 (got 0)"),
    ("train", "--batch_size 4000000000", 0, ""),
    ("train", "--num_negatives 0", 2, "num_negatives: Input should be greater than or equal to 1 (got 0)"),
    (
        "train",
        "--num_negatives 1000000000",
        2,
        "num_negatives: Input should be less than or equal to 1000000 (got 1000000000)",
    ),
    ("train", "--popularity_factor .inf", 2, "popularity_factor: Input should be a finite number (got inf)"),
    (
        "train",
        "--popularity_factor 1e9 --use_smart_sampling",
        2,
        "popularity_factor: Input should be less than or equal to 100 (got 1000000000.0)",
    ),
    ("train", "--weight_decay .nan", 2, "weight_decay: Input should be a finite number (got nan)"),
    (
        "train",
        "--weight_decay 1e9 --optimizer adamw",
        2,
        "weight_decay: Input should be less than or equal to 10 (got 1000000000.0)",
    ),
    ("train", "--grad_clip -1", 2, "grad_clip: Input should be greater than or equal to 0 (got -1)"),
    ("train", "--grad_clip .nan", 2, "grad_clip: Input should be a finite number (got nan)"),
    ("train", "--grad_clip 1e-30", 0, ""),
    ("train", "--l2_emb .inf", 2, "l2_emb: Input should be a finite number (got inf)"),
    ("train", "--l2_emb 1e9", 2, "l2_emb: Input should be less than or equal to 1000000 (got 1000000000.0)"),
    ("train", "--early_stop -1", 2, "early_stop: Input should be greater than or equal to 0 (got -1)"),
    ("train", "--save_freq -1", 2, "save_freq: Input should be greater than or equal to 0 (got -1)"),
    ("train", "--save_steps -1", 2, "save_steps: Input should be greater than or equal to 0 (got -1)"),
    ("train", "--warmup_steps -1", 2, "warmup_steps: Input should be greater than or equal to 0 (got -1)"),
    ("train", "--warmup_steps 4000000000", 0, ""),
    ("train", "--num_workers -1", 2, "num_workers: Input should be greater than or equal to 0 (got -1)"),
    ("train", "--num_workers 100000", 2, "num_workers: Input should be less than or equal to 256 (got 100000)"),
    ("train", "--dynamic_candidates 0", 2, "dynamic_candidates: Input should be greater than or equal to 1 (got 0)"),
    (
        "train",
        "--dynamic_candidates 1000000000",
        2,
        "dynamic_candidates: Input should be less than or equal to 10000 (got 1000000000)",
    ),
    ("train", "--device moon", 1, "--device is 'moon'; it can be auto, cpu, cuda or cuda:1"),
    ("train", "--device cuda:99", 1, "--device is cuda:99, but torch sees no GPU here"),
    ("train", "--device meta", 1, "--device is 'meta', which is not supported"),
    ("train", "--device mps", 1, "--device is 'mps', which is not supported"),
    ("train", "--device cpu:7", 0, ""),
    ("train", "--mm_emb_id 99", 1, "{}/data/creative_emb holds 0 embeddings with the id 99"),
    ("train", "--mm_emb_id ../x", 1, "{}/data/creative_emb holds 0 embeddings with the id ../x"),
    ("train", "--mm_emb_id 81 81", 2, "mm_emb_id: an id stands there twice: 81 81 (got ['81', '81'])"),
    ("train", "--mm_emb_id ''", 0, ""),
    ("train", "--source moon", 2, "source: Input should be 'tencentgr' or 'run' (got 'moon')"),
    ("train", "--source run", 2, "--source run needs --run_dir DIR, a run that data/prepare.py has prepared"),
    (
        "train",
        "--similarity moon",
        2,
        "similarity: Input should be 'dot', 'cosine', 'scaled' or 'bilinear' (got 'moon')",
    ),
    (
        "train",
        "--use_adaptive_similarity --similarity_types",
        2,
        "similarity_types: List should have at least 1 item after validation, not 0 (got [])",
    ),
    (
        "train",
        "--use_adaptive_similarity --similarity_types dot dot",
        2,
        "--similarity_types names a kind twice: dot dot",
    ),
    ("train", "--loss moon", 2, "loss: Input should be 'bce', 'infonce', 'sampled' or 'full' (got 'moon')"),
    ("train", "--config", 2, "--config needs a value"),
    ("train", "--config nowhere.yaml", 2, "no config file nowhere.yaml"),
    ("train", "--nonsense 1", 2, "unknown flag --nonsense; did you mean '--seed'?"),
    ("train", "--data_dir", 2, "--data_dir needs a value"),
    ("train", "--data_dir ''", 2, "data_dir: a path must not be empty"),
    ("train", "--inference_only", 2, "--inference_only needs --state_dict_path MODEL, e.g. ./logs/best_model.pt"),
    (
        "train",
        "--use_curriculum_learning",
        2,
        "--use_curriculum_learning changes nothing here; leave it out, or add --use_smart_sampling",
    ),
    ("train", "--state_dict_path nowhere.pt", 1, "no model nowhere.pt; training writes best_model.pt"),
    ("train", "--state_dict_path {}/logs/best_model.pt", 1, "logs, which this training writes; to go on with the run"),
    ("train", "--tracker moon", 2, "tracker: Input should be 'tensorboard', 'swanlab' or 'none' (got 'moon')"),
    ("train", "--log_dir ''", 2, "log_dir: a path must not be empty"),
    ("train", "--learning_rate [1]", 2, "learning_rate: Input should be a valid number (got [1])"),
    ("train", "--seed {a: 1}", 2, "'{a:' is not a YAML value: ParserError"),
    ("train", "--data_dir nowhere", 1, "there is no data directory nowhere"),
    (
        "train",
        "--rotary --hidden_size 6 --num_heads 2",
        2,
        "--hidden_size 6 is not an even multiple (--rotary turns pairs) of --num_heads 2",
    ),
    ("train", "--batch_size ''", 2, "batch_size: Input should be a valid integer (got None)"),
    ("train", "--seed 'a\x1b[31mb'", 2, "'a\\x1b[31mb' is not a YAML value: ReaderError"),
    ("train", "--lr 1e400", 2, "learning_rate: Input should be a finite number (got inf)"),
    ("train", "--mm_emb_id \x1b[31m", 1, "{}/data/creative_emb holds 0 embeddings with the id \\x1b[31m"),
    (
        "rqvae",
        "--seed 18446744073709551616",
        2,
        "seed: a number must be finite and at most 4,294,967,295, found",
    ),
    ("rqvae", "--num_epochs -1", 2, "num_epochs: Input should be greater than or equal to 1 (got -1)"),
    ("rqvae", "--num_epochs .inf", 2, "num_epochs: Input should be a finite number (got inf)"),
    ("rqvae", "--num_levels 0", 2, "num_levels: Input should be greater than or equal to 1 (got 0)"),
    (
        "rqvae",
        "--num_levels 1000000000 --clean",
        2,
        "num_levels: Input should be less than or equal to 64 (got 1000000000)",
    ),
    ("rqvae", "--codebook_size 0", 2, "codebook_size: Input should be greater than or equal to 2 (got 0)"),
    ("rqvae", "--codebook_size 1 --clean", 2, "codebook_size: Input should be greater than or equal to 2 (got 1)"),
    ("rqvae", "--learning_rate .nan", 2, "learning_rate: Input should be a finite number (got nan)"),
    (
        "rqvae",
        "--learning_rate 1e6 --clean",
        2,
        "learning_rate: Input should be less than or equal to 10 (got 1000000.0)",
    ),
    ("rqvae", "--beta .inf", 2, "beta: Input should be a finite number (got inf)"),
    ("rqvae", "--beta 1e9 --clean", 2, "beta: Input should be less than or equal to 1000000 (got 1000000000.0)"),
    ("rqvae", "--batch_size 0", 2, "batch_size: Input should be greater than or equal to 1 (got 0)"),
    ("rqvae", "--mm_emb_id", 2, "mm_emb_id: List should have at least 1 item after validation, not 0 (got [])"),
    (
        "rqvae",
        "--mm_emb_id 81 81 --clean",
        2,
        "mm_emb_id: an id stands there twice: 81 81 (got ['81', '81'])",
    ),
    ("rqvae", "--mm_emb_id 82", 1, "{}/data/creative_emb holds 0 embeddings with the id 82"),
    ("sample", "--users 1", 2, "users: Input should be greater than or equal to 2 (got 1)"),
    ("sample", "--items 3", 2, "items: Input should be greater than or equal to 40 (got 3)"),
    ("sample", "--longest 2", 2, "longest: Input should be greater than or equal to 5 (got 2)"),
    ("sample", "--seed -1", 2, "seed: Input should be greater than or equal to 0 (got -1)"),
    (
        "sample",
        "--seed 18446744073709551616",
        2,
        "seed: a number must be finite and at most 4,294,967,295, found",
    ),
    ("sample", "--mm_emb_id 99", 2, "mm_emb_id.0: Input should be '81', '82', '83', '84', '85' or '86' (got '99')"),
    ("sample", "--width 0", 2, "width: Input should be greater than or equal to 1 (got 0)"),
    ("sample", "--width 4000000000", 2, "width: Input should be less than or equal to 65536 (got 4000000000)"),
    ("sample", "--users 4000000000", 2, "users: Input should be less than or equal to 10000000 (got 4000000000)"),
    ("sample", "--users .inf", 2, "users: Input should be a finite number (got inf)"),
    ("sample", "--longest 4000000000", 2, "longest: Input should be less than or equal to 100000 (got 4000000000)"),
    ("sample", "--mm_emb_id 81 81", 2, "mm_emb_id: an id stands there twice: 81 81 (got ['81', '81'])"),
]


def build_place(directory: Path) -> None:
    """A small sample, a training of it that is finished, and its semantic IDs."""
    write_sample(directory / "data", num_users=30, num_items=40, mm_emb_id=("81",), widths={"81": 8}, longest=8)
    for name in ("train", "rqvae"):
        check_answer(run_command(name, directory), 0, "")


def run_command(name: str, place: Path, flags: str | list[str] = "") -> Answer:
    more = shlex.split(flags) if isinstance(flags, str) else flags
    words = [word.replace("{}", str(place)) for word in [*COMMANDS[name].split(), *more]]
    return call(MAINS[name], [f"{name}.py", *words], place)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """A place with everything in it, and a copy of it that nobody touches."""
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("tencentgr") / "place"
    place.mkdir()
    build_place(place)
    return shutil.copytree(place, place.with_name("whole")), place


@pytest.fixture
def place(built, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return restore(*built)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_spoiled_file_ends_in_one_line(place, case):
    case.spoil(place)
    check_answer(run_command(case.command, place, case.flags), case.code, case.says)


@pytest.mark.parametrize(("command", "flags", "code", "says"), FLAGS, ids=lambda value: str(value)[:60])
def test_flags_that_cannot_be_used_end_in_one_line(place, command, flags, code, says):
    check_answer(run_command(command, place, flags), code, says)


LONG = "--num_epochs 6 --save_steps 1"
CHANGING = ("train.log", ".lock", ".verified", "tfevents")


@pytest.mark.parametrize("pair", [pytest.param(n, marks=[pytest.mark.slow] if n > 0 else []) for n in range(10)])
@pytest.mark.parametrize(("command", "flags", "finished"), [
    ("train", LONG, "is finished"),
    ("rqvae", "--num_epochs 9", "up to date"),
])  # fmt: skip
def test_two_at_once_make_one(place, command, flags, finished, pair):
    for name in ("logs", "ids"):
        shutil.rmtree(place / name)
    check_race(race([lambda: run_command(command, place, flags)] * 2), finished)
    check_answer(run_command(command, place, flags), 0, finished)
    if command == "train":
        check_answer(run_command("infer", place), 0, "candidates")


KILLED = pytest.mark.parametrize(
    ("command", "directory", "flags"), [("train", "logs", LONG), ("rqvae", "ids", "--num_epochs 12")]
)


@KILLED
def test_killed_at_some_time_it_ends_the_same(place, command, directory, flags):
    shutil.rmtree(place / directory)
    check_kill(lambda: run_command(command, place, flags), place / directory, CHANGING, 0.5)


@pytest.mark.slow
@KILLED
def test_killed_before_any_access_to_a_file_it_ends_the_same(place, command, directory, flags):
    shutil.rmtree(place / directory)
    check_every_kill(lambda: run_command(command, place, flags), place / directory, CHANGING)


def test_weights_that_are_no_numbers_end_a_training(place, monkeypatch):
    """In the step after, long before a validation; nothing is published."""
    clip = torch.nn.utils.clip_grad_norm_

    def spoil(parameters, *rest):
        parameters = list(parameters)
        parameters[0].grad.fill_(float("nan"))
        return clip(parameters, *rest)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoil)
    shutil.rmtree(place / "logs")
    check_answer(run_command("train", place, "--batch_size 4"), 1, "the loss is nan at step")
    assert not list(place.glob("*/best*"))
