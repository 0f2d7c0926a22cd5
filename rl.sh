#!/usr/bin/env bash
# RL (GRPO) from an SFT model. A variable that is set wins over the preset, a flag over both. Other settings than those of
# the run's rl/ begin a new run from it, <run>_2.
#   MODEL_PATH=outputs/Industrial_and_Scientific/sft NUM_GENERATIONS=8 bash rl.sh
# Variables: MODEL_PATH TRAIN_BATCH_SIZE NUM_TRAIN_EPOCHS SAMPLE_TRAIN SAMPLE_SIZE REWARD_TYPE NUM_GENERATIONS EVAL_STEP
# BETA LEARNING_RATE SYNC_REF_MODEL BEAM_SEARCH DYNAMIC_SAMPLING ADD_GT MASK_ALL_ZERO TEMPERATURE DAPO GSPO
# TEST_DURING_TRAINING, and NPROC (1): processes, one a GPU.
set -euo pipefail
flags=()
for name in MODEL_PATH TRAIN_BATCH_SIZE NUM_TRAIN_EPOCHS SAMPLE_TRAIN SAMPLE_SIZE REWARD_TYPE NUM_GENERATIONS EVAL_STEP \
    BETA LEARNING_RATE SYNC_REF_MODEL BEAM_SEARCH DYNAMIC_SAMPLING ADD_GT MASK_ALL_ZERO TEMPERATURE DAPO GSPO \
    TEST_DURING_TRAINING; do
    [[ -z "${!name:-}" ]] || flags+=("--$(tr '[:upper:]' '[:lower:]' <<<"$name")" "${!name}")
done
launch=("${PYTHON:-python}")
((${NPROC:-1} == 1)) || launch+=(-m torch.distributed.run --nproc_per_node "$NPROC")
exec "${launch[@]}" "$(dirname "${BASH_SOURCE[0]}")/rl.py" ${flags[@]+"${flags[@]}"} "$@"
