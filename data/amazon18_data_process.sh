#!/usr/bin/env bash
# Amazon 2018: raw reviews and item records -> catalogue, sequences, splits; from any directory, e.g.
#   bash data/amazon18_data_process.sh --dataset Industrial_and_Scientific --user_k 5 --item_k 5 --st_year 2016 --st_month 10 \
#     --ed_year 2018 --ed_month 11 --raw_dir ./raw --output_path ./Amazon18
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/amazon_data_process.sh"
amazon_data_process amazon18 "$@"
