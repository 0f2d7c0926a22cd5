#!/usr/bin/env bash
# Item texts -> vectors. --dataset --root --plm_checkpoint as in the recipe; without --root the run of the config.
set -euo pipefail
exec "${PYTHON:-python}" "$(dirname "$0")/amazon_text2emb.py" "$@"
