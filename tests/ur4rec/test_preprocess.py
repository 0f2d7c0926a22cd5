import json
import subprocess
import sys

import numpy as np

from tests import ROOT
from tests.ur4rec.small import film_id, write_collection, write_posters
from UR4Rec.data.dataset_loader import load_ml_100k


def preprocess(*flags):
    command = [sys.executable, "UR4Rec/scripts/preprocess_multimodal_dataset.py", *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_files_say_what_the_loader_says(tmp_path):
    collection = write_collection(tmp_path / "raw")
    write_posters(collection / "image", [film_id(2), film_id(40)])
    done = preprocess("--data_dir", collection, "--output_dir", tmp_path / "out", "--copy_images")
    assert done.returncode == 0, done.stderr
    items, sequences, _ = load_ml_100k(collection)
    loaded = {name: np.load(tmp_path / "out" / f"{name}_sequences.npz") for name in ("train", "val", "test")}
    for row, films in enumerate(sequences.values()):
        cuts = [file["item"][file["offset"][row] : file["offset"][row + 1]].tolist() for file in loaded.values()]
        assert cuts == [films[:-2], films[-2:-1], films[-1:]]

    def read(name):
        return json.loads((tmp_path / "out" / name).read_text())

    assert read("item_metadata.json") == {str(number): item for number, item in items.items()}
    assert read("item_map.json")[str(film_id(40))] == 40 and read("user_map.json")["101"] == 1
    assert read("stats.json")["images"] == 2 and read("stats.json")["sequences"] == len(sequences)
    assert sorted(path.name for path in (tmp_path / "out" / "images").iterdir()) == ["2.png", "40.png"]


def test_limits_act_and_too_short_sequences_are_refused(tmp_path):
    collection = write_collection(tmp_path / "raw")
    flags = ("--data_dir", collection, "--output_dir", tmp_path / "out", "--min_rating", "5", "--min_seq_len", "3")
    assert preprocess(*flags).returncode == 0
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    ratings = [line.split("::") for line in (collection / "ratings.dat").read_text().splitlines()]
    assert stats["liked"] == sum(row[2] == "5" for row in ratings)
    done = preprocess("--output_dir", tmp_path / "x", "--min_seq_len", "2")
    assert done.returncode == 2 and "min_seq_len: Input should be greater than or equal to 3 (got 2)" in done.stderr
