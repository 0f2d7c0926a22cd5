"""A finished run of every stage on the small shop, copied for each case, and the ways in which its files go wrong."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from genrec import artifacts, cli

DATASET = "small"
NUM_ITEMS = 20
PRESET = """\
data: {source: toy, dataset: small, max_history: 6}
sids: {method: rqkmeans, num_levels: 2, codebook_size: 8, factors: 4}
embeddings: {plm_checkpoint: nowhere}
sequential: {hidden_size: 8, num_layers: 1, num_heads: 1, num_epochs: 1}
sft:
  train_from_scratch: true
  scratch: {hidden_size: 16, num_layers: 1, num_heads: 1, intermediate_size: 16, vocab_size: 300}
  sid_init: random
  tasks: {sid_to_sid: 1}
  num_epochs: 0.3
  batch_size: 16
  eval_step: 1
  valid_size: 10
rl:
  tasks: {sid_to_sid: 1}
  sample_train: true
  sample_size: 8
  num_generations: 4
  batch_size: 16
  micro_batch_size: 16
  eval_step: 1
  valid_size: 10
  lora: {r: 0}
evaluation: {models: [popular, sasrec, sft], num_beams: 5, limit: 20}
analysis: {model: sft}
run: {device: cpu}
"""
STAGES = ("sids", "convert", "sequential", "sft", "rl", "evaluate", "analyze")


@dataclass(frozen=True)
class Outcome:
    code: int  # -1: a traceback
    errors: list[str]  # lines of stderr that begin with "error: "
    out: str
    stderr: str
    traceback: BaseException | None = field(default=None, repr=False)

    def check(self, code: int, pattern: str) -> None:
        """The exit code, and one line that says it; of a command that succeeds, none."""
        if self.traceback is not None:
            raise AssertionError(f"ends in a traceback: {self.traceback!r}") from self.traceback
        assert (self.code, len(self.errors)) == (code, int(code != 0)), (self.stderr or self.out)[-300:]
        where = self.errors[0] if code else self.out
        assert re.search(pattern, where), where[-300:]
        if code:
            assert self.stderr.rstrip("\n").split("\n")[-1] == self.errors[0], "the error is the last word"


def call(*argv: str) -> Outcome:
    """`genrec ARGV` in this process."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    code, traceback = 0, None
    try:
        with redirect_stdout(out), redirect_stderr(err):
            cli.main([str(word) for word in argv])
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException as error:
        code, traceback = -1, error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    printed, said = (stream.buffer.getvalue().decode() for stream in (out, err))
    errors = [line for line in re.split(r"[\n\r]", said) if line.startswith("error: ")]
    return Outcome(code, errors, printed, said, traceback)


@dataclass(frozen=True)
class Shop:
    """A run directory and the flags that every command of it takes."""

    home: Path

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def preset(self) -> Path:
        return self.home / "small.yaml"

    def flags(self, *more: str) -> list[str]:
        return ["--config", str(self.preset), "--run.dir", str(self.run), *more]

    def call(self, command: str, *more: str) -> Outcome:
        return call(command, *self.flags(*more))

    def remove(self, *names: str) -> None:
        for name in names:
            shutil.rmtree(self.run / name)


def copy_shop(original: Shop, home: Path) -> Shop:
    """Hard links, so that a copy costs nothing; whoever changes a file writes it anew (`put`)."""
    shutil.copytree(
        original.home, home, copy_function=os.link, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*.lock")
    )
    return Shop(home)


def put(path: Path, content: bytes | str) -> None:
    """A file in place of what is there; other links to the old one keep it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def seal(artifact: Path) -> None:
    """The manifest says what lies there now, as though the artifact had been made so; its fingerprint stays."""
    manifest = json.loads((artifact / artifacts.MANIFEST).read_text())
    have = {path.relative_to(artifact).as_posix() for path in artifact.rglob("*") if path.is_file()}
    for name in manifest["files"]:
        if name in have:
            content = (artifact / name).read_bytes()
            manifest["files"][name] |= {"bytes": len(content), "sha256": artifacts.sha256(artifact / name)}
    manifest["files"] = {name: entry for name, entry in manifest["files"].items() if name in have}
    put(artifact / artifacts.MANIFEST, json.dumps(manifest))


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: np.asarray(value) for name, value in arrays.items()})
    return file.getvalue()


def npy(array, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=allow_pickle)
    return file.getvalue()


def rewrite_npz(path: Path, **arrays) -> None:
    """Some arrays of an npz replaced; None leaves one out."""
    with np.load(path, allow_pickle=False) as file:
        content = dict(file) | arrays
    put(path, npz(**{name: value for name, value in content.items() if value is not None}))


def rewrite_json(path: Path, **values) -> None:
    """Some keys of a JSON object replaced; None leaves one out."""
    content = json.loads(path.read_text()) | values
    put(path, json.dumps({name: value for name, value in content.items() if value is not None}))


def build_shop(home: Path) -> Shop:
    from genrec.commandline import parse_strict, stage_program
    from tests.small_shop import run_stage, small_shop, write_data

    shop = Shop(home)
    home.mkdir(parents=True, exist_ok=True)
    shop.preset.write_text(PRESET)
    config = parse_strict(stage_program("genrec", ""), shop.flags()).config
    write_data(config, small_shop(num_users=40, num_items=NUM_ITEMS, length=9))

    def embed(config, partial):
        vectors = np.random.default_rng(0).normal(size=(NUM_ITEMS, 8)).astype(np.float32)
        np.save(partial / artifacts.EMBEDDINGS.format(dataset=DATASET), vectors)
        return {}

    run_stage("embeddings", config, embed)
    for command in STAGES:
        done = shop.call(command)
        assert done.code == 0, f"{command}: {done.stderr} {done.traceback!r}"
    return shop


if __name__ == "__main__":
    build_shop(Path(sys.argv[1]))
