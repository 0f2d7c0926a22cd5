#!/usr/bin/env bash
# SFT on one GPU with SwanLab curves (local, no account). A variable that is set wins over the preset, a flag over both.
#   BASE_MODEL=/models/Qwen2.5-0.5B-Instruct MICRO_BATCH_SIZE=8 bash sft_single_gpu_swanlab.sh --config config/0.5b.yaml
# Variables: BASE_MODEL BATCH_SIZE MICRO_BATCH_SIZE NUM_EPOCHS LEARNING_RATE CUTOFF_LEN, and CUDA_VISIBLE_DEVICES (0).
set -euo pipefail
flags=(--run.tracker swanlab)
for name in BASE_MODEL BATCH_SIZE MICRO_BATCH_SIZE NUM_EPOCHS LEARNING_RATE CUTOFF_LEN; do
    [[ -z "${!name:-}" ]] || flags+=("--$(tr '[:upper:]' '[:lower:]' <<<"$name")" "${!name}")
done
export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-0}"
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/sft.py" "${flags[@]}" "$@"
