"""What people and disks do to UR4Rec's files and flags: an exit code and one line for each, never a traceback."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import example_data_loading
import test_adaptive_simple
import test_adaptive_training
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
from tests.ur4rec.small import film_id, write_collection, write_posters
from UR4Rec.data import dataset_loader, features, multimodal_dataset
from UR4Rec.models import llm_generator
from UR4Rec.scripts import preprocess_multimodal_dataset as preprocess
from UR4Rec.scripts import train

DATA = "--data_dir {}/raw"
COMMANDS = {
    "train": f"{DATA} --output_dir {{}}/out --cache {{}}/vectors --sasrec_dim 8 --retriever_dim 8 --heads 2"
    " --batch_size 64 --max_history 6 --pretrain_sasrec_epochs 1 --pretrain_retriever_epochs 0"
    " --joint_finetune_epochs 0 --end_to_end_epochs 0",
    "load": DATA,
    "batches": DATA,
    "preprocess": f"{DATA} --output_dir {{}}/plain",
    "texts": f"{DATA} --output_dir {{}}/texts --backend none --snapshots 1",
    "ask": f"{DATA} --output_dir {{}}/texts --skip_items --num_users 1",
    "example": f"{DATA} --no_vectors",
    "compare": f"{DATA} --pretrain_epochs 0 --num_epochs 1 --hidden_size 8",
    "rule": "",
}


def ask_with_key() -> None:
    """Nobody is reached: the address is looked at before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-secret")
        patch.delenv("DASHSCOPE_API_KEY", raising=False)
        llm_generator.main()


MAINS = {
    "train": train.main,
    "load": dataset_loader.main,
    "batches": multimodal_dataset.main,
    "preprocess": preprocess.main,
    "texts": llm_generator.main,
    "ask": ask_with_key,
    "example": example_data_loading.main,
    "compare": test_adaptive_training.main,
    "rule": test_adaptive_simple.main,
}
BEL = "\x1b]0;x\x07"


def count_letters(texts, settings, work):
    work.mkdir(parents=True)
    return np.array([[text.count(letter) for letter in "abcdefghi019"] for text in texts], dtype=np.float32) + 0.1


def build_place(directory: Path) -> None:
    """A collection with posters, a training of it that is finished, and texts about its users and items."""
    write_collection(directory / "raw", num_films=130)
    write_posters(directory / "raw/image", [film_id(n) for n in range(1, 20)])
    for name in ("train", "texts"):
        check_answer(run_command(name, directory), 0, "")


def run_command(name: str, place: Path, flags: str | list[str] = "") -> Answer:
    more = shlex.split(flags) if isinstance(flags, str) else flags
    words = [word.replace("{}", str(place)) for word in [*COMMANDS[name].split(), *more]]
    return call(MAINS[name], [f"{name}.py", *words], place)


def add(name, text):
    def spoil(directory: Path) -> None:
        with (directory / name).open("ab") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    return spoil


def image(value):
    return lambda directory: np.save(directory / "image.npy", value, allow_pickle=True)


IMAGES = "--images {}/image.npy --output_dir {}/new"
N = 131
GOOD = np.zeros((N, 4), np.float32) + np.arange(N)[:, None].astype(np.float32)
PREFS = "--preferences {}/texts/user_preferences.json --output_dir {}/new"
NEW = "--output_dir {}/new"

