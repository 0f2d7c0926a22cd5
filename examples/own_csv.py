"""From two CSV files of a shop to recommendations: events.csv (user, item, time) and items.csv (item, title).

python examples/own_csv.py DIRECTORY        writes a small shop there, prepares it, trains and recommends
"""

from __future__ import annotations

import csv
import random
import subprocess
import sys
from pathlib import Path

CONFIG = """\
extends: tiny
run: {dir: outputs/my_shop}
data: {source: table, dataset: my_shop, events: events.csv, items: items.csv, split: leave_one_out}
"""


def write_shop(directory: Path) -> None:
    """Readers of novels and of cookbooks, who go from one volume to the next."""
    random.seed(0)
    titles = [f"{kind}, volume {number}" for kind in ("A novel", "A cookbook") for number in range(1, 41)]
    with (directory / "items.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["item_id", "title"])
        rows.writerows((f"i{place}", title) for place, title in enumerate(titles))
    with (directory / "events.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user_id", "item_id", "timestamp"])
        for user in range(400):
            first = random.choice((0, 40)) + random.randrange(30)
            for step in range(8):
                item = first + step if random.random() < 0.8 else random.randrange(80)
                rows.writerow([f"u{user}", f"i{item}", f"2024-01-{step + 1:02d}T{user % 24:02d}:00:00"])


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    write_shop(directory)
    (directory / "my.yaml").write_text(CONFIG)
    genrec = [sys.executable, "-m", "genrec"]
    subprocess.run([*genrec, "run", "--config", "my.yaml", "--yes"], cwd=directory, check=True)
    subprocess.run(
        [*genrec, "recommend", "--run.dir", "outputs/my_shop", "--titles", "A novel, volume 3", "--k", "5"],
        cwd=directory,
        check=True,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "my_shop"))
