"""An exported graph answers as the model does, for any number of rows and tokens; small numbers come near."""

import numpy as np
import onnx
import pytest
import torch

from genrec.artifacts import HEAD
from genrec.errors import ArtifactError
from genrec.models.beam import beam_search
from genrec.models.exact import exact_search
from genrec.models.exported import GRAPHS
from genrec.models.onnx_decoder import OnnxDecoder
from genrec.models.onnx_export import OPSET, write_graph, write_head, write_int4, write_int8
from genrec.models.onnx_graph import Graph
from genrec.models.passes import read_tokens
from genrec.models.trie import build_trie
from tests import ROOT
from tests.models.conftest import FAMILIES, SHAPE

SHAPES = [pytest.param(name, marks=[pytest.mark.slow] if name != "qwen2" else []) for name in FAMILIES]


@pytest.fixture(scope="module", params=SHAPES)
def exported(request, tmp_path_factory):
    """(model, directory with its three graphs)."""
    torch.manual_seed(0)
    config, family, extra = FAMILIES[request.param]
    model = family._from_config(config(**SHAPE, **extra), attn_implementation="sdpa").eval()
    directory = tmp_path_factory.mktemp(request.param)
    write_head(model, directory)
    write_graph(model, directory, "fingerprint")
    write_int8(directory)
    write_int4(directory)
    return model, directory


def decoder(model, directory, backend="onnx"):
    return OnnxDecoder(Graph(directory / GRAPHS[backend], "fingerprint"), np.load(directory / HEAD), model.config)


@pytest.mark.parametrize(("rows", "read", "more"), [(1, 1, 1), (1, 6, 2), (4, 3, 11), (3, 17, 1)])
def test_rows_tokens_and_past_are_of_any_number(exported, rows, read, more):
    model, directory = exported
    graph, ids = decoder(model, directory), torch.randint(0, 40, (rows, read + more))
    mask = torch.rand(rows, 1, more, read + more) < 0.5
    mask[..., 0] = True
    position = torch.randint(read, read + 4, (rows, more))
    answers = []
    with torch.inference_mode():
        for side in (model, graph):
            first, past = read_tokens(side, ids[:, :read])
            answers.append((first, read_tokens(side, ids[:, read:], position, mask, past)[0]))
    for ours, wanted in zip(answers[1], answers[0], strict=True):
        assert torch.allclose(ours, wanted, atol=2e-5)


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
def test_searches_over_the_graph_give_the_models_lists(exported, sids, prompts, index, normalization):
    model, directory = exported
    trie, graph = build_trie(index), decoder(model, directory)
    for search in (beam_search, exact_search):
        leaf, score = search(graph, trie, sids, prompts, 8, normalization)
        wanted, value = search(model, trie, sids, prompts, 8, normalization)
        assert torch.equal(leaf, wanted) and torch.allclose(score, value, atol=1e-4)


def test_exact_ranking_in_chunks_cuts_the_past_back(exported, sids, prompts, index):
    model, directory = exported
    trie = build_trie(index)
    leaf, _ = exact_search(decoder(model, directory), trie, sids, prompts, 8, "vocab", None, 20)
    assert torch.equal(leaf, exact_search(model, trie, sids, prompts, 8)[0])


@pytest.mark.parametrize(("backend", "most"), [("onnx-int8", 0.1), ("onnx-int4", 0.7)])
def test_small_numbers_come_near(exported, backend, most):
    """The error of the hidden states is a share of what they are."""
    model, directory = exported
    ids = torch.randint(0, 40, (4, 12))
    with torch.inference_mode():
        wanted, ours = (read_tokens(side, ids)[0] for side in (model, decoder(model, directory, backend)))
    assert 0 < float((ours - wanted).norm() / wanted.norm()) < most


def test_a_graph_says_what_it_is_and_nothing_of_this_machine(exported):
    model, directory = exported
    for name in GRAPHS.values():
        graph = onnx.load(directory / name, load_external_data=False)
        versions = {each.domain: each.version for each in graph.opset_import}
        assert versions[""] >= OPSET and {p.key: p.value for p in graph.metadata_props}["genrec.model"] == "fingerprint"
        assert str(ROOT).encode() not in (directory / name).read_bytes()
    assert not list(directory.glob("*.building"))
    assert np.array_equal(np.load(directory / HEAD), model.get_output_embeddings().weight.detach().numpy())


@pytest.mark.parametrize("exported", ["qwen2"], indirect=True)
def test_the_same_model_gives_the_same_bytes(exported, tmp_path):
    model, directory = exported
    write_graph(model, tmp_path, "fingerprint")
    for name in (GRAPHS["onnx"], f"{GRAPHS['onnx']}.data"):
        assert (tmp_path / name).read_bytes() == (directory / name).read_bytes(), name


def test_an_output_layer_with_a_bias_is_refused(tmp_path):
    from transformers import PhiConfig, PhiForCausalLM

    model = PhiForCausalLM(PhiConfig(**SHAPE | {"num_key_value_heads": 4}))
    with pytest.raises(ArtifactError, match="model of type phi has an output layer with a bias"):
        write_head(model, tmp_path)
