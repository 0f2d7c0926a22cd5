#!/usr/bin/env bash
# Export in MiniOneRec's layout; all flags go to convert_dataset.py, e.g. --config config/0.5b.yaml --output_path Amazon
set -euo pipefail
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/convert_dataset.py" "$@"