CASES = [
    # movies.dat
    Case(
        "films missing",
        "load",
        remove("raw/movies.dat"),
        says="{}/raw holds neither the multimodal files (ratings.dat, movies.dat, text.xls) nor",
    ),
    Case("films empty", "load", put("raw/movies.dat", ""), says="{}/raw/movies.dat holds no line of movies"),
    Case(
        "films a directory",
        "load",
        make_directory("raw/movies.dat"),
        says="{}/raw holds neither the multimodal files (ratings.dat, movies.dat, text.xls) nor",
    ),
    Case(
        "films of other columns",
        "load",
        put("raw/movies.dat", "1::a\n2::b\n"),
        says="{}/raw/movies.dat: 2 of 2 lines (100.0%) cannot be used, more than",
    ),
    Case(
        "films binary",
        "load",
        put("raw/movies.dat", bytes(range(256)) * 50),
        says="{}/raw/movies.dat: 51 of 51 lines (100.0%) cannot be used, more than",
    ),
    Case("films title with escapes", "load", add("raw/movies.dat", f"999::{BEL} Film (1999)::Drama\n"), code=0),
    Case(
        "films genre with escapes",
        "load",
        lambda d: put("raw/movies.dat", (d / "raw/movies.dat").read_text().replace("Drama", BEL))(d),
        code=0,
    ),
    Case("films id huge", "load", add("raw/movies.dat", "99999999999999999999999::Film::Drama\n"), code=0),
    Case("films id negative", "load", add("raw/movies.dat", "-5::Film::Drama\n"), code=0),
    Case("films id not a number", "load", add("raw/movies.dat", "x::Film::Drama\n"), code=0),
    Case("films id in other digits", "load", add("raw/movies.dat", "\u0663::Film::Drama\n".encode("utf-8")), code=0),
    Case("films id twice", "load", add("raw/movies.dat", "3::Other::Drama\n"), code=0),
    Case(
        "films none rated",
        "load",
        put("raw/movies.dat", "100000::Film::Drama\n"),
        says="no user of the collection has 5 ratings of 4 or more",
    ),
    # ratings.dat
    Case(
        "ratings missing",
        "load",
        remove("raw/ratings.dat"),
        says="{}/raw holds neither the multimodal files (ratings.dat, movies.dat, text.xls) nor",
    ),
    Case("ratings empty", "load", put("raw/ratings.dat", ""), says="{}/raw/ratings.dat holds no line of ratings"),
    Case(
        "ratings a directory",
        "load",
        make_directory("raw/ratings.dat"),
        says="{}/raw holds neither the multimodal files (ratings.dat, movies.dat, text.xls) nor",
    ),
    Case(
        "ratings cut",
        "load",
        cut("raw/ratings.dat", 0.5),
        says="{}/raw/ratings.dat: 1 of 98 lines (1.0%) cannot be used, more than",
    ),
    Case(
        "ratings tab-separated",
        "load",
        put("raw/ratings.dat", "1\t3\t5\t100\n"),
        says="{}/raw/ratings.dat: 1 of 1 lines (100.0%) cannot be used, more than",
    ),
    Case(
        "ratings NaN",
        "load",
        put("raw/ratings.dat", "".join(f"1::{3 * n}::nan::5\n" for n in range(1, 9))),
        says="{}/raw/ratings.dat: 8 of 8 lines (100.0%) cannot be used, more than",
    ),
    Case(
        "ratings infinite",
        "load",
        put("raw/ratings.dat", "".join(f"1::{3 * n}::inf::5\n" for n in range(1, 9))),
        says="{}/raw/ratings.dat: 8 of 8 lines (100.0%) cannot be used, more than",
    ),
    Case(
        "ratings time NaN",
        "load",
        put("raw/ratings.dat", "".join(f"1::{3 * n}::5::nan\n" for n in range(1, 9))),
        says="{}/raw/ratings.dat: 8 of 8 lines (100.0%) cannot be used, more than",
    ),
    Case(
        "ratings time infinite",
        "load",
        put("raw/ratings.dat", "".join(f"1::{3 * n}::5::inf\n" for n in range(1, 9))),
        says="{}/raw/ratings.dat: 8 of 8 lines (100.0%) cannot be used, more than",
    ),
    Case(
        "ratings time huge",
        "load",
        put("raw/ratings.dat", "".join(f"1::{3 * n}::5::1e300\n" for n in range(1, 9))),
        says="{}/raw/ratings.dat: 8 of 8 lines (100.0%) cannot be used, more than",
    ),
    Case(
        "ratings user huge",
        "load",
        put("raw/ratings.dat", "".join(f"99999999999999999999::{3 * n}::5::1\n" for n in range(1, 9))),
        says="{}/raw/ratings.dat: 8 of 8 lines (100.0%) cannot be used, more than",
    ),
    Case(
        "ratings user of text",
        "load",
        put("raw/ratings.dat", "".join(f"bob::{3 * n}::5::1\n" for n in range(1, 9))),
        says="{}/raw/ratings.dat: 8 of 8 lines (100.0%) cannot be used, more than",
    ),
    Case(
        "ratings not UTF-8",
        "load",
        put("raw/ratings.dat", b"\xff\xfe\x00" * 100),
        says="{}/raw/ratings.dat: 1 of 1 lines (100.0%) cannot be used, more than",
    ),
    Case(
        "ratings all low",
        "load",
        put("raw/ratings.dat", "".join(f"1::{3 * n}::1::5\n" for n in range(1, 9))),
        says="no user of the collection has 5 ratings of 4 or more",
    ),
    Case(
        "ratings of one user",
        "batches",
        put("raw/ratings.dat", "".join(f"1::{3 * n}::5::5\n" for n in range(1, 9))),
        code=0,
    ),
    Case(
        "ratings of a user who saw everything",
        "batches",
        put("raw/ratings.dat", "".join(f"1::{3 * n}::5::5\n" for n in range(1, 131))),
        says="user 1 has seen all 130 items",
    ),
    Case(
        "ratings of a user with few unseen",
        "batches",
        put("raw/ratings.dat", "".join(f"1::{3 * n}::5::5\n" for n in range(1, 60))),
        says="user 1 has 72 unseen items, 100 candidates need 99",
    ),
    Case(
        "ratings huge number",
        "load",
        put("raw/ratings.dat", "".join(f"1::{3 * n}::1e300::5\n" for n in range(1, 9))),
        says="{}/raw/ratings.dat: 8 of 8 lines (100.0%) cannot be used, more than",
    ),
    # text.xls
    Case(
        "texts missing",
        "load",
        remove("raw/text.xls"),
        says="{}/raw holds neither the multimodal files (ratings.dat, movies.dat, text.xls) nor",
    ),
    Case(
        "texts empty",
        "load",
        put("raw/text.xls", ""),
        says="{}/raw/text.xls must have the columns movie-id and review, found no row",
    ),
    Case(
        "texts a directory",
        "load",
        make_directory("raw/text.xls"),
        says="{}/raw holds neither the multimodal files (ratings.dat, movies.dat, text.xls) nor",
    ),
    Case(
        "texts of other columns",
        "load",
        put("raw/text.xls", "a\tb\n1\t2\n"),
        says="{}/raw/text.xls must have the columns movie-id and review, found a, b",
    ),
    Case(
        "texts not UTF-8",
        "load",
        put("raw/text.xls", b"movie-id\treview\n3\t\xff\xfe\n"),
        says="{}/raw/text.xls is neither an Excel file nor tab-separated UTF-8 text: 'utf-8'",
    ),
    Case(
        "texts id of text",
        "load",
        put("raw/text.xls", "movie-id\treview\nx\ttext\n"),
        says="{}/raw/text.xls: a movie-id is not a number (could not convert string to float: 'x')",
    ),
    Case(
        "texts id NaN",
        "load",
        put("raw/text.xls", "movie-id\treview\nnan\ttext\n"),
        says="{}/raw/text.xls: a movie-id is not a number (cannot convert float NaN to integer)",
    ),
    Case(
        "texts id infinite",
        "load",
        put("raw/text.xls", "movie-id\treview\ninf\ttext\n"),
        says="{}/raw/text.xls: a movie-id is not a number (cannot convert float infinity to",
    ),
    Case(
        "texts half an old Excel file",
        "load",
        put("raw/text.xls", b"\xd0\xcf\x11\xe0" + b"\0" * 600),
        says="{}/raw/text.xls is no Excel file: Cannot detect file format",
    ),
    Case(
        "texts half a new Excel file",
        "load",
        put("raw/text.xls", b"PK\x03\x04" + b"\0" * 600),
        says="{}/raw/text.xls is no Excel file: Cannot detect file format",
    ),
    Case(
        "texts field of 200,000 characters",
        "load",
        put("raw/text.xls", "movie-id\treview\n3\t" + "a" * 200_000 + "\n"),
        code=0,
    ),
    Case("texts unclosed quote", "load", put("raw/text.xls", 'movie-id\treview\n3\t"a\n6\tb\n'), code=0),
    Case("texts with NUL", "load", put("raw/text.xls", "movie-id\treview\n3\ta\0b\n"), code=0),
    Case("texts BOM", "load", put("raw/text.xls", b"\xef\xbb\xbfmovie-id\treview\n3\tabc\n"), code=0),
    Case("texts one column", "load", put("raw/text.xls", "movie-id\treview\n3\n"), code=0),
    # user.dat
    Case("users missing", "load", remove("raw/user.dat"), code=0),
    Case("users empty", "load", put("raw/user.dat", ""), says="{}/raw/user.dat holds no line of users"),
    Case(
        "users a directory", "load", make_directory("raw/user.dat"), says="{}/raw/user.dat is a directory, not a file"
    ),
    Case(
        "users of other columns",
        "load",
        put("raw/user.dat", "1::F\n"),
        says="{}/raw/user.dat: 1 of 1 lines (100.0%) cannot be used, more than data.max_bad_share",
    ),
    Case(
        "users age of text",
        "load",
        put("raw/user.dat", "1::F::old::writer::1\n"),
        says="{}/raw/user.dat: 1 of 1 lines (100.0%) cannot be used, more than data.max_bad_share",
    ),
    Case(
        "users binary",
        "load",
        put("raw/user.dat", b"\xff\0\n" * 9),
        says="{}/raw/user.dat: 9 of 9 lines (100.0%) cannot be used, more than data.max_bad_share",
    ),
    # posters
    Case(
        "posters a file",
        "batches",
        both(lambda d: shutil.rmtree(d / "raw/image"), put("raw/image", "")),
        "--load_images",
        says="no folder of posters at None",
    ),
    Case(
        "posters none",
        "batches",
        both(lambda d: shutil.rmtree(d / "raw/image"), lambda d: (d / "raw/image").mkdir()),
        "--load_images",
        code=0,
    ),
    Case(
        "posters text",
        "batches",
        lambda d: (
            [put(f"raw/image/{p.name}", "no image")(d) for p in (d / "raw/image").iterdir()]
            + [put(f"raw/image/{3 * n}.png", "no")(d) for n in range(1, 131)]
        ),
        "--load_images",
        says="{}/raw/image/18.png is no image that can be read: cannot identify image file",
    ),
    Case(
        "posters empty",
        "preprocess",
        put("raw/image/3.png", ""),
        "--copy_images",
        says="{}/raw/image/3.png is no image that can be read: cannot identify image file",
    ),
    Case(
        "posters cut",
        "preprocess",
        cut("raw/image/3.png"),
        "--copy_images",
        says="{}/raw/image/3.png is no image that can be read: image file is truncated",
    ),
    Case(
        "posters a directory",
        "preprocess",
        make_directory("raw/image/3.png"),
        "--copy_images",
        says="{}/raw/image/3.png is no image that can be read: [Errno 21] Is a directory:",
    ),
    Case(
        "posters a bomb",
        "preprocess",
        lambda d: (d / "raw/image/3.png").write_bytes(bomb()),
        "--copy_images",
        says="{}/raw/image/3.png is no image that can be read: Image size (3600000000 pixels)",
    ),
    Case("posters of other digits", "batches", put("raw/image/\u00b2.png", "x"), "--load_images", code=0),
    Case("posters of too many digits", "batches", put("raw/image/" + "1" * 200 + ".png", "x"), "--load_images", code=0),
    # image.npy
    Case(
        "vectors missing",
        "train",
        leave,
        IMAGES,
        says="there is no {}/image.npy, neither an image.npy nor a folder of posters",
    ),
    Case(
        "vectors empty", "train", put("image.npy", ""), IMAGES, says="{}/image.npy cannot be read: No data left in file"
    ),
    Case(
        "vectors text",
        "train",
        put("image.npy", "abc"),
        IMAGES,
        says="{}/image.npy cannot be read: This file contains pickled (object) data. If you trust",
    ),
    Case(
        "vectors cut",
        "train",
        both(image(GOOD), cut("image.npy")),
        IMAGES,
        says="{}/image.npy cannot be read: Failed to read all data for array. Expected (131, 4) =",
    ),
    Case(
        "vectors of objects",
        "train",
        image(np.array([{}] * N, dtype=object)),
        IMAGES,
        says="{}/image.npy cannot be read: Object arrays cannot be loaded when allow_pickle=False",
    ),
    Case(
        "vectors an npz",
        "train",
        lambda d: np.savez((d / "image.npy").open("wb"), a=GOOD),
        IMAGES,
        says="{}/image.npy is an .npz of several arrays, expected an .npy of one",
    ),
    Case(
        "vectors of other rows",
        "train",
        image(GOOD[:-1]),
        IMAGES,
        says="{}/image.npy must hold floats of shape (131, width), row = item id and row 0 zeros",
    ),
    Case(
        "vectors of width 0",
        "train",
        image(GOOD[:, :0]),
        IMAGES,
        says="{}/image.npy must hold floats of shape (131, width), row = item id and row 0 zeros",
    ),
    Case(
        "vectors whole numbers",
        "train",
        image(GOOD.astype(int)),
        IMAGES,
        says="{}/image.npy must hold floats of shape (131, width), row = item id and row 0 zeros",
    ),
    Case(
        "vectors NaN",
        "train",
        image(np.where(GOOD == 5, np.nan, GOOD)),
        IMAGES,
        says="{}/image.npy holds NaN, infinite numbers or such beyond 1e+15, first in row 5",
    ),
    Case(
        "vectors huge",
        "train",
        image(GOOD.astype(np.float64) * 1e300),
        IMAGES,
        says="{}/image.npy holds NaN, infinite numbers or such beyond 1e+15, first in row 1",
    ),
    Case(
        "vectors 3e38",
        "train",
        image(np.full_like(GOOD, 3e38)),
        IMAGES,
        says="{}/image.npy holds NaN, infinite numbers or such beyond 1e+15, first in row 0",
    ),
    Case(
        "vectors all zero",
        "train",
        image(GOOD * 0),
        IMAGES,
        says="{}/image.npy: row 0 is padding and must be zeros, and some other row must not",
    ),
    Case(
        "vectors row 0 not zero",
        "train",
        image(GOOD + 1),
        IMAGES,
        says="{}/image.npy: row 0 is padding and must be zeros, and some other row must not",
    ),
    Case(
        "vectors one number",
        "train",
        image(np.float32(1)),
        IMAGES,
        says="{}/image.npy must hold floats of shape (131, width), row = item id and row 0 zeros",
    ),
    # plots
    Case("plots missing", "load", leave, "--plots {}/plots.jsonl", says="there is no file {}/plots.jsonl of plots"),
    Case(
        "plots of plain MovieLens wrong",
        "load",
        both(put("plots.jsonl", "{"), lambda d: plain(d)),
        "--plots {}/plots.jsonl",
        says="{}/raw has (users, items, events) (1, 1, 1), ml-100k has (943, 1682, 100000)",
    ),
    # descriptions, preferences
    Case(
        "descriptions missing",
        "train",
        leave,
        f"--descriptions {{}}/d.json {NEW}",
        says="{}/d.json cannot be read: No such file or directory",
    ),
    Case(
        "descriptions empty",
        "train",
        put("d.json", ""),
        f"--descriptions {{}}/d.json {NEW}",
        says="{}/d.json cannot be read: it is not valid JSON (Expecting value: line 1 column 1",
    ),
    Case(
        "descriptions a list",
        "train",
        put("d.json", "[]"),
        f"--descriptions {{}}/d.json {NEW}",
        says='{}/d.json must hold {"id": "text", ...}, ids as the shop has them',
    ),
    Case(
        "descriptions of numbers",
        "train",
        put("d.json", '{"3": 5}'),
        f"--descriptions {{}}/d.json {NEW}",
        says='{}/d.json must hold {"id": "text", ...}, ids as the shop has them',
    ),
    Case(
        "descriptions a directory",
        "train",
        make_directory("d.json"),
        f"--descriptions {{}}/d.json {NEW}",
        says="{}/d.json cannot be read: Is a directory",
    ),
    Case(
        "descriptions not UTF-8",
        "train",
        put("d.json", b'{"3": "\xff"}'),
        f"--descriptions {{}}/d.json {NEW}",
        says="{}/d.json cannot be read: it is not valid JSON ('utf-8' codec can't decode byte",
    ),
    Case(
        "descriptions of no item",
        "train",
        put("d.json", '{"nobody": "text"}'),
        f"--descriptions {{}}/d.json {NEW}",
        says="none of the 1 ids of the descriptions is one of the 130 items here (there 'nobody'",
    ),
    Case(
        "descriptions with surrogates",
        "train",
        put("d.json", '{"3": "\\ud800"}'),
        f"--descriptions {{}}/d.json {NEW}",
        says="none of the 0 ids of the descriptions is one of the 130 items here (there no id",
    ),
    Case(
        "preferences missing",
        "train",
        remove("texts/user_preferences.json"),
        PREFS,
        says="{}/texts/user_preferences.json cannot be read: No such file or directory",
    ),
    Case(
        "preferences empty",
        "train",
        put("texts/user_preferences.json", ""),
        PREFS,
        says="{}/texts/user_preferences.json cannot be read: it is not valid JSON (Expecting",
    ),
    Case(
        "preferences a list",
        "train",
        put("texts/user_preferences.json", "[]"),
        PREFS,
        says='{}/texts/user_preferences.json must hold {"id": "text", ...}, ids as the shop has',
    ),
    Case(
        "preferences of nobody",
        "train",
        both(
            put("texts/user_preferences.json", '{"5": "x"}'),
            put("texts/user_preference_snapshots.json", '{"5": {"1": "x"}}'),
        ),
        PREFS,
        says="there is no text about any of 12 users",
    ),
    Case(
        "preferences without their origin",
        "train",
        remove("texts/made_of.json"),
        PREFS,
        says="{}/texts/user_preferences.json was made from data unknown, here it is",
    ),
    Case(
        "preferences origin empty",
        "train",
        put("texts/made_of.json", ""),
        PREFS,
        says="{}/texts/made_of.json cannot be read: it is not valid JSON (Expecting value: line 1",
    ),
    Case(
        "preferences origin a list",
        "train",
        put("texts/made_of.json", "[]"),
        PREFS,
        says="{}/texts/made_of.json must hold a JSON object, found list",
    ),
    Case(
        "preferences snapshots missing",
        "train",
        remove("texts/user_preference_snapshots.json"),
        PREFS,
        says="no user_preference_snapshots.json beside {}/texts/user_preferences.json: a text of",
    ),
    Case(
        "preferences snapshots a list",
        "train",
        put("texts/user_preference_snapshots.json", "[]"),
        PREFS,
        says='{}/texts/user_preference_snapshots.json must hold {"user": {"events": "text", ...},',
    ),
    Case(
        "preferences snapshots of text",
        "train",
        put("texts/user_preference_snapshots.json", '{"101": "x"}'),
        PREFS,
        says='{}/texts/user_preference_snapshots.json must hold {"user": {"events": "text", ...},',
    ),
    Case(
        "preferences snapshots of a moment never",
        "train",
        edit_json("texts/user_preference_snapshots.json", lambda s: s["101"].update({"1000": "x"})),
        PREFS,
        says="{}/texts/user_preference_snapshots.json: a text of user 101 knows 1000 events of 6",
    ),
    Case(
        "preferences snapshots negative",
        "train",
        edit_json("texts/user_preference_snapshots.json", lambda s: s["101"].update({"-3": "x"})),
        PREFS,
        code=1,
        says='{}/texts/user_preference_snapshots.json must hold {"user": {"events": "text", ...}, ...}',
    ),
    Case(
        "preferences snapshots number",
        "train",
        edit_json("texts/user_preference_snapshots.json", lambda s: s["101"].update({"2": 7})),
        PREFS,
        code=1,
        says='{}/texts/user_preference_snapshots.json must hold {"user": {"events": "text", ...}, ...}',
    ),
    # what a training left
    Case(
        "settings empty",
        "train",
        put("out/settings.json", ""),
        says="{}/out/settings.json cannot be read: it is not valid JSON (Expecting value: line 1",
    ),
    Case(
        "settings a list",
        "train",
        put("out/settings.json", "[]"),
        says='{}/out/settings.json must hold {"config": {...}, "inputs": {...}}, which say what',
    ),
    Case(
        "settings other keys",
        "train",
        put("out/settings.json", "{}"),
        says='{}/out/settings.json must hold {"config": {...}, "inputs": {...}}, which say what',
    ),
    Case(
        "settings gone, training finished",
        "train",
        remove("out/settings.json"),
        says="{}/out holds training.json and best.safetensors, but no settings.json that says",
    ),
    Case(
        "settings a directory",
        "train",
        make_directory("out/settings.json"),
        says="{}/out/settings.json cannot be read: Is a directory",
    ),
    Case(
        "settings of others",
        "train",
        leave,
        "--seed 3",
        says="{}/out was made with other settings: seed is 42 there, 3 asked.",
    ),
    Case(
        "record empty",
        "train",
        put("out/training.json", ""),
        says="{}/out/training.json cannot be read: it is not valid JSON (Expecting value: line 1",
    ),
    Case(
        "record a directory",
        "train",
        make_directory("out/training.json"),
        says="{}/out/training.json cannot be read: Is a directory",
    ),
    Case(
        "best changed",
        "train",
        flip("out/best.safetensors"),
        says="{}/out/best.safetensors was changed after it was made:",
    ),
    Case(
        "best gone",
        "train",
        remove("out/best.safetensors"),
        says="{}/out lacks best.safetensors, which its manifest lists",
    ),
    Case(
        "results changed",
        "train",
        flip("out/fused/results.json", 40),
        says="{}/out/fused/results.json was changed after it was made:",
    ),
    Case("output a file", "train", put("new", ""), NEW, says="cannot write under {}/new: File exists ({}/new)"),
    Case(
        "vectors kept empty",
        "train",
        lambda d: [p.write_bytes(b"") for p in (d / "vectors").glob("*.npz")],
        NEW,
        says="{}/vectors/c67dce72d6cd9b90.npz cannot be read: it is no npz file, or only the",
    ),
    Case(
        "vectors kept cut",
        "train",
        lambda d: [p.write_bytes(p.read_bytes()[:-300]) for p in (d / "vectors").glob("*.npz")],
        NEW,
        says="{}/vectors/c67dce72d6cd9b90.npz cannot be read: it is no npz file, or only the",
    ),
    Case(
        "vectors kept changed",
        "train",
        lambda d: [flip(f"vectors/{p.name}", 200)(d) for p in (d / "vectors").glob("*.npz")],
        NEW,
        says="{}/vectors/c67dce72d6cd9b90.npz cannot be read: Bad CRC-32 for file 'vector.npy'",
    ),
    Case(
        "vectors kept of other names",
        "train",
        lambda d: [np.savez(p, a=1) for p in (d / "vectors").glob("*.npz")],
        NEW,
        says="{}/vectors/c67dce72d6cd9b90.npz holds {'a': ()}, expected vector (131, width) and",
    ),
    Case(
        "vectors kept of another shape",
        "train",
        lambda d: [
            np.savez(p, vector=np.ones((2, 2), np.float32), present=np.ones(2, bool))
            for p in (d / "vectors").glob("*.npz")
        ],
        NEW,
        says="{}/vectors/c67dce72d6cd9b90.npz holds {'vector': (2, 2), 'present': (2,)}, expected",
    ),
    Case(
        "vectors place a file",
        "train",
        put("v", ""),
        f"{NEW} --cache {{}}/v",
        says="cannot write under {}/new: Not a directory ({}/v/.c67dce72d6cd9b90)",
    ),
    # texts
    Case(
        "texts made of nothing",
        "texts",
        put("texts/made_of.json", ""),
        says="{}/texts/made_of.json cannot be read: it is not valid JSON (Expecting value: line 1",
    ),
    Case(
        "texts made of a list",
        "texts",
        put("texts/made_of.json", "[]"),
        says="{}/texts/made_of.json must hold a JSON object, found list",
    ),
    Case(
        "texts without an origin",
        "texts",
        remove("texts/made_of.json"),
        says="{}/texts holds texts but no made_of.json that says of what",
    ),
    Case(
        "texts of other data",
        "texts",
        add("raw/ratings.dat", "101::3::5::1\n"),
        says="{}/texts was made with other settings: data is 'e0e9910d4af3f069' there,",
    ),
    Case(
        "texts file empty",
        "texts",
        put("texts/user_preferences.json", ""),
        says="{}/texts/user_preferences.json cannot be read: it is not valid JSON (Expecting",
    ),
    Case(
        "texts file a list",
        "texts",
        put("texts/user_preferences.json", "[]"),
        says='{}/texts/user_preferences.json must hold {"id": "text", ...}, ids as the shop has',
    ),
    Case(
        "texts snapshots wrong",
        "texts",
        put("texts/user_preference_snapshots.json", "[]"),
        says='{}/texts/user_preference_snapshots.json must hold {"user": {"events": "text", ...},',
    ),
    Case(
        "texts place a file",
        "texts",
        both(lambda d: shutil.rmtree(d / "texts"), put("texts", "")),
        says="cannot write under {}/texts: File exists ({}/texts)",
    ),
    Case(
        "answers a directory",
        "texts",
        make_directory("new/llm_cache/answers.jsonl"),
        f"--backend openai --base_url http://127.0.0.1:9/v1 {NEW}",
        says="cannot write under {}/new: Is a directory ({}/new/llm_cache/answers.jsonl)",
    ),
    Case(
        "answers of numbers",
        "texts",
        put(
            "new/llm_cache/answers.jsonl", '{"key": 1, "text": 5, "tokens_in": "x", "tokens_out": null}\n[]\n5\n\xff\n'
        ),
        f"--backend openai --base_url http://127.0.0.1:9/v1 --max_retries 0 --dry_run {NEW}",
        code=0,
    ),
    Case(
        "answers unhashable key",
        "texts",
        put(
            "new/llm_cache/answers.jsonl",
            '{"key": [], "text": "a", "tokens_in": 1, "tokens_out": 1}\n' + "[" * 100_000 + "\n",
        ),
        f"--backend openai --base_url http://127.0.0.1:9/v1 --dry_run {NEW}",
        code=0,
    ),
    Case("texts of no run", "texts", leave, "--run_dir {}/nowhere", says="{}/nowhere/data is not there yet"),
    Case(
        "texts local model missing",
        "texts",
        leave,
        f"--backend local --model_name {{}}/nowhere {NEW}",
        says="no Hugging Face model in '{}/nowhere'",
    ),
    Case("texts without a key", "texts", leave, f"--backend openai {NEW}", says="no key for a language model."),
    Case(
        "texts a plain endpoint elsewhere",
        "ask",
        leave,
        f"--backend openai --base_url http://example.org/v1 --max_retries 0 {NEW}",
        says="http://example.org/v1 is neither https nor on this machine, and a key sent there",
    ),
    Case(
        "texts a key to an address of this net",
        "ask",
        leave,
        f"--base_url http://10.0.0.1:8000/v1 --max_retries 0 {NEW}",
        says="http://10.0.0.1:8000/v1 is neither https nor on this machine, and a key sent there",
    ),
    Case(
        "texts a key by a host like this one",
        "ask",
        leave,
        f"--base_url http://localhost.example.org/v1 {NEW}",
        says="http://localhost.example.org/v1 is neither https nor on this machine, and a key",
    ),
    Case(
        "texts no endpoint",
        "ask",
        leave,
        f"--backend openai --base_url nonsense --max_retries 0 {NEW}",
        says="--base_url 'nonsense' is no address",
    ),
    Case(
        "texts endpoint of a file",
        "ask",
        leave,
        f"--backend openai --base_url file:///etc/passwd --max_retries 0 {NEW}",
        says="--base_url 'file:///etc/passwd' is no address",
    ),
    Case(
        "texts endpoint of a bad port",
        "ask",
        leave,
        f"--backend openai --base_url http://localhost:99999/v1 --max_retries 0 {NEW}",
        says="--base_url 'http://localhost:99999/v1' is no address",
    ),
    # places
    Case("collection nowhere", "load", leave, "--data_dir {}/nowhere", says="there is no folder {}/nowhere"),
    Case("collection a file", "load", put("file", ""), "--data_dir {}/file", says="there is no folder {}/file"),
    Case(
        "collection empty",
        "load",
        lambda d: (d / "empty").mkdir(),
        "--data_dir {}/empty",
        says="{}/empty holds neither the multimodal files (ratings.dat, movies.dat, text.xls) nor",
    ),
    Case(
        "collection with brackets and spaces",
        "load",
        lambda d: shutil.copytree(d / "raw", d / "my [raw] 1*"),
        ["--data_dir", "{}/my [raw] 1*"],
        code=0,
    ),
    Case("example nowhere", "example", leave, "--data_dir {}/nowhere", says="there is no folder {}/nowhere"),
    Case("compare nowhere", "compare", leave, "--data_dir {}/nowhere", says="there is no folder {}/nowhere"),
    Case(
        "preprocess place a file",
        "preprocess",
        put("plain", ""),
        says="cannot write under {}/plain: File exists ({}/plain)",
    ),
    Case(
        "preprocess nothing liked",
        "preprocess",
        leave,
        "--min_rating 9",
        says="no user of the collection has 5 ratings of 9 or more",
    ),
    Case(
        "preprocess nobody that long",
        "preprocess",
        leave,
        "--min_seq_len 4000000",
        says="no user of the collection has 4000000 ratings of 4 or more",
    ),
    Case(
        "plain cut",
        "load",
        lambda d: plain(d),
        says="{}/raw has (users, items, events) (1, 1, 1), ml-100k has (943, 1682, 100000)",
    ),
]


