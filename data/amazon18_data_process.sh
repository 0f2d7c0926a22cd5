#!/usr/bin/env bash
# Amazon 2018: raw reviews and item records -> catalogue, sequences, splits; from any directory, e.g.
#   bash data/amazon18_data_process.sh --dataset Industrial_and_Scientific --user_k 5 --item_k 5 --st_year 1996 --st_month 10 \
#     --ed_year 2018 --ed_month 10 --output_path ./Amazon18
# Raw files lie in, or are downloaded to, raw/ of this checkout (--raw_dir); the run is outputs/<dataset> (--run.dir).
set -euo pipefail
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/prepare.py" --source amazon18 "$@"
