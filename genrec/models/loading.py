"""A pretrained language model loaded whole: what a file lacks transformers fills with random numbers, we refuse it.

A head that is tied to the embedding is not missing, and buffers that are computed are not unexpected.
"""

from __future__ import annotations

import math
from logging import LogRecord
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from genrec.errors import ArtifactError
from genrec.runtime.finite import describe_not_finite
from genrec.runtime.tensor_file import and_others

REPORT = "LOAD REPORT"  # transformers' table of what is refused here in one line


def is_of_use(record: LogRecord) -> bool:
    return REPORT not in record.getMessage()


logging.get_logger("transformers.modeling_utils").addFilter(is_of_use)


def load_whole(source: Path | str, **how: Any) -> PreTrainedModel:
    """`AutoModelForCausalLM.from_pretrained` with every tensor of the model in the file, of its shape, and no other."""
    model, loading = AutoModelForCausalLM.from_pretrained(
        source, output_loading_info=True, ignore_mismatched_sizes=True, **how
    )
    refuse_differences(source, loading)
    if fault := describe_not_finite(model.state_dict().items()):
        refuse(source, fault)
    return model


def count_weights(directory: Path) -> int:
    """Numbers in the weight files, by their heads; 0 where they cannot be read, which loading them then says."""
    try:
        return sum(count_in_file(path) for path in directory.glob("*.safetensors"))
    except (OSError, SafetensorError):
        return 0


def count_in_file(path: Path) -> int:
    with safe_open(path, framework="numpy") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())


def refuse_differences(source: Path | str, loading: dict[str, Any]) -> None:
    """`loading` is what `output_loading_info` gives."""
    for name, stored, wanted in sorted(loading["mismatched_keys"]):
        refuse(source, f"the tensor '{name}' is {tuple(stored)}, its config.json asks for {tuple(wanted)}")
    for what, key in {"lacks": "missing_keys", "has more than its config.json asks for:": "unexpected_keys"}.items():
        if names := loading[key]:
            refuse(source, f"it {what} the tensor '{min(names)}'{and_others(len(names))}")


def refuse(source: Path | str, fault: str) -> None:
    raise ArtifactError(f"{source} cannot be loaded: {fault}; get its files again, or use another model")
