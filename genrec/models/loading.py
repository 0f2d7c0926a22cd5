"""A pretrained language model loaded whole: what a file lacks transformers fills with random numbers, we refuse it.

A head that is tied to the embedding is not missing, and buffers that are computed are not unexpected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, PreTrainedModel

from genrec.errors import ArtifactError
from genrec.runtime.tensor_file import and_others, check_model_finite


def load_whole(source: Path | str, **how: Any) -> PreTrainedModel:
    """`AutoModelForCausalLM.from_pretrained` with every tensor of the model in the file, of its shape, and no other."""
    model, loading = AutoModelForCausalLM.from_pretrained(
        source, output_loading_info=True, ignore_mismatched_sizes=True, **how
    )
    refuse_differences(source, loading)
    check_model_finite(model.state_dict().items(), source)
    return model


def refuse_differences(source: Path | str, loading: dict[str, Any]) -> None:
    """`loading` is what `output_loading_info` gives."""
    for name, stored, wanted in sorted(loading["mismatched_keys"]):
        refuse(source, f"the tensor '{name}' is {tuple(stored)}, its config.json asks for {tuple(wanted)}")
    for what, key in {"lacks": "missing_keys", "has more than its config.json asks for:": "unexpected_keys"}.items():
        if names := loading[key]:
            refuse(source, f"it {what} the tensor '{min(names)}'{and_others(len(names))}")


def refuse(source: Path | str, fault: str) -> None:
    raise ArtifactError(f"{source} holds no whole language model: {fault}; get its files again, or use another model")
