"""What people and disks do to UR4Rec's files and flags: an exit code and one line for each, never a traceback."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import example_data_loading
import test_adaptive_simple
import test_adaptive_training
from tests.adversarial.wings import Case, both, call, check_answer, cut, flip, leave, make_directory, put, remove
from tests.ur4rec.small import film_id, write_collection, write_posters
from UR4Rec.data import dataset_loader, features, multimodal_dataset
from UR4Rec.models import llm_generator
from UR4Rec.scripts import preprocess_multimodal_dataset as preprocess
from UR4Rec.scripts import train

DATA = "--data_dir {}/raw"
COMMANDS = {
    "train": f"{DATA} --output_dir {{}}/out --cache {{}}/vectors --sasrec_dim 8 --retriever_dim 8 --heads 2 --batch_size 64"
    " --max_history 6 --pretrain_sasrec_epochs 1 --pretrain_retriever_epochs 0 --joint_finetune_epochs 0 --end_to_end_epochs 0",
    "load": DATA,
    "batches": DATA,
    "preprocess": f"{DATA} --output_dir {{}}/plain",
    "texts": f"{DATA} --output_dir {{}}/texts --backend none --snapshots 1",
    "example": DATA,
    "compare": f"{DATA} --pretrain_epochs 0 --num_epochs 1 --hidden_size 8",
    "rule": "",
}
MAINS = {
    "train": train.main, "load": dataset_loader.main, "batches": multimodal_dataset.main, "preprocess": preprocess.main,
    "texts": llm_generator.main, "example": example_data_loading.main, "compare": test_adaptive_training.main, "rule": test_adaptive_simple.main,
}
BEL = "\x1b]0;x\x07"


def count_letters(texts, settings, work):
    work.mkdir(parents=True)
    return np.array([[text.count(letter) for letter in "abcdefghi019"] for text in texts], dtype=np.float32) + 0.1


def build_place(directory: Path) -> None:
    """A collection with posters, a training of it that is finished, and texts about its users and items."""
    features.encode_items, features.checkpoint_fingerprint = count_letters, lambda encoder: "letters"
    write_collection(directory / "raw", num_films=130)
    write_posters(directory / "raw/image", [film_id(n) for n in range(1, 20)])
    for name in ("train", "texts"):
        check_answer(run_command(name, directory), 0, "")


def run_command(name: str, place: Path, flags: str | list[str] = ""):
    more = shlex.split(flags) if isinstance(flags, str) else flags
    words = [word.replace("{}", str(place)) for word in [*COMMANDS[name].split(), *more]]
    return call(MAINS[name], [f"{name}.py", *words], place)


def again(*names):
    """Training is not finished: its record is gone."""
    return both(remove("out/training.json"), *names)


def add(name, text):
    def spoil(directory: Path) -> None:
        with (directory / name).open("ab") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    return spoil


def edit_json(name, change):
    def spoil(directory: Path) -> None:
        value = json.loads((directory / name).read_text())
        change(value)
        (directory / name).write_text(json.dumps(value))

    return spoil


def image(value):
    return lambda directory: np.save(directory / "image.npy", value, allow_pickle=True)


def checkpoint(spoil_file):
    """A training that stopped after its first stage's epoch, and whose checkpoint was spoiled."""
    stage = "out/stages/pretrain_sasrec/checkpoint.safetensors"

    def spoil(directory: Path) -> None:
        remove("out/training.json")(directory)
        answer = run_command("train", directory)  # finishes; its checkpoints are kept for us
        spoil_file(directory, stage)

    return spoil


IMAGES = "--images {}/image.npy --output_dir {}/new"
N = 131
GOOD = np.zeros((N, 4), np.float32) + np.arange(N)[:, None].astype(np.float32)
PREFS = "--preferences {}/texts/user_preferences.json --output_dir {}/new"
NEW = "--output_dir {}/new"