def plain(directory: Path) -> None:
    shutil.rmtree(directory / "raw")
    put("raw/u.data", "1\t1\t5\t1\n")(directory)
    put("raw/u.item", "1|Film (1999)|||" + "|0" * 20 + "\n")(directory)


def bomb() -> bytes:
    """A PNG that says it is 60,000 x 60,000."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


# command, flags, exit code, what the line says
FLAGS = [
    ("train", "--output_dir {}/new --dataset ..", 2, "dataset: Input should be 'ml-100k' or 'ml-1m' (got '..')"),
    ("train", "--output_dir {}/new --dataset moon", 2, "dataset: Input should be 'ml-100k' or 'ml-1m' (got 'moon')"),
    (
        "train",
        "--output_dir {}/new --seed 18446744073709551616",
        2,
        "seed: a number must be finite and at most 4,294,967,295, found",
    ),
    ("train", "--output_dir {}/new --seed -1", 2, "seed: Input should be greater than or equal to 0 (got -1)"),
    ("train", "--output_dir {}/new --seed .inf", 2, "seed: Input should be a finite number (got inf)"),
    ("train", "--output_dir {}/new --seed 4294967295", 0, ""),
    (
        "train",
        "--output_dir {}/new --pretrain_sasrec_epochs -1",
        2,
        "pretrain_sasrec_epochs: Input should be greater than or equal to 0 (got -1)",
    ),
    (
        "train",
        "--output_dir {}/new --pretrain_sasrec_epochs .inf",
        2,
        "pretrain_sasrec_epochs: Input should be a finite number (got inf)",
    ),
    ("train", "--output_dir {}/new --pretrain_sasrec_epochs 0", 0, ""),
    (
        "train",
        "--output_dir {}/new --joint_finetune_epochs -1",
        2,
        "joint_finetune_epochs: Input should be greater than or equal to 0 (got -1)",
    ),
    (
        "train",
        "--output_dir {}/new --early_stop -1",
        2,
        "early_stop: Input should be greater than or equal to 0 (got -1)",
    ),
    (
        "train",
        "--output_dir {}/new --sasrec_learning_rate .nan",
        2,
        "sasrec_learning_rate: Input should be a finite number (got nan)",
    ),
    (
        "train",
        "--output_dir {}/new --sasrec_learning_rate 0",
        2,
        "sasrec_learning_rate: Input should be greater than 0 (got 0)",
    ),
    (
        "train",
        "--output_dir {}/new --sasrec_learning_rate 11",
        2,
        "sasrec_learning_rate: Input should be less than or equal to 10 (got 11)",
    ),
    ("train", "--output_dir {}/new --sasrec_learning_rate 10", 0, ""),
    (
        "train",
        "--output_dir {}/new --retriever_learning_rate .inf",
        2,
        "retriever_learning_rate: Input should be a finite number (got inf)",
    ),
    ("train", "--output_dir {}/new --dropout 1", 2, "dropout: Input should be less than 1 (got 1)"),
    ("train", "--output_dir {}/new --dropout .nan", 2, "dropout: Input should be a finite number (got nan)"),
    (
        "train",
        "--output_dir {}/new --batch_size 0",
        2,
        "batch_size: Input should be greater than or equal to 1 (got 0)",
    ),
    ("train", "--output_dir {}/new --batch_size 4000000000", 0, ""),
    (
        "train",
        "--output_dir {}/new --num_negatives 0",
        2,
        "num_negatives: Input should be greater than or equal to 1 (got 0)",
    ),
    (
        "train",
        "--output_dir {}/new --num_negatives 1000000000",
        2,
        "num_negatives: Input should be less than or equal to 100000 (got 1000000000)",
    ),
    (
        "train",
        "--output_dir {}/new --max_history 0",
        2,
        "max_history: Input should be greater than or equal to 1 (got 0)",
    ),
    (
        "train",
        "--output_dir {}/new --max_history 2000000000",
        2,
        "max_history: Input should be less than or equal to 1000000 (got 2000000000)",
    ),
    (
        "train",
        "--output_dir {}/new --sasrec_hidden_size 0",
        2,
        "sasrec_hidden_size: Input should be greater than or equal to 1 (got 0)",
    ),
    (
        "train",
        "--output_dir {}/new --sasrec_hidden_size 1000000000",
        2,
        "sasrec_hidden_size: Input should be less than or equal to 65536 (got 1000000000)",
    ),
    (
        "train",
        "--output_dir {}/new --retriever_hidden_size 1000000000",
        2,
        "retriever_hidden_size: Input should be less than or equal to 65536 (got 1000000000)",
    ),
    ("train", "--output_dir {}/new --num_heads 3", 2, "--sasrec_hidden_size 8 is not a multiple of --num_heads 3"),
    ("train", "--output_dir {}/new --num_heads 0", 2, "num_heads: Input should be greater than or equal to 1 (got 0)"),
    ("train", "--output_dir {}/new --top_k -1", 2, "top_k: Input should be greater than or equal to 0 (got -1)"),
    ("train", "--output_dir {}/new --top_k 9", 1, "top_k is 9, there are 2 experts (preference, description)"),
    (
        "train",
        "--output_dir {}/new --experts moon",
        2,
        "experts.0: Input should be 'preference', 'description' or 'image' (got 'moon')",
    ),
    (
        "train",
        "--output_dir {}/new --experts description description",
        2,
        "--experts names one twice: description description",
    ),
    ("train", "--output_dir {}/new --experts ''", 0, ""),
    ("train", "--output_dir {}/new --experts image", 0, ""),
    ("train", "--output_dir {}/new --experts image,image", 2, "--experts names one twice: image image"),
    (
        "train",
        "--output_dir {}/new --retriever moon",
        2,
        "retriever: Input should be 'moe', 'text' or 'multimodal' (got 'moon')",
    ),
    (
        "train",
        "--output_dir {}/new --retriever multimodal",
        2,
        "--retriever multimodal needs --images, image.npy or a folder of posters",
    ),
    ("train", "--output_dir {}/new --retriever text", 0, ""),
    ("train", "--output_dir {}/new --loss moon", 2, "loss: Input should be 'softmax' or 'bpr' (got 'moon')"),
    ("train", "--output_dir {}/new --device moon", 1, "device is 'moon'; it can be auto, cpu, cuda or cuda:1"),
    ("train", "--output_dir {}/new --device meta", 1, "device is 'meta', which is not supported"),
    ("train", "--output_dir {}/new --device cuda:99", 1, "device is cuda:99, but torch sees no GPU here"),
    (
        "train",
        "--output_dir {}/new --tracker moon",
        2,
        "tracker: Input should be 'none', 'tensorboard' or 'swanlab' (got 'moon')",
    ),
    ("train", "--output_dir {}/new --images {}/raw/image", 0, ""),
    ("train", "--output_dir {}/new --data_dir {}/nowhere", 1, "there is no folder {}/nowhere"),
    ("train", "--output_dir {}/new --nonsense", 2, "unknown flag --nonsense; did you mean '--seed'?"),
    ("train", "--output_dir {}/new --output_dir", 2, "--output_dir needs a value"),
    ("train", "--output_dir {}/new --config {}/nowhere.yaml", 2, "no config file {}/nowhere.yaml"),
    ("train", "--output_dir {}/new --plots {}/nowhere", 1, "there is no file {}/nowhere of plots"),
    ("train", "--output_dir {}/new --experts '' --retriever_hidden_size 8", 0, ""),
    ("train", "--output_dir {}/new --experts preference", 0, ""),
    ("train", "--output_dir {}/new --loss bpr --num_negatives 1", 0, ""),
    ("texts", "--output_dir {}/new --temperature .inf", 2, "temperature: Input should be a finite number (got inf)"),
    (
        "texts",
        "--output_dir {}/new --temperature -1",
        2,
        "temperature: Input should be greater than or equal to 0 (got -1)",
    ),
    ("texts", "--output_dir {}/new --temperature .nan", 2, "temperature: Input should be a finite number (got nan)"),
    (
        "texts",
        "--output_dir {}/new --temperature 1001",
        2,
        "temperature: Input should be less than or equal to 1000 (got 1001)",
    ),
    ("texts", "--output_dir {}/new --num_users 0", 2, "num_users: Input should be greater than or equal to 1 (got 0)"),
    (
        "texts",
        "--output_dir {}/new --num_users -1",
        2,
        "num_users: Input should be greater than or equal to 1 (got -1)",
    ),
    (
        "texts",
        "--output_dir {}/new --snapshots -1",
        2,
        "snapshots: Input should be greater than or equal to 0 (got -1)",
    ),
    (
        "texts",
        "--output_dir {}/new --snapshots 1000000000",
        2,
        "snapshots: Input should be less than or equal to 1000 (got 1000000000)",
    ),
    (
        "texts",
        "--output_dir {}/new --snapshots 1001",
        2,
        "snapshots: Input should be less than or equal to 1000 (got 1001)",
    ),
    (
        "texts",
        "--output_dir {}/new --concurrency 0 --backend openai",
        2,
        "concurrency: Input should be greater than or equal to 1 (got 0)",
    ),
    (
        "texts",
        "--output_dir {}/new --concurrency 1000000 --backend openai --base_url http://127.0.0.1:9/v1 --dry_run",
        2,
        "concurrency: Input should be less than or equal to 1000 (got 1000000)",
    ),
    (
        "texts",
        "--output_dir {}/new --requests_per_minute .inf",
        2,
        "requests_per_minute: Input should be a finite number (got inf)",
    ),
    (
        "texts",
        "--output_dir {}/new --requests_per_minute 1e-30 --backend openai --base_url http://127.0.0.1:9/v1 --dry_run",
        2,
        "--requests_per_minute is 1e-30, it can be 0 (no limit) or from 0.01 on",
    ),
    ("texts", "--output_dir {}/new --timeout 0", 2, "timeout: Input should be greater than 0 (got 0)"),
    ("texts", "--output_dir {}/new --timeout .inf", 2, "timeout: Input should be a finite number (got inf)"),
    (
        "texts",
        "--output_dir {}/new --max_retries -1",
        2,
        "max_retries: Input should be greater than or equal to 0 (got -1)",
    ),
    ("texts", "--output_dir {}/new --backoff .inf", 2, "backoff: Input should be a finite number (got inf)"),
    ("texts", "--output_dir {}/new --price_in .nan", 2, "price_in: Input should be a finite number (got nan)"),
    (
        "texts",
        "--output_dir {}/new --backend moon",
        2,
        "backend: Input should be 'openai', 'local' or 'none' (got 'moon')",
    ),
    ("texts", "--output_dir {}/new --skip_users --skip_items", 0, ""),
    ("preprocess", "--min_rating .nan", 2, "min_rating: Input should be a finite number (got nan)"),
    ("preprocess", "--min_rating -1", 2, "min_rating: Input should be greater than or equal to 0 (got -1)"),
    ("preprocess", "--min_rating .inf", 2, "min_rating: Input should be a finite number (got inf)"),
    ("preprocess", "--min_seq_len 2", 2, "min_seq_len: Input should be greater than or equal to 3 (got 2)"),
    ("preprocess", "--min_seq_len .inf", 2, "min_seq_len: Input should be a finite number (got inf)"),
    ("preprocess", "--dataset ../x", 2, "dataset: Input should be 'ml-100k' or 'ml-1m' (got '../x')"),
    ("compare", "--num_epochs -1", 2, "num_epochs: Input should be greater than or equal to 1 (got -1)"),
    ("compare", "--num_epochs .inf", 2, "num_epochs: Input should be a finite number (got inf)"),
    ("compare", "--pretrain_epochs -1", 2, "pretrain_epochs: Input should be greater than or equal to 0 (got -1)"),
    ("compare", "--hidden_size 0", 2, "hidden_size: Input should be greater than or equal to 2 (got 0)"),
    ("compare", "--hidden_size 3", 2, "hidden_size: Input should be a multiple of 2 (got 3)"),
    ("compare", "--device moon", 1, "device is 'moon'; it can be auto, cpu, cuda or cuda:1"),
    (
        "compare",
        "--hidden_size 1000000000",
        2,
        "hidden_size: Input should be less than or equal to 65536 (got 1000000000)",
    ),
    ("rule", "--threshold .nan", 2, "threshold: Input should be a finite number (got nan)"),
    ("rule", "--threshold -1", 2, "threshold: Input should be greater than or equal to 0 (got -1)"),
    ("rule", "--min_steps 1", 2, "min_steps: Input should be greater than or equal to 2 (got 1)"),
    ("rule", "--min_steps .inf", 2, "min_steps: Input should be a finite number (got inf)"),
    ("rule", "--nonsense", 2, "unknown flag --nonsense; --help lists all"),
    ("load", "--dataset ..", 2, "dataset: Input should be 'ml-100k' or 'ml-1m' (got '..')"),
    ("load", "--data_dir ''", 2, "data_dir: a path must not be empty"),
    ("load", "--plots ''", 2, "plots: a path must not be empty"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A place with everything in it, and a copy of it that nobody touches; letters counted in place of an encoder."""
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("ur4rec") / "place"
    place.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "encode_items", count_letters)
        patch.setattr(features, "checkpoint_fingerprint", lambda encoder: "letters")
        for name in ("DASHSCOPE_API_KEY", "OPENAI_API_KEY"):
            patch.delenv(name, raising=False)
        build_place(place)
        yield shutil.copytree(place, place.with_name("whole")), place


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


