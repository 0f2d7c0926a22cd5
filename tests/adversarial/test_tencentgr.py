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
from tests.adversarial.wings import Case, both, call, check_answer, cut, flip, leave, make_directory, put, remove

TINY = "--num_epochs 1 --hidden_size 8 --num_layers 1 --num_heads 1 --max_history 8 --device cpu --tracker none"
DATA = "--data_dir {}/data --cache_dir {}/cache"
COMMANDS = {
    "train": f"{DATA} --log_dir {{}}/logs --tb_dir {{}}/tb {TINY}",
    "infer": f"{DATA} --inference_only --state_dict_path {{}}/logs/best_model.safetensors --result_dir {{}}/out --device cpu",
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


def edit_json(name, change):
    def spoil(directory: Path) -> None:
        value = json.loads((directory / name).read_text())
        change(value)
        (directory / name).write_text(json.dumps(value))

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
        put("data/creative_emb/emb_81_8/part.json", b"\n".join(t if isinstance(t, bytes) else t.encode() for t in texts))(directory)

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
    Case("indexer missing", "train", remove("data/indexer.pkl")),
    Case("indexer empty", "train", put("data/indexer.pkl", b"")),
    Case("indexer cut", "train", cut("data/indexer.pkl")),
    Case("indexer a directory", "train", make_directory("data/indexer.pkl")),
    Case("indexer a list", "train", pickled("data/indexer.pkl", [1])),
    Case("indexer text", "train", put("data/indexer.pkl", "{'u': 1}")),
    Case("indexer without items", "train", edit_indexer(lambda i: i["i"].clear())),
    Case("indexer without users", "train", edit_indexer(lambda i: i["u"].clear()), code=0),
    Case("indexer ids from 0", "train", edit_indexer(lambda i: i["i"].update({k: v - 1 for k, v in i["i"].items()}))),
    Case("indexer ids of text", "train", edit_indexer(lambda i: i["i"].update({k: str(v) for k, v in i["i"].items()}))),
    Case("indexer feature not a dict", "train", edit_indexer(lambda i: i["f"].update({"100": [1, 2]}))),
    Case("indexer f a list", "train", edit_indexer(lambda i: i.update(f=[]))),
    Case("indexer name with escapes in f", "train", edit_indexer(lambda i: i["f"].update({BEL: {1: 1}})), code=0),
    Case("indexer name with escapes, ids wrong", "train", edit_indexer(lambda i: i["f"].update({BEL: {1: 2}}))),
    Case("indexer name with NUL", "train", edit_indexer(lambda i: i["i"].update({"a\0": len(i["i"]) + 1}))),
    Case("indexer name of 300 characters", "train", edit_indexer(lambda i: i["i"].update({"a" * 300: len(i["i"]) + 1}))),
    # item_feat_dict.json
    Case("features missing", "train", remove("data/item_feat_dict.json")),
    Case("features empty", "train", put("data/item_feat_dict.json", "")),
    Case("features cut", "train", cut("data/item_feat_dict.json")),
    Case("features a directory", "train", make_directory("data/item_feat_dict.json")),
    Case("features a list", "train", put("data/item_feat_dict.json", "[1]")),
    Case("features not UTF-8", "train", put("data/item_feat_dict.json", b'{"1": {"100": "\xff"}}')),
    Case("features deep", "train", put("data/item_feat_dict.json", "[" * 100_000)),
    Case("features of an item a number", "train", put("data/item_feat_dict.json", '{"1": 5}')),
    Case("features of an item a list", "train", put("data/item_feat_dict.json", '{"1": ["100"]}')),
    Case("features huge", "train", put("data/item_feat_dict.json", '{"1": {"100": 99999999999999999999, "101": NaN}}'), code=0),
    Case("features a list for a number", "train", put("data/item_feat_dict.json", '{"1": {"100": [1]}}'), code=0),
    # seq.jsonl, seq_offsets.pkl
    Case("sequences missing", "train", remove("data/seq.jsonl")),
    Case("sequences empty", "train", put("data/seq.jsonl", "")),
    Case("sequences cut", "train", cut("data/seq.jsonl", 0.9)),
    Case("sequences a directory", "train", make_directory("data/seq.jsonl")),
    Case("sequences not UTF-8", "train", lines("seq", b"\xff\xfe", b"[\xff]")),
    Case("sequences one bad line", "train", add_lines(b"\xff"), code=0, says="1 not valid JSON"),
    Case("sequences all of other forms", "train", lines("seq", {"user": 1}, [1, 2], [[1, 2]], 5, None)),
    Case("sequences of one user", "train", lines("seq", [event, event, event])),
    Case("sequences of profiles alone", "train", lines("seq", [PROFILE], [PROFILE])),
    Case("sequences of unknown items", "train", lines("seq", *[[[n, 1000 + i, None, {}, 0, i] for i in range(4)] for n in range(1, 30)])),
    Case("sequences time NaN", "train", add_lines(b'[[1, 1, null, null, 0, NaN]]'), code=0, says="1 no usable record"),
    Case("sequences time far", "train", add_lines([[1, 1, None, None, 0, HUGE - 1], [1, 2, None, None, 0, 0]]), "--time_features", code=0),
    Case("sequences item far", "train", add_lines([[1, HUGE - 1, None, {}, 0, 1], [1, 2, None, None, 0, 2]]), code=0),
    Case("sequences item beyond", "train", add_lines([[1, 2**70, None, {}, 0, 1], [1, 2, None, None, 0, 2]]), code=0),
    Case("sequences action 127", "train", add_lines([[1, 1, None, None, 127, 1], [1, 2, None, None, 127, 2]]), "--use_action_type", code=0),
    Case("sequences user with escapes", "train", add_lines([[BEL, 1, None, None, 0, 1], [BEL, 2, None, None, 0, 2]]), code=0),
    Case("sequences lone surrogate", "train", add_lines(b'[["\\ud800", 1, null, null, 0, 1], ["\\ud800", 2, null, null, 0, 2]]'), code=0),
    Case("sequences deep line", "train", add_lines(b"[" * 50_000), code=0, says="1 not valid JSON"),
    Case("sequences profile features odd", "train", add_lines([[1, None, {"103": {}, "106": "x", "107": [None, [1]]}, None, None, 0], event, event]), code=0),
    Case("offsets missing", "train", remove("data/seq_offsets.pkl")),
    Case("offsets empty", "train", put("data/seq_offsets.pkl", b"")),
    Case("offsets of another file", "train", pickled("data/seq_offsets.pkl", [0, 5])),
    Case("offsets of text", "train", pickled("data/seq_offsets.pkl", ["0"])),
    Case("offsets negative", "train", pickled("data/seq_offsets.pkl", [-1])),
    Case("offsets a dict of floats", "train", pickled("data/seq_offsets.pkl", {0: 0.5})),
    Case("offsets a dict by float", "train", pickled("data/seq_offsets.pkl", {"a": 1, "b": 2})),
    Case("offsets a number", "train", pickled("data/seq_offsets.pkl", 3)),
    Case("offsets an array of floats", "train", pickled("data/seq_offsets.pkl", np.array([0.5]))),
    Case("offsets a directory", "train", make_directory("data/seq_offsets.pkl")),
    # creative_emb
    Case("vectors missing", "train", remove("data/creative_emb/emb_81_8.pkl")),
    Case("vectors empty", "train", put("data/creative_emb/emb_81_8.pkl", b"")),
    Case("vectors a directory", "train", make_directory("data/creative_emb/emb_81_8.pkl")),
    Case("vectors none", "train", pickled("data/creative_emb/emb_81_8.pkl", {})),
    Case("vectors twice", "train", put("data/creative_emb/emb_81_9.pkl", b"")),
    Case("vectors of another width", "train", vectors(lambda v: v.update({first(v): np.ones(7, np.float32)}))),
    Case("vectors of another width, name with escapes", "train", vectors(lambda v: v.update({BEL: np.ones(7, np.float32)}))),
    Case("vectors one NaN", "train", vectors(lambda v: v.update({first(v): np.full(8, np.nan, np.float32)}))),
    Case("vectors infinite", "train", all_vectors(np.inf)),
    Case("vectors of 3e38", "train", all_vectors(3e38)),
    Case("vectors float64 too large", "train", vectors(lambda v: v.update({first(v): np.full(8, 1e300)}))),
    Case("vectors of text", "train", vectors(lambda v: v.update({first(v): ["a"] * 8}))),
    Case("vectors of width 0", "train", lambda d: (d / "data/creative_emb/emb_81_8.pkl").rename(d / "data/creative_emb/emb_81_0.pkl")),
    Case("vectors of a width beyond", "train", lambda d: (d / "data/creative_emb/emb_81_8.pkl").rename(d / "data/creative_emb/emb_81_99999999999999999999.pkl")),
    Case("vectors folder a file", "train", both(lambda d: shutil.rmtree(d / "data/creative_emb"), put("data/creative_emb", ""))),
    Case("json vectors cut", "train", json_vectors('{"anonymous_cid": "1", "emb": [1, 2')),
    Case("json vectors not UTF-8", "train", json_vectors(b"\xff\xfe")),
    Case("json vectors deep", "train", json_vectors("[" * 100_000)),
    Case("json vectors a list", "train", json_vectors("[]")),
    Case("json vectors of text", "train", json_vectors('{"anonymous_cid": "1", "emb": "12345678"}')),
    Case("json vectors of null", "train", json_vectors('{"anonymous_cid": "1", "emb": [null, 1, 1, 1, 1, 1, 1, 1]}')),
    Case("json vectors NaN", "train", json_vectors('{"anonymous_cid": "1", "emb": [NaN, 1, 1, 1, 1, 1, 1, 1]}')),
    Case("json vectors nested", "train", json_vectors('{"anonymous_cid": "1", "emb": [[1], 2]}')),
    Case("json vectors without a file", "train", both(remove("data/creative_emb/emb_81_8.pkl"), lambda d: (d / "data/creative_emb/emb_81_8").mkdir())),
    Case("json vectors a directory", "train", both(remove("data/creative_emb/emb_81_8.pkl"), lambda d: (d / "data/creative_emb/emb_81_8/a.json").mkdir(parents=True))),
    # semantic_id_dict.json
    Case("codes empty", "train", put("data/semantic_id_dict.json", "")),
    Case("codes none", "train", put("data/semantic_id_dict.json", "{}")),
    Case("codes a list", "train", put("data/semantic_id_dict.json", "[]")),
    Case("codes a directory", "train", make_directory("data/semantic_id_dict.json")),
    Case("codes of lengths", "train", put("data/semantic_id_dict.json", '{"1": [1], "2": [1, 2]}')),
    Case("codes negative", "train", codes([-1, 0])),
    Case("codes beyond int32", "train", codes([2**31, 0])),
    Case("codes beyond int64", "train", codes([2**64, 0])),
    Case("codes of more rows than memory", "train", codes([2**31 - 5, 0])),
    Case("codes true", "train", codes([True, 0])),
    Case("codes of escapes", "train", put("data/semantic_id_dict.json", json.dumps({BEL: [-1]}))),
    # places
    Case("data a file", "train", both(lambda d: shutil.rmtree(d / "data"), put("data", ""))),
    Case("data with brackets and spaces", "train", lambda d: shutil.copytree(d / "data", d / "my [data] 1"), ["--data_dir", "{}/my [data] 1"], code=0),
    Case("logs a file", "train", both(lambda d: shutil.rmtree(d / "logs"), put("logs", ""))),
    Case("curves a file", "train", put("tb", ""), "--tracker tensorboard --seed 3"),
    Case("cache a file", "train", both(lambda d: shutil.rmtree(d / "cache"), put("cache", ""))),
    Case("cache card empty", "train", put("cache/train/entry.json", "")),
    Case("cache card a list", "train", put("cache/train/entry.json", "[]")),
    Case("cache card without a report", "train", edit_json("cache/train/entry.json", lambda c: c.pop("report"))),
    Case("cache array missing", "train", remove("cache/train/item.npy"), "--seed 3"),
    Case("cache array empty", "train", put("cache/train/item.npy", b""), "--seed 3"),
    Case("cache array cut", "train", cut("cache/train/item.npy"), "--seed 3"),
    Case("cache array changed", "train", flip("cache/train/item.npy", -1), "--seed 3"),
    Case("cache entry a file", "train", both(lambda d: shutil.rmtree(d / "cache/train"), put("cache/train", "")), "--seed 3"),
    # what a run left
    Case("run.json empty", "train", put("logs/run.json", "")),
    Case("run.json a list", "train", put("logs/run.json", "[]")),
    Case("run.json other keys", "train", put("logs/run.json", "{}")),
    Case("run.json config a list", "train", put("logs/run.json", '{"config": [], "inputs": {}}')),
    Case("checkpoint empty", "train", both(remove("logs/training.json"), put("logs/checkpoint.safetensors", b""))),
    Case("checkpoint cut", "train", both(remove("logs/training.json"), cut("logs/checkpoint.safetensors"))),
    Case("checkpoint a directory", "train", both(remove("logs/training.json"), make_directory("logs/checkpoint.safetensors"))),
    Case("checkpoint without a header", "train", both(remove("logs/training.json"), weights(lambda t, h: h.pop("training"), "checkpoint.safetensors"))),
    Case("checkpoint header a list", "train", both(remove("logs/training.json"), weights(lambda t, h: h.update(training="[]"), "checkpoint.safetensors"))),
    Case("checkpoint header no JSON", "train", both(remove("logs/training.json"), weights(lambda t, h: h.update(training="{"), "checkpoint.safetensors"))),
    Case("checkpoint lacks a tensor", "train", both(remove("logs/training.json"), weights(lambda t, h: t.pop(first(t)), "checkpoint.safetensors"))),
    Case("checkpoint has one more", "train", both(remove("logs/training.json"), weights(lambda t, h: t.update({"model.x": torch.ones(1)}), "checkpoint.safetensors"))),
    Case("checkpoint NaN", "train", both(remove("logs/training.json"), weights(lambda t, h: t["model.model.item.weight" if "model.model.item.weight" in t else first(t)].fill_(float("nan")), "checkpoint.safetensors"))),
    Case("best lost at the end", "train", both(remove("logs/training.json"), remove("logs/best_model.safetensors"))),
    Case("train.log not UTF-8", "train", both(remove("logs/training.json"), remove("logs/checkpoint.safetensors"), put("logs/train.log", b"\xff}\n"))),
    Case("train.log other lines", "train", both(remove("logs/training.json"), remove("logs/checkpoint.safetensors"), put("logs/train.log", '{"a": 1}\n{}\n[}\n')), code=0),
    Case("train.log a directory", "train", both(remove("logs/training.json"), remove("logs/checkpoint.safetensors"), make_directory("logs/train.log"))),
    # models
    Case("model missing", "infer", remove("logs/best_model.safetensors")),
    Case("model empty", "infer", put("logs/best_model.safetensors", b"")),
    Case("model cut", "infer", cut("logs/best_model.safetensors")),
    Case("model changed by a bit", "infer", flip("logs/best_model.safetensors")),
    Case("model pt changed by a bit", "infer", flip("logs/best_model.pt", 2000), "--state_dict_path {}/logs/best_model.pt"),
    Case("model text", "infer", put("logs/best_model.safetensors", "weights")),
    Case("model directory empty", "infer", make_directory("logs/none"), "--state_dict_path {}/logs/none"),
    Case("model pt a directory", "infer", make_directory("logs/other.pt"), OTHER),
    Case("model lacks a tensor", "infer", weights(lambda t, h: t.pop(first(t)))),
    Case("model has one more", "infer", weights(lambda t, h: t.update({"x": torch.ones(1)}))),
    Case("model of another shape", "infer", weights(lambda t, h: t.update({first(t): torch.ones(1)}))),
    Case("model NaN", "infer", weights(lambda t, h: [x.fill_(float("nan")) for x in t.values() if x.is_floating_point()])),
    Case("model 3e38", "infer", weights(lambda t, h: [x.fill_(3e38) for x in t.values() if x.is_floating_point()])),
    Case("card no JSON", "infer", weights(lambda t, h: h.update(card="{"))),
    Case("card a list", "infer", weights(lambda t, h: h.update(card="[]"))),
    Case("card without a shape", "infer", header(lambda c: c.pop("shape"))),
    Case("card with another shape", "infer", header(lambda c: c["shape"].update(depth=3))),
    Case("card with a shape of text", "infer", header(lambda c: c["shape"].update(hidden_size="8"))),
    Case("card without a schema", "infer", header(lambda c: c.pop("schema"))),
    Case("card with other features", "infer", header(lambda c: c["schema"].update(item_sparse={"1": 2}))),
    Case("card with items beyond memory", "infer", header(lambda c: c["schema"].update(num_items=2**50))),
    Case("pt text", "infer", put("logs/other.pt", "weights"), OTHER),
    Case("pt empty", "infer", put("logs/other.pt", ""), OTHER),
    Case("pt a list", "infer", torch_file([1]), OTHER),
    Case("pt a tensor", "infer", torch_file(torch.ones(2)), OTHER),
    Case("pt of numbers", "infer", torch_file({"model_state_dict": {"a": 1}}), OTHER),
    Case("pt weights a list", "infer", torch_file({"model_state_dict": [1], "config": "{}"}), OTHER),
    Case("pt card no JSON", "infer", torch_file({"model_state_dict": {}, "config": "{"}), OTHER),
    Case("pt card a number", "infer", torch_file({"model_state_dict": {}, "config": 3}), OTHER),
    Case("pt runs code", "infer", lambda d: (d / "logs/other.pt").write_bytes(b"\x80\x04cos\nsystem\nX\x04\x00\x00\x00true\x85R."), OTHER),
    Case("results a file", "infer", put("out", "")),
    # queries and candidates
    Case("queries without candidates", "infer", remove("data/predict_set.jsonl"), code=0),
    Case("queries empty", "infer", put("data/predict_seq.jsonl", "")),
    Case("queries a directory", "infer", make_directory("data/predict_seq.jsonl")),
    Case("queries without offsets", "infer", remove("data/predict_seq_offsets.pkl")),
    Case("candidates empty", "infer", put("data/predict_set.jsonl", "")),
    Case("candidates a directory", "infer", make_directory("data/predict_set.jsonl")),
    Case("candidates of other forms", "infer", put("data/predict_set.jsonl", b'{}\n[]\n\xff\n3\n')),
    Case("candidate id beyond uint64", "infer", put("data/predict_set.jsonl", json.dumps({"creative_id": 1, "retrieval_id": 2**64, "features": {}}))),
    Case("candidate id twice", "infer", put("data/predict_set.jsonl", "\n".join(json.dumps({"creative_id": n, "retrieval_id": 1, "features": {}}) for n in (1, 2)))),
    Case("candidate name long", "infer", put("data/predict_set.jsonl", json.dumps({"creative_id": "a" * 10_000, "retrieval_id": 1, "features": {}}))),
    Case("candidate name with NUL", "infer", put("data/predict_set.jsonl", json.dumps({"creative_id": "a\0", "retrieval_id": 1, "features": {}}))),
    Case("candidate features odd", "infer", put("data/predict_set.jsonl", json.dumps({"creative_id": 1, "retrieval_id": 1, "features": {"100": {}, "101": [1], "102": "x"}})), code=0),
    # semantic IDs
    Case("ids place a file", "rqvae", both(lambda d: shutil.rmtree(d / "ids"), put("ids", ""))),
    Case("ids of vectors 3e38", "rqvae", all_vectors(3e38), "--clean"),
    Case("ids of zeros", "rqvae", all_vectors(0), "--clean"),
    Case("ids of more codes than items", "rqvae", leave, "--codebook_size 1000 --clean"),
    Case("ids card empty", "rqvae", put("ids/rqvae.json", "")),
    Case("ids card a list", "rqvae", put("ids/rqvae.json", "[]")),
    Case("ids card other keys", "rqvae", put("ids/rqvae.json", "{}")),
    Case("ids other settings", "rqvae", leave, "--seed 3"),
    Case("ids begun empty", "rqvae", both(remove("ids/rqvae.json"), put("ids/rqvae.partial/begun.json", ""))),
    Case("ids begun checkpoint empty", "rqvae", both(lambda d: shutil.copytree(d / "ids", d / "ids/rqvae.partial"), lambda d: (d / "ids/rqvae.json").rename(d / "ids/rqvae.partial/begun.json"), put("ids/rqvae.partial/checkpoint.safetensors", ""))),
    Case("ids add without", "rqvae", lambda d: shutil.rmtree(d / "ids"), "--add"),
    Case("ids add model empty", "rqvae", put("ids/rqvae_model.safetensors", ""), "--add"),
    Case("ids add model changed", "rqvae", flip("ids/rqvae_model.safetensors"), "--add"),
    Case("ids add model of another header", "rqvae", lambda d: save_file({"a": torch.ones(1)}, d / "ids/rqvae_model.safetensors", {"quantizer": "{}"}), "--add"),
    Case("ids add codes empty", "rqvae", put("ids/semantic_id_dict.json", ""), "--add"),
    Case("ids up to date but codes gone", "rqvae", remove("ids/semantic_id_dict.json")),
    Case("ids up to date but codes changed", "rqvae", flip("ids/semantic_id_dict.json", 4)),
    # a prepared run
    Case("run missing", "run", leave),
    Case("run a file", "run", put("run", "")),
    Case("run empty", "run", lambda d: (d / "run").mkdir()),
    Case("run manifest a list", "run", put("run/data/manifest.json", "[]")),
    # the sample
    Case("sample place a file", "sample", put("made", "")),
]

