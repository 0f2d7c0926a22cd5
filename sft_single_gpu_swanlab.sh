#!/usr/bin/env bash
# SFT on one GPU with SwanLab curves (local, no account). The variables are the usual knobs; flags after them win.
#   BASE_MODEL=/models/Qwen2.5-0.5B-Instruct MICRO_BATCH_SIZE=8 bash sft_single_gpu_swanlab.sh --config config/0.5b.yaml
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-0}" exec python sft.py \
    --base_model "${BASE_MODEL:-Qwen/Qwen2.5-0.5B-Instruct}" \
    --batch_size "${BATCH_SIZE:-128}" \
    --micro_batch_size "${MICRO_BATCH_SIZE:-16}" \
    --num_epochs "${NUM_EPOCHS:-3}" \
    --learning_rate "${LEARNING_RATE:-5e-4}" \
    --cutoff_len "${CUTOFF_LEN:-256}" \
    --run.tracker swanlab "$@"
