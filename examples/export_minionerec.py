"""A run in MiniOneRec's layout, for its own scripts: train/, valid/, test/, info/, index/.

python examples/export_minionerec.py outputs/quickstart --config quickstart
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main(run: Path, *flags: str) -> None:
    subprocess.run([sys.executable, "-m", "genrec", "convert", "--run.dir", str(run), *flags], check=True)
    for path in sorted((run / "convert").rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:>10,}  {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