CASES = [
    # movies.dat
    Case("films missing", "load", remove("raw/movies.dat")),
    Case("films empty", "load", put("raw/movies.dat", "")),
    Case("films a directory", "load", make_directory("raw/movies.dat")),
    Case("films of other columns", "load", put("raw/movies.dat", "1::a\n2::b\n")),
    Case("films binary", "load", put("raw/movies.dat", bytes(range(256)) * 50)),
    Case("films title with escapes", "load", add("raw/movies.dat", f"999::{BEL} Film (1999)::Drama\n"), code=0),
    Case("films genre with escapes", "load", lambda d: put("raw/movies.dat", (d / "raw/movies.dat").read_text().replace("Drama", BEL))(d), code=0),
    Case("films id huge", "load", add("raw/movies.dat", "99999999999999999999999::Film::Drama\n")),
    Case("films id negative", "load", add("raw/movies.dat", "-5::Film::Drama\n"), code=0),
    Case("films id not a number", "load", add("raw/movies.dat", "x::Film::Drama\n")),
    Case("films id in other digits", "load", add("raw/movies.dat", "\u0663::Film::Drama\n".encode("utf-8"))),
    Case("films id twice", "load", add("raw/movies.dat", "3::Other::Drama\n")),
    Case("films none rated", "load", put("raw/movies.dat", "100000::Film::Drama\n")),
    # ratings.dat
    Case("ratings missing", "load", remove("raw/ratings.dat")),
    Case("ratings empty", "load", put("raw/ratings.dat", "")),
    Case("ratings a directory", "load", make_directory("raw/ratings.dat")),
    Case("ratings cut", "load", cut("raw/ratings.dat", 0.5), code=0),
    Case("ratings tab-separated", "load", put("raw/ratings.dat", "1\t3\t5\t100\n")),
    Case("ratings NaN", "load", put("raw/ratings.dat", "".join(f"1::{3 * n}::nan::5\n" for n in range(1, 9)))),
    Case("ratings infinite", "load", put("raw/ratings.dat", "".join(f"1::{3 * n}::inf::5\n" for n in range(1, 9)))),
    Case("ratings time NaN", "load", put("raw/ratings.dat", "".join(f"1::{3 * n}::5::nan\n" for n in range(1, 9)))),
    Case("ratings time infinite", "load", put("raw/ratings.dat", "".join(f"1::{3 * n}::5::inf\n" for n in range(1, 9)))),
    Case("ratings time huge", "load", put("raw/ratings.dat", "".join(f"1::{3 * n}::5::1e300\n" for n in range(1, 9)))),
    Case("ratings user huge", "load", put("raw/ratings.dat", "".join(f"99999999999999999999::{3 * n}::5::1\n" for n in range(1, 9)))),
    Case("ratings user of text", "load", put("raw/ratings.dat", "".join(f"bob::{3 * n}::5::1\n" for n in range(1, 9)))),
    Case("ratings not UTF-8", "load", put("raw/ratings.dat", b"\xff\xfe\x00" * 100)),
    Case("ratings all low", "load", put("raw/ratings.dat", "".join(f"1::{3 * n}::1::5\n" for n in range(1, 9)))),
    Case("ratings of one user", "batches", put("raw/ratings.dat", "".join(f"1::{3 * n}::5::5\n" for n in range(1, 9))), code=0),
    Case("ratings of a user who saw everything", "batches", put("raw/ratings.dat", "".join(f"1::{3 * n}::5::5\n" for n in range(1, 131)))),
    Case("ratings of a user with few unseen", "batches", put("raw/ratings.dat", "".join(f"1::{3 * n}::5::5\n" for n in range(1, 60)))),
    Case("ratings huge number", "load", put("raw/ratings.dat", "".join(f"1::{3 * n}::1e300::5\n" for n in range(1, 9)))),
    # text.xls
    Case("texts missing", "load", remove("raw/text.xls")),
    Case("texts empty", "load", put("raw/text.xls", "")),
    Case("texts a directory", "load", make_directory("raw/text.xls")),
    Case("texts of other columns", "load", put("raw/text.xls", "a\tb\n1\t2\n")),
    Case("texts not UTF-8", "load", put("raw/text.xls", b"movie-id\treview\n3\t\xff\xfe\n")),
    Case("texts id of text", "load", put("raw/text.xls", "movie-id\treview\nx\ttext\n")),
    Case("texts id NaN", "load", put("raw/text.xls", "movie-id\treview\nnan\ttext\n")),
    Case("texts id infinite", "load", put("raw/text.xls", "movie-id\treview\ninf\ttext\n")),
    Case("texts half an old Excel file", "load", put("raw/text.xls", b"\xd0\xcf\x11\xe0" + b"\0" * 600)),
    Case("texts half a new Excel file", "load", put("raw/text.xls", b"PK\x03\x04" + b"\0" * 600)),
    Case("texts field of 200,000 characters", "load", put("raw/text.xls", "movie-id\treview\n3\t" + "a" * 200_000 + "\n"), code=0),
    Case("texts unclosed quote", "load", put("raw/text.xls", 'movie-id\treview\n3\t"a\n6\tb\n'), code=0),
    Case("texts with NUL", "load", put("raw/text.xls", "movie-id\treview\n3\ta\0b\n"), code=0),
    Case("texts BOM", "load", put("raw/text.xls", b"\xef\xbb\xbfmovie-id\treview\n3\tabc\n"), code=0),
    Case("texts one column", "load", put("raw/text.xls", "movie-id\treview\n3\n"), code=0),
    # user.dat
    Case("users missing", "load", remove("raw/user.dat"), code=0),
    Case("users empty", "load", put("raw/user.dat", "")),
    Case("users a directory", "load", make_directory("raw/user.dat")),
    Case("users of other columns", "load", put("raw/user.dat", "1::F\n")),
    Case("users age of text", "load", put("raw/user.dat", "1::F::old::writer::1\n")),
    Case("users binary", "load", put("raw/user.dat", b"\xff\0\n" * 9)),
    # posters
    Case("posters a file", "batches", both(lambda d: shutil.rmtree(d / "raw/image"), put("raw/image", "")), "--load_images"),
    Case("posters none", "batches", both(lambda d: shutil.rmtree(d / "raw/image"), lambda d: (d / "raw/image").mkdir()), "--load_images", code=0),
    Case("posters text", "batches", lambda d: [put(f"raw/image/{p.name}", "no image")(d) for p in (d / "raw/image").iterdir()] + [put(f"raw/image/{3 * n}.png", "no")(d) for n in range(1, 131)], "--load_images"),
    Case("posters empty", "preprocess", put("raw/image/3.png", ""), "--copy_images"),
    Case("posters cut", "preprocess", cut("raw/image/3.png"), "--copy_images"),
    Case("posters a directory", "preprocess", make_directory("raw/image/3.png"), "--copy_images"),
    Case("posters a bomb", "preprocess", lambda d: (d / "raw/image/3.png").write_bytes(bomb()), "--copy_images"),
    Case("posters of other digits", "batches", put("raw/image/\u00b2.png", "x"), "--load_images", code=0),
    Case("posters of too many digits", "batches", put("raw/image/" + "1" * 200 + ".png", "x"), "--load_images", code=0),
    # image.npy
    Case("vectors missing", "train", leave, IMAGES),
    Case("vectors empty", "train", put("image.npy", ""), IMAGES),
    Case("vectors text", "train", put("image.npy", "abc"), IMAGES),
    Case("vectors cut", "train", both(image(GOOD), cut("image.npy")), IMAGES),
    Case("vectors of objects", "train", image(np.array([{}] * N, dtype=object)), IMAGES),
    Case("vectors an npz", "train", lambda d: np.savez((d / "image.npy").open("wb"), a=GOOD), IMAGES),
    Case("vectors of other rows", "train", image(GOOD[:-1]), IMAGES),
    Case("vectors of width 0", "train", image(GOOD[:, :0]), IMAGES),
    Case("vectors whole numbers", "train", image(GOOD.astype(int)), IMAGES),
    Case("vectors NaN", "train", image(np.where(GOOD == 5, np.nan, GOOD)), IMAGES),
    Case("vectors huge", "train", image(GOOD.astype(np.float64) * 1e300), IMAGES),
    Case("vectors 3e38", "train", image(np.full_like(GOOD, 3e38)), IMAGES),
    Case("vectors all zero", "train", image(GOOD * 0), IMAGES),
    Case("vectors row 0 not zero", "train", image(GOOD + 1), IMAGES),
    Case("vectors one number", "train", image(np.float32(1)), IMAGES),
    # plots
    Case("plots missing", "load", leave, "--plots {}/plots.jsonl"),
    Case("plots of plain MovieLens wrong", "load", both(put("plots.jsonl", "{"), lambda d: plain(d)), "--plots {}/plots.jsonl"),
    # descriptions, preferences
    Case("descriptions missing", "train", leave, f"--descriptions {{}}/d.json {NEW}"),
    Case("descriptions empty", "train", put("d.json", ""), f"--descriptions {{}}/d.json {NEW}"),
    Case("descriptions a list", "train", put("d.json", "[]"), f"--descriptions {{}}/d.json {NEW}"),
    Case("descriptions of numbers", "train", put("d.json", '{"3": 5}'), f"--descriptions {{}}/d.json {NEW}"),
    Case("descriptions a directory", "train", make_directory("d.json"), f"--descriptions {{}}/d.json {NEW}"),
    Case("descriptions not UTF-8", "train", put("d.json", b'{"3": "\xff"}'), f"--descriptions {{}}/d.json {NEW}"),
    Case("descriptions of no item", "train", put("d.json", '{"nobody": "text"}'), f"--descriptions {{}}/d.json {NEW}"),
    Case("descriptions with surrogates", "train", put("d.json", '{"3": "\\ud800"}'), f"--descriptions {{}}/d.json {NEW}"),
    Case("preferences missing", "train", remove("texts/user_preferences.json"), PREFS),
    Case("preferences empty", "train", put("texts/user_preferences.json", ""), PREFS),
    Case("preferences a list", "train", put("texts/user_preferences.json", "[]"), PREFS),
    Case("preferences of nobody", "train", both(put("texts/user_preferences.json", '{"5": "x"}'), put("texts/user_preference_snapshots.json", '{"5": {"1": "x"}}')), PREFS),
    Case("preferences without their origin", "train", remove("texts/made_of.json"), PREFS),
    Case("preferences origin empty", "train", put("texts/made_of.json", ""), PREFS),
    Case("preferences origin a list", "train", put("texts/made_of.json", "[]"), PREFS),
    Case("preferences snapshots missing", "train", remove("texts/user_preference_snapshots.json"), PREFS),
    Case("preferences snapshots a list", "train", put("texts/user_preference_snapshots.json", "[]"), PREFS),
    Case("preferences snapshots of text", "train", put("texts/user_preference_snapshots.json", '{"101": "x"}'), PREFS),
    Case("preferences snapshots of a moment never", "train", edit_json("texts/user_preference_snapshots.json", lambda s: s["101"].update({"1000": "x"})), PREFS),
    Case("preferences snapshots negative", "train", edit_json("texts/user_preference_snapshots.json", lambda s: s["101"].update({"-3": "x"})), PREFS),
    Case("preferences snapshots number", "train", edit_json("texts/user_preference_snapshots.json", lambda s: s["101"].update({"2": 7})), PREFS),
    # what a training left
    Case("settings empty", "train", put("out/settings.json", "")),
    Case("settings a list", "train", put("out/settings.json", "[]")),
    Case("settings other keys", "train", put("out/settings.json", "{}")),
    Case("settings gone, training finished", "train", remove("out/settings.json")),
    Case("settings a directory", "train", make_directory("out/settings.json")),
    Case("settings of others", "train", leave, "--seed 3"),
    Case("record empty", "train", put("out/training.json", "")),
    Case("record a directory", "train", make_directory("out/training.json")),
    Case("best changed", "train", flip("out/best.safetensors")),
    Case("best gone", "train", remove("out/best.safetensors")),
    Case("results changed", "train", flip("out/fused/results.json", 40)),
    Case("output a file", "train", put("new", ""), NEW),
    Case("vectors kept empty", "train", lambda d: [p.write_bytes(b"") for p in (d / "vectors").glob("*.npz")], NEW),
    Case("vectors kept cut", "train", lambda d: [p.write_bytes(p.read_bytes()[:-300]) for p in (d / "vectors").glob("*.npz")], NEW),
    Case("vectors kept changed", "train", lambda d: [flip(f"vectors/{p.name}", 200)(d) for p in (d / "vectors").glob("*.npz")], NEW),
    Case("vectors kept of other names", "train", lambda d: [np.savez(p, a=1) for p in (d / "vectors").glob("*.npz")], NEW),
    Case("vectors kept of another shape", "train", lambda d: [np.savez(p, vector=np.ones((2, 2), np.float32), present=np.ones(2, bool)) for p in (d / "vectors").glob("*.npz")], NEW),
    Case("vectors place a file", "train", put("v", ""), f"{NEW} --cache {{}}/v"),
    # texts
    Case("texts made of nothing", "texts", put("texts/made_of.json", "")),
    Case("texts made of a list", "texts", put("texts/made_of.json", "[]")),
    Case("texts without an origin", "texts", remove("texts/made_of.json")),
    Case("texts of other data", "texts", add("raw/ratings.dat", "101::3::5::1\n")),
    Case("texts file empty", "texts", put("texts/user_preferences.json", "")),
    Case("texts file a list", "texts", put("texts/user_preferences.json", "[]")),
    Case("texts snapshots wrong", "texts", put("texts/user_preference_snapshots.json", "[]")),
    Case("texts place a file", "texts", both(lambda d: shutil.rmtree(d / "texts"), put("texts", ""))),
    Case("answers a directory", "texts", make_directory("new/llm_cache/answers.jsonl"), f"--backend openai --base_url http://127.0.0.1:9/v1 {NEW}"),
    Case("answers of numbers", "texts", put("new/llm_cache/answers.jsonl", '{"key": 1, "text": 5, "tokens_in": "x", "tokens_out": null}\n[]\n5\n\xff\n'), f"--backend openai --base_url http://127.0.0.1:9/v1 --max_retries 0 --dry_run {NEW}", code=0),
    Case("answers unhashable key", "texts", put("new/llm_cache/answers.jsonl", '{"key": [], "text": "a", "tokens_in": 1, "tokens_out": 1}\n' + "[" * 100_000 + "\n"), f"--backend openai --base_url http://127.0.0.1:9/v1 --dry_run {NEW}", code=0),
    Case("texts of no run", "texts", leave, "--run_dir {}/nowhere"),
    Case("texts local model missing", "texts", leave, f"--backend local --model_name {{}}/nowhere {NEW}"),
    Case("texts local model wrong", "texts", put("model/config.json", "{}"), f"--backend local --model_name {{}}/model {NEW}"),
    Case("texts local model no JSON", "texts", put("model/config.json", "{"), f"--backend local --model_name {{}}/model {NEW}"),
    Case("texts without a key", "texts", leave, f"--backend openai {NEW}"),
    Case("texts a plain endpoint elsewhere", "texts", leave, f"--backend openai --base_url http://example.org/v1 --max_retries 0 {NEW}"),
    Case("texts no endpoint", "texts", leave, f"--backend openai --base_url nonsense --max_retries 0 {NEW}"),
    Case("texts endpoint of a file", "texts", leave, f"--backend openai --base_url file:///etc/passwd --max_retries 0 {NEW}"),
    Case("texts endpoint of a bad port", "texts", leave, f"--backend openai --base_url http://localhost:99999/v1 --max_retries 0 {NEW}"),
    # places
    Case("collection nowhere", "load", leave, "--data_dir {}/nowhere"),
    Case("collection a file", "load", put("file", ""), "--data_dir {}/file"),
    Case("collection empty", "load", lambda d: (d / "empty").mkdir(), "--data_dir {}/empty"),
    Case("collection with brackets and spaces", "load", lambda d: shutil.copytree(d / "raw", d / "my [raw] 1*"), ["--data_dir", "{}/my [raw] 1*"], code=0),
    Case("example nowhere", "example", leave, "--data_dir {}/nowhere"),
    Case("compare nowhere", "compare", leave, "--data_dir {}/nowhere"),
    Case("preprocess place a file", "preprocess", put("plain", "")),
    Case("preprocess nothing liked", "preprocess", leave, "--min_rating 9"),
    Case("preprocess nobody that long", "preprocess", leave, "--min_seq_len 4000000"),
    Case("plain cut", "load", lambda d: plain(d)),
]


