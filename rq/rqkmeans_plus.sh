#!/usr/bin/env bash
# RQ-Kmeans+ semantic IDs, from the codebooks of rqkmeans_constrained.sh when those are there.
set -euo pipefail
exec "${PYTHON:-python}" "$(dirname "$0")/rqkmeans_plus.py" "$@"
