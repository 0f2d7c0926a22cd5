import json

import numpy as np
import pytest

from tencentgr import files, rqvae
from tencentgr.id_encoder import IdEncoder
from tencentgr.options import RqvaeOptions


@pytest.fixture(scope="module")
def directory(sample, tmp_path_factory):
    out = tmp_path_factory.mktemp("ids")
    sizes = {"num_levels": 2, "codebook_size": 4, "num_epochs": 1}
    rqvae.train(RqvaeOptions(data_dir=sample, output_dir=out, mm_emb_id=["81", "82"], device="cpu", **sizes))
    return out


def test_a_call_gives_the_ids_that_the_command_wrote(sample, directory):
    written = json.loads((directory / files.SEMANTIC).read_text())
    vectors = {mm_id: dict(files.read_embedding(sample, mm_id)) for mm_id in ("81", "82")}
    names = [name for name in written if all(name in known for known in vectors.values())]
    given = {mm_id: np.stack([known[name] for name in names]) for mm_id, known in vectors.items()}
    assert IdEncoder(directory).encode(given).tolist() == [written[name] for name in names]


def test_other_vectors_than_those_of_the_training_are_refused(directory):
    encoder = IdEncoder(directory)
    assert encoder.encode({"81": np.zeros((0, 8)), "82": np.zeros((0, 12))}).shape == (0, 2)
    for given in ({"81": np.zeros((3, 8))}, {"81": np.zeros((3, 8)), "82": np.zeros((2, 12))}):
        with pytest.raises(ValueError, match="were given, .* are needed"):
            encoder.encode(given)
