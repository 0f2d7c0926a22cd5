#!/usr/bin/env bash
# Score models on held-out rows; all flags go to evaluate.py, e.g. --base_model DIR --category Industrial_and_Scientific
set -euo pipefail
cd "$(dirname "$0")"
exec "${PYTHON:-python}" evaluate.py "$@"
