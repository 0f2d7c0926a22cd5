#!/usr/bin/env bash
# Train on ./data (or TRAIN_DATA_PATH); where ./data is not there, on a sample made for the purpose. Flags pass through.
#   bash run.sh
#   bash run.sh --num_epochs 3 --use_adaptive_similarity
set -euo pipefail
cd "$(dirname "$0")"

data="${TRAIN_DATA_PATH:-./data}"
if [ -z "${TRAIN_DATA_PATH:-}" ] && [ ! -e "$data/seq.jsonl" ]; then
  echo "no competition data in tencentgr/data: writing a sample there"
  python make_sample.py --output_dir "$data"
fi
python main.py --config config.yaml --data_dir "$data" "$@"