def plain(directory: Path) -> None:
    shutil.rmtree(directory / "raw")
    put("raw/u.data", "1\t1\t5\t1\n")(directory)
    put("raw/u.item", "1|Film (1999)|||" + "|0" * 20 + "\n")(directory)


def bomb() -> bytes:
    """A PNG that says it is 60,000 x 60,000."""
    import struct, zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


FLAGS = [
    *[("train", f"--output_dir {{}}/new {flag}") for flag in [
        "--dataset ..", "--dataset moon", "--seed 18446744073709551616", "--seed -1", "--seed .inf", "--seed 4294967295", "--pretrain_sasrec_epochs -1", "--pretrain_sasrec_epochs .inf", "--pretrain_sasrec_epochs 0", "--joint_finetune_epochs -1",
        "--early_stop -1", "--sasrec_learning_rate .nan", "--sasrec_learning_rate 0", "--sasrec_learning_rate 11", "--sasrec_learning_rate 10", "--retriever_learning_rate .inf", "--dropout 1", "--dropout .nan", "--batch_size 0", "--batch_size 4000000000",
        "--num_negatives 0", "--num_negatives 1000000000", "--max_history 0", "--max_history 2000000000", "--sasrec_hidden_size 0", "--sasrec_hidden_size 1000000000", "--retriever_hidden_size 1000000000", "--num_heads 3", "--num_heads 0", "--top_k -1", "--top_k 9",
        "--experts moon", "--experts description description", "--experts ''", "--experts image", "--experts image,image", "--retriever moon", "--retriever multimodal", "--retriever text", "--loss moon", "--device moon", "--device meta", "--device cuda:99", "--tracker moon",
        "--encoder nowhere", "--encoder ''", "--images {}/raw/image", "--images {}/raw/image --image_encoder {}/nowhere", "--images {}/raw/image --image_encoder {}/raw", "--data_dir {}/nowhere", "--nonsense", "--output_dir", "--config {}/nowhere.yaml", "--plots {}/nowhere",
        "--experts '' --retriever_hidden_size 8", "--experts preference", "--loss bpr --num_negatives 1",
    ]],
    *[("texts", f"--output_dir {{}}/new {flag}") for flag in [
        "--temperature .inf", "--temperature -1", "--temperature .nan", "--temperature 1001", "--num_users 0", "--num_users -1", "--snapshots -1", "--snapshots 1000000000", "--snapshots 1001", "--concurrency 0 --backend openai", "--concurrency 1000000 --backend openai --base_url http://127.0.0.1:9/v1 --dry_run",
        "--requests_per_minute .inf", "--requests_per_minute 1e-30 --backend openai --base_url http://127.0.0.1:9/v1 --dry_run", "--timeout 0", "--timeout .inf", "--max_retries -1", "--backoff .inf", "--price_in .nan", "--backend moon", "--skip_users --skip_items",
    ]],
    *[("preprocess", flag) for flag in ["--min_rating .nan", "--min_rating -1", "--min_rating .inf", "--min_seq_len 2", "--min_seq_len .inf", "--dataset ../x"]],
    *[("compare", flag) for flag in ["--num_epochs -1", "--num_epochs .inf", "--pretrain_epochs -1", "--hidden_size 0", "--hidden_size 3", "--device moon", "--hidden_size 1000000000"]],
    *[("rule", flag) for flag in ["--threshold .nan", "--threshold -1", "--min_steps 1", "--min_steps .inf", "--nonsense"]],
    *[("load", flag) for flag in ["--dataset ..", "--data_dir ''", "--plots ''"]],
]
