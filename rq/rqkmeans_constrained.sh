#!/usr/bin/env bash
# Constrained RQ-Kmeans semantic IDs; also the first step of rqkmeans_plus.sh.
set -euo pipefail
exec "${PYTHON:-python}" "$(dirname "$0")/rqkmeans_constrained.py" "$@"
