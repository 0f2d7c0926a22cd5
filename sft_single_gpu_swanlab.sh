#!/usr/bin/env bash
# SFT on one GPU with SwanLab curves (local, no account). A variable that is set wins over the preset, a flag over both.
#   BASE_MODEL=/models/Qwen2.5-0.5B-Instruct MICRO_BATCH_SIZE=8 bash sft_single_gpu_swanlab.sh
# Changed variables and the same command again begin a new run from this one (<run>_2): --run.when_changed new_run.
# Variables: BASE_MODEL BATCH_SIZE MICRO_BATCH_SIZE NUM_EPOCHS LEARNING_RATE CUTOFF_LEN, and CUDA_VISIBLE_DEVICES (0).
set -euo pipefail
flags=(--run.tracker swanlab --run.when_changed new_run)
for name in BASE_MODEL BATCH_SIZE MICRO_BATCH_SIZE NUM_EPOCHS LEARNING_RATE CUTOFF_LEN; do
    [[ -z "${!name:-}" ]] || flags+=("--$(tr '[:upper:]' '[:lower:]' <<<"$name")" "${!name}")
done
export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-0}"
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/sft.py" "${flags[@]}" "$@"
