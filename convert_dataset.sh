#!/usr/bin/env bash
# Export in MiniOneRec's layout; all flags go to convert_dataset.py, e.g. --config config/0.5b.yaml --output_path data/Amazon
set -euo pipefail
cd "$(dirname "$0")"
exec "${PYTHON:-python}" convert_dataset.py "$@"
