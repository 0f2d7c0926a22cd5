"""A language model's decoder as one ONNX graph, and the graph in small numbers.

B rows, S tokens that a pass reads, P tokens read before, d width, V vocabulary

The graph is torch's export of transformers' own decoder; what it takes and gives stands in `genrec.models.onnx_graph`.
The output layer stays outside, in float32: rankings differ by less than its rounding would change.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from genrec.artifacts import HEAD, remove_directories, save_array
from genrec.errors import ArtifactError, ConfigError
from genrec.models.exported import GRAPHS
from genrec.models.onnx_graph import INSTALL, MODEL_KEY

OPSET = 20
BLOCK = 32  # weights of a linear layer that share a scale in 4 bits
NAMES = ("key", "value")


class Step(nn.Module):
    """Decoder with its cache as flat inputs and outputs."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.decoder = model.get_decoder()

    def forward(self, ids: Tensor, position: Tensor, mask: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        cache = DynamicCache(list(zip(past[::2], past[1::2], strict=True)))
        hidden = self.decoder(
            input_ids=ids, position_ids=position, attention_mask=mask, past_key_values=cache, use_cache=True
        ).last_hidden_state
        return (hidden, *(array for layer in cache.layers for array in (layer.keys, layer.values)))


def require_exporter() -> None:
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise ConfigError(f"genrec export needs the package {error.name}, which is not installed; {INSTALL}") from None
    del onnx, onnxruntime, onnxscript


def write_head(model: PreTrainedModel, directory: Path) -> None:
    """(V, d) float32."""
    head = model.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        raise ArtifactError(
            f"a model of type {model.config.model_type} has an output layer with a bias, which no graph adds; "
            "use --export.backends bfloat16"
        )
    save_array(directory / HEAD, head.weight.detach().float().numpy())


def write_graph(model: PreTrainedModel, directory: Path, fingerprint: str) -> None:
    """step.onnx and step.onnx.data, in float32; the graph comes last."""
    import onnx

    past = probe_past(model)
    names = [f"{name}_{block}" for block in range(len(past) // 2) for name in NAMES]
    with building(directory, GRAPHS["onnx"]) as path, quiet():
        program = torch.onnx.export(
            Step(model).eval(),
            (*probe_tokens(past), *past),
            dynamo=True,
            dynamic_shapes=list_dynamic(past),
            opset_version=OPSET,
            input_names=["ids", "position", "mask", *names],
            output_names=["hidden", *(f"present_{name}" for name in names)],
            verbose=False,
        )
        assert program is not None, "the exporter by dynamo returns its program"
        program.save(path, external_data=True)
        graph = onnx.load(path, load_external_data=False)
        leave_out_traces(graph)
        onnx.helper.set_model_props(graph, {MODEL_KEY: fingerprint})
        onnx.save(graph, path)


def probe_past(model: PreTrainedModel) -> list[Tensor]:
    """Keys and values of seven tokens of two rows, as this model holds them: (2, H, 7, D) each."""
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model.get_decoder()(input_ids=torch.arange(14).view(2, 7), past_key_values=cache, use_cache=True)
    return [torch.zeros(array.shape) for layer in cache.layers for array in (layer.keys, layer.values)]


def probe_tokens(past: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, positions and mask of five more tokens of two rows."""
    rows, read = past[0].shape[0], past[0].shape[2]
    position = torch.arange(read, read + 5).expand(rows, 5).contiguous()
    return torch.arange(10).view(rows, 5), position, torch.ones(rows, 1, 5, read + 5, dtype=torch.bool)


def list_dynamic(past: list[Tensor]) -> tuple:
    """Rows, tokens and tokens before are of any number."""
    any_ = torch.export.Dim.DYNAMIC
    tokens = {0: any_, 1: any_}
    return (tokens, dict(tokens), {0: any_, 2: any_, 3: any_}, tuple({0: any_, 2: any_} for _ in past))


def leave_out_traces(graph) -> None:
    """What the exporter notes of its own source lines, with the paths of this machine."""
    nodes = [*graph.graph.node, *(node for function in graph.functions for node in function.node)]
    for part in (graph, graph.graph, *nodes, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


def write_int8(directory: Path) -> None:
    """The linear layers in 8 bits, a scale an output; activations are quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with building(directory, GRAPHS["onnx-int8"]) as path, quiet():
        quantize_dynamic(
            directory / GRAPHS["onnx"],
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
            extra_options={"MatMulConstBOnly": True},
        )


def write_int4(directory: Path) -> None:
    """The weights of the linear layers in 4 bits, a scale for BLOCK of them."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with building(directory, GRAPHS["onnx-int4"]) as path, quiet():
        quantizer = MatMulNBitsQuantizer(
            onnx.load(directory / GRAPHS["onnx"]), block_size=BLOCK, is_symmetric=True, accuracy_level=4
        )
        quantizer.process()
        quantizer.model.save_model_to_file(str(path), use_external_data_format=True)


@contextmanager
def building(directory: Path, name: str) -> Iterator[Path]:
    """Within: write a graph and its data under the path that is given; then they lie in `directory`, the graph last."""
    work = directory / f"{name}.building"
    remove_directories(work)
    work.mkdir()
    yield work / name
    for path in sorted(work.iterdir(), key=lambda path: path.name == name):
        os.replace(path, directory / path.name)
    work.rmdir()


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters tell of their steps."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
