#!/usr/bin/env bash
# Amazon 2023: raw reviews and item records -> catalogue, sequences, splits; from any directory, e.g.
#   bash data/amazon23_data_process.sh --dataset Industrial_and_Scientific --user_k 5 --item_k 5 --st_year 2016 --st_month 10 \
#     --ed_year 2023 --ed_month 10 --raw_dir ./raw --output_path ./Amazon23
# The data artifact goes to outputs/<dataset>_amazon23/data of the project (--run.dir moves it), the .inter files to --output_path.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dataset=Industrial_and_Scientific
for ((i = 1; i < $#; i++)); do
  if [[ ${!i} == --dataset ]]; then next=$((i + 1)) && dataset=${!next}; fi
done
exec "${PYTHON:-python}" "$root/data/prepare.py" --source amazon23 --dataset "$dataset" --raw_dir "$root/raw" \
  --run.dir "$root/outputs/${dataset}_amazon23" --ed_year 2023 --ed_month 10 "$@"
