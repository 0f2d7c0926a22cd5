"""A PostgreSQL server of its own in a directory, behind a socket there; the tests start and stop it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

MISSING = "there is no PostgreSQL server here: apt-get install postgresql"


def find_programs() -> Path | None:
    """Where initdb lies: Debian keeps it off the PATH."""
    on_path = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(on_path).parent if on_path else debian[-1].parent if debian else None


class PostgresServer:
    def __init__(self, programs: Path):
        self.programs, self.place = programs, Path(tempfile.mkdtemp(prefix="genrec-postgres-"))
        self.user = {}
        if os.geteuid() == 0:  # as which PostgreSQL does not run
            shutil.chown(self.place, "postgres", "postgres")
            self.user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        self.call("initdb", "--username=shop", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8")
        self.url = f"postgresql://shop:a-secret@/postgres?host={self.place}"

    def call(self, program: str, *words: str) -> None:
        command = [self.programs / program, "-D", self.place / "data", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.place, timeout=60, **self.user)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self.place} -c synchronous_commit=off"
        self.call("pg_ctl", "-w", "-l", str(self.place / "log"), "-o", options, "start")

    def stop(self, how: str) -> None:
        self.call("pg_ctl", "-w", "-m", how, "stop")

    def empty(self) -> str:
        """The URL, behind which nothing is kept."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS genrec_event, genrec_deleted")
        return self.url

    def remove(self) -> None:
        shutil.rmtree(self.place)