FLAGS = [
    *[("train", flag) for flag in [
        "--seed 18446744073709551616", "--seed -1", "--seed 1.5", "--seed .nan", "--seed x", "--num_epochs -1", "--num_epochs .inf", "--num_epochs 0", "--num_epochs 1e30",
        "--learning_rate .inf", "--learning_rate .nan", "--learning_rate 0", "--learning_rate -1", "--learning_rate 1e6", "--temperature .inf", "--temperature 0", "--temperature 1e-40", "--temperature 1e9",
        "--valid_share 1e-9", "--valid_share 0", "--valid_share 1", "--valid_share .nan", "--valid_share 0.999999",
        "--dropout 1", "--dropout -0.1", "--hidden_size 0", "--hidden_size 1000000000", "--num_layers 100000000", "--num_heads 0", "--num_heads 3 --hidden_size 8", "--max_history 0", "--max_history 2000000000",
        "--batch_size 0", "--batch_size 4000000000", "--num_negatives 0", "--num_negatives 1000000000", "--popularity_factor .inf", "--popularity_factor 1e9 --use_smart_sampling", "--weight_decay .nan", "--weight_decay 1e9 --optimizer adamw", "--grad_clip -1", "--grad_clip .nan",
        "--grad_clip 1e-30", "--l2_emb .inf", "--l2_emb 1e9", "--early_stop -1", "--save_freq -1", "--save_steps -1", "--warmup_steps -1", "--warmup_steps 4000000000", "--num_workers -1", "--num_workers 100000", "--dynamic_candidates 0", "--dynamic_candidates 1000000000",
        "--device moon", "--device cuda:99", "--device meta", "--device mps", "--device cpu:7", "--mm_emb_id 99", "--mm_emb_id ../x", "--mm_emb_id 81 81", "--mm_emb_id ''", "--source moon", "--source run", "--similarity moon", "--use_adaptive_similarity --similarity_types",
        "--use_adaptive_similarity --similarity_types dot dot", "--loss moon", "--config", "--config nowhere.yaml", "--nonsense 1", "--data_dir", "--data_dir ''", "--inference_only", "--use_curriculum_learning", "--tracker moon", "--log_dir ''", "--learning_rate [1]", "--seed {a: 1}",
        "--data_dir nowhere", "--rotary --hidden_size 6 --num_heads 2", "--batch_size ''", "--seed 'a\x1b[31mb'", "--lr 1e400", "--mm_emb_id \x1b[31m",
    ]],
    *[("rqvae", flag) for flag in ["--seed 18446744073709551616", "--num_epochs -1", "--num_epochs .inf", "--num_levels 0", "--num_levels 1000000000 --clean", "--codebook_size 0", "--codebook_size 1 --clean", "--learning_rate .nan", "--learning_rate 1e6 --clean", "--beta .inf", "--beta 1e9 --clean", "--batch_size 0", "--mm_emb_id", "--mm_emb_id 81 81 --clean", "--mm_emb_id 82"]],
    *[("sample", flag) for flag in ["--users 1", "--items 3", "--longest 2", "--seed -1", "--seed 18446744073709551616", "--mm_emb_id 99", "--width 0", "--width 4000000000", "--users 4000000000", "--users .inf", "--longest 4000000000", "--mm_emb_id 81 81"]],
]


def build_place(directory: Path) -> None:
    """A small sample, a training of it that is finished, and its semantic IDs."""
    write_sample(directory / "data", num_users=30, num_items=40, mm_emb_id=("81",), widths={"81": 8}, longest=8)
    for name in ("train", "rqvae"):
        check_answer(run_command(name, directory), 0, "")


def run_command(name: str, place: Path, flags: str | list[str] = ""):
    more = shlex.split(flags) if isinstance(flags, str) else flags
    words = [word.replace("{}", str(place)) for word in [*COMMANDS[name].split(), *more]]
    return call(MAINS[name], [f"{name}.py", *words], place)
