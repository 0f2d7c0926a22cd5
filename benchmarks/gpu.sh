#!/usr/bin/env bash
# What one card does with the engine, in under eight minutes and without a hub: a Markdown table.
#
#     bash benchmarks/gpu.sh                        # the Qwen2.5-0.5B shape on the card
#     bash benchmarks/gpu.sh --device cpu --tiny    # the same parts on a small shape, in seconds
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec timeout 480 "${PYTHON:-python}" benchmarks/gpu.py "$@"