LONG = "--pretrain_retriever_epochs 1 --joint_finetune_epochs 1 --early_stop 0"
CHANGING = (".lock", ".verified", "logs/")


@pytest.mark.parametrize("pair", [pytest.param(n, marks=[pytest.mark.slow] if n > 0 else []) for n in range(20)])
def test_two_at_once_make_one(place, pair):
    shutil.rmtree(place / "out")
    check_race(race([lambda: run_command("train", place, LONG)] * 2), "up to date")
    check_answer(run_command("train", place, LONG), 0, "up to date")


def test_killed_at_some_time_it_ends_the_same(place):
    shutil.rmtree(place / "out")
    check_kill(lambda: run_command("train", place, LONG), place / "out", CHANGING, 0.5)


@pytest.mark.slow
def test_killed_before_any_access_to_a_file_it_ends_the_same(place):
    shutil.rmtree(place / "out")
    check_every_kill(lambda: run_command("train", place, LONG), place / "out", CHANGING)


def test_weights_that_are_no_numbers_end_a_training(place, monkeypatch):
    """In the step after, long before a validation; nothing is published."""
    clip = torch.nn.utils.clip_grad_norm_

    def spoil(parameters, *rest):
        parameters = list(parameters)
        parameters[0].grad.fill_(float("nan"))
        return clip(parameters, *rest)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoil)
    shutil.rmtree(place / "out")
    check_answer(run_command("train", place, "--batch_size 4"), 1, "of pretrain_sasrec: the losses are")
    assert not list(place.glob("*/best*"))
