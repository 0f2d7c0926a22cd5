"""Training end to end on a small sample: learning, files, logs, a kill, a second process, other runs, errors."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from genrec.errors import ArtifactError
from genrec.evaluation.report import describe_rows, read_report
from genrec.lock import only_writer
from genrec.runtime.tensor_file import write_tensors
from genrec.stages.compare import write_comparison
from tencentgr.assembly import interactions_of, shape_of
from tencentgr.checkpoints import load_model, read_weights
from tencentgr.dataset import SequenceRows, load_data
from tencentgr.entries import locate_source
from tencentgr.generator import write_sample
from tencentgr.learner import TencentGRLearner
from tencentgr.losses import Objective
from tencentgr.main import main
from tencentgr.options import TencentGROptions, parse_strict
from tencentgr.training import train
from tests import ROOT
from tests.small_shop import small_config, small_shop, write_data

MAIN = ROOT / "tencentgr/main.py"
SMALL = ["--num_epochs", "2", "--hidden_units", "16", "--num_blocks", "1", "--batch_size", "32", "--lr", "0.003"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sample")
    write_sample(directory, 160, 60, mm_emb_id=("81",))
    return directory


def line(sample: Path, out: Path, *more: str) -> list[str]:
    places = ["--data_dir", str(sample), "--log_dir", str(out / "logs"), "--tb_dir", str(out / "tb")]
    return [*places, "--device", "cpu", *SMALL, *more]


def options(sample: Path, out: Path, *more: str) -> TencentGROptions:
    return parse_strict(line(sample, out, "--tracker", "none", *more))


def log_of(out: Path) -> list[dict]:
    return [json.loads(text) for text in (out / "logs/train.log").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(sample, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    more = ["--save_freq", "1", "--use_adaptive_similarity", "--use_smart_sampling", "--save_steps", "2"]
    train(options(sample, out, *more))
    return out


def test_it_learns_and_says_so(trained):
    results = json.loads((trained / "logs/evaluation/results.json").read_text())
    metrics = {name: values["mean"] for name, values in results["metrics"].items()}
    assert metrics["auc"] > 0.65  # ten small steps; a model that knows nothing has .5
    assert metrics["score"] == pytest.approx(0.31 * metrics["hr@10"] + 0.69 * metrics["ndcg@10"], abs=1e-5)
    assert {"hr@5", "ndcg@10", "mrr@50"} <= set(metrics)


def test_every_step_is_in_the_log_with_the_learned_weights(trained):
    steps = [entry for entry in log_of(trained) if "loss" in entry]
    assert [entry["global_step"] for entry in steps] == list(range(1, len(steps) + 1))
    assert {"alpha", "beta", "gamma", "temperature", "learning_rate", "epoch", "time"} <= set(steps[0])
    assert steps[0]["alpha"] != steps[-1]["alpha"] and steps[-1]["loss"] < steps[0]["loss"]
    valid = [entry for entry in log_of(trained) if "valid_loss" in entry]
    assert [entry["epoch"] for entry in valid] == [1, 2]


def test_each_kept_checkpoint_says_all_of_itself(trained):
    kept = sorted((trained / "logs").glob("global_step*.valid_loss=*"))
    assert len(kept) == 2
    card = json.loads((kept[0] / "config.json").read_text())
    assert {"args", "model_params", "epoch", "global_step", "valid_loss"} <= set(card)
    assert card["args"]["use_smart_sampling"] is True and f"{card['valid_loss']:.4f}" in kept[0].name


@pytest.mark.parametrize("name", ["best_model.pt", "best_model.safetensors", "."])
def test_all_forms_of_a_model_are_one_model(sample, trained, name):
    wanted, card = read_weights(trained / "logs/best_model.safetensors")
    tensors, actual = read_weights(trained / "logs" / name)
    assert actual == card and all(torch.equal(tensors[key], wanted[key]) for key in wanted)
    model, _ = load_model(trained / "logs" / name, None, None)
    assert model.similarity.adaptive and model.shape.hidden_size == 16


def test_bare_weights_need_flags_that_fit(sample, trained, tmp_path):
    tensors, _ = read_weights(trained / "logs/best_model.pt")
    torch.save(tensors, tmp_path / "model.pt")
    schema = load_data(locate_source(sample)).schema
    fitting = shape_of(options(sample, tmp_path, "--use_adaptive_similarity"))
    assert load_model(tmp_path / "model.pt", fitting, schema)[1] is None
    says = "model.pt, for the model that the flags and data describe, cannot be loaded: it has the tensor .*pass other"
    with pytest.raises(ArtifactError, match=says):
        load_model(tmp_path / "model.pt", shape_of(options(sample, tmp_path)), schema)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda tensors, name: tensors.pop(name), "it lacks the tensor '{}'; put the file back, or make it anew"),
        (lambda tensors, name: tensors[name].fill_(torch.nan), "values of '{}' are no finite numbers; put the file"),
        (
            lambda tensors, name: tensors.update(more=torch.zeros(1)),
            "it has the tensor 'more', which the model has not",
        ),
        (lambda tensors, name: tensors.update({name: torch.zeros(1)}), r"it has the tensor '{}' as \(1,\), the model"),
    ],
)
def test_weights_with_a_card_are_all_there_and_numbers(trained, tmp_path, change, says):
    tensors, card = read_weights(trained / "logs/best_model.safetensors")
    name = max(tensors)
    change(tensors, name)
    write_tensors(tmp_path / "model.safetensors", tensors, "card", card)
    with pytest.raises(ArtifactError, match=says.format(name)):
        load_model(tmp_path / "model.safetensors", None, None)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"model_state_dict": Evil()}))
    with pytest.raises(ArtifactError, match="cannot be read as tensors"):
        read_weights(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_results_can_be_compared(sample, trained, tmp_path):
    train(options(sample, tmp_path))
    directories = [out / "logs/evaluation/results.json" for out in (tmp_path, trained)]
    said = write_comparison(*directories, tmp_path / "comparison", 0)
    assert "ndcg@10" in said and (tmp_path / "comparison/comparison.json").exists()


def test_killed_and_begun_again_it_ends_the_same(sample, trained, tmp_path):
    more = ["--save_freq", "1", "--use_adaptive_similarity", "--use_smart_sampling", "--save_steps", "2"]
    command = [sys.executable, str(MAIN), *line(sample, tmp_path, *more), "--tracker", "none"]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=alone, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    log = tmp_path / "logs/train.log"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 3):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read().decode()
    train(options(sample, tmp_path, *more))
    before, after = (read_weights(out / "logs/best_model.safetensors")[0] for out in (trained, tmp_path))
    assert all(torch.equal(before[name], after[name]) for name in before)
    without_time = [
        [{k: v for k, v in entry.items() if k != "time"} for entry in log_of(out)] for out in (trained, tmp_path)
    ]
    assert without_time[0] == without_time[1]


def test_a_finished_run_is_left_alone_and_another_one_moves_it(sample, trained, tmp_path, capsys):
    train(options(sample, tmp_path, "--num_epochs", "1"))
    stamp = (tmp_path / "logs/best_model.pt").stat().st_mtime_ns
    train(options(sample, tmp_path, "--num_epochs", "1"))
    assert "is finished" in capsys.readouterr().out and (tmp_path / "logs/best_model.pt").stat().st_mtime_ns == stamp
    train(options(sample, tmp_path, "--num_epochs", "1", "--lr", "0.001"))
    said = capsys.readouterr().out
    assert "moved to" in said and "learning_rate is 0.003 there, 0.001 asked" in said
    assert (tmp_path / "logs/earlier-1/best_model.pt").stat().st_mtime_ns == stamp
    assert json.loads((tmp_path / "logs/best_model.json").read_text())["args"]["learning_rate"] == 0.001


def test_a_directory_has_one_writer(sample, tmp_path):
    with only_writer(tmp_path / "logs"), pytest.raises(ArtifactError, match="logs is being written by process"):
        train(options(sample, tmp_path))


def test_clean_forgets_the_run_before(sample, tmp_path):
    train(options(sample, tmp_path, "--num_epochs", "1"))
    stamp = (tmp_path / "logs/best_model.pt").stat().st_mtime_ns
    train(options(sample, tmp_path, "--num_epochs", "1", "--seed", "1"), clean=True)
    assert (tmp_path / "logs/best_model.pt").stat().st_mtime_ns != stamp
    assert not list((tmp_path / "logs").glob("earlier-*"))


def test_two_processes_train_one_model(sample, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(MAIN)]
    command = [*launcher, *line(sample, tmp_path, "--num_epochs", "1", "--tracker", "none")]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    steps = [entry for entry in log_of(tmp_path) if "loss" in entry]
    assert len(steps) == 3  # ceil(144 / 2 / 32)
    assert (tmp_path / "logs/evaluation/results.json").exists()


def test_an_error_in_a_batch_ends_the_run(sample, tmp_path, monkeypatch):
    def broken(self, batch, progress=0.0):
        raise ValueError("this batch is broken")

    monkeypatch.setattr(Objective, "forward", broken)
    with pytest.raises(ValueError, match="this batch is broken"):
        train(options(sample, tmp_path))


def test_what_is_held_out_is_not_known_to_the_sampler(sample):
    data = load_data(locate_source(sample))
    first = np.array([0, 2])
    rows = SequenceRows(first, data.sequences.offset[first] + 3)
    sequence, item = interactions_of(data, rows)
    own = {0: data.sequences.item[:3].tolist(), 2: data.sequences.item[data.sequences.offset[2] :][:3].tolist()}
    assert {int(s) for s in sequence} == {0, 2}
    assert all(item[sequence == s].tolist() == items for s, items in own.items())


SWITCHES = (
    "--bf16 --gradient_checkpointing --rotary --norm_first --time_features --use_action_type --use_user_id "
    "--use_smart_sampling --use_curriculum_learning --curriculum_schedule cosine --dynamic_candidates 3 "
    "--optimizer adamw --warmup_steps 2 --l2_emb 0.001 --grad_clip 0 --early_stop 1 --valid_share 0.2 "
    "--num_negatives 2 --num_workers 1 --tracker swanlab"
).split()


def test_all_switches_at_once(sample, tmp_path):
    train(options(sample, tmp_path, *SWITCHES))
    assert all(np.isfinite(entry["loss"]) for entry in log_of(tmp_path) if "loss" in entry)
    assert list((tmp_path / "tb").glob("run-*"))  # what SwanLab keeps without an account


@pytest.mark.parametrize("loss", ["infonce", "sampled", "full"])
def test_the_other_losses_train(sample, tmp_path, loss):
    more = ["--loss", loss, "--learnable_temperature", "--num_epochs", "1"]
    train(options(sample, tmp_path, *more, *(["--num_negatives", "16"] if loss == "sampled" else [])))
    learned = [entry["softmax_temperature"] for entry in log_of(tmp_path) if "loss" in entry]
    assert learned[0] == pytest.approx(0.1 if loss == "infonce" else 1.0, abs=0.01) and learned[0] != learned[-1]


def test_early_stop(sample, tmp_path, monkeypatch):
    honest = TencentGRLearner.validate
    monkeypatch.setattr(TencentGRLearner, "validate", lambda self: honest(self) | {"ndcg@10": 0.1})
    train(options(sample, tmp_path, "--num_epochs", "9", "--early_stop", "2"))
    assert [entry["epoch"] for entry in log_of(tmp_path) if "valid_loss" in entry] == [1, 2, 3]


def test_a_prepared_run_is_scored_on_the_rows_of_its_other_models(tmp_path):
    config, prepared = small_config(tmp_path / "run"), small_shop()
    write_data(config, prepared)
    flags = ["--source", "run", "--run_dir", str(tmp_path / "run"), "--tracker", "none", "--device", "cpu"]
    places = ["--log_dir", str(tmp_path / "logs"), "--num_epochs", "1"]
    train(parse_strict([*flags, *places]))
    rows = read_report(tmp_path / "logs/evaluation").rows
    test = prepared.examples("test")
    assert rows == describe_rows(test, prepared.catalog, prepared.sequences, "test", len(test))


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--data_dir", "nowhere"], "error: there is no data directory nowhere; make_sample.py writes one"),
        (["--device", "cuda:7"], "error: --device is cuda:7, but torch sees no GPU here"),
        (["--mm_emb_id", "86"], "holds 0 embeddings with the id 86"),
    ],
)
def test_what_is_missing_is_one_line(sample, tmp_path, flags, said, capsys):
    if torch.cuda.is_available() and "cuda:7" in flags:
        pytest.skip("this machine has a GPU")
    with pytest.raises(SystemExit, match="1"):
        main(options(sample, tmp_path, *flags))
    assert said in capsys.readouterr().err


def test_new_semantic_ids_make_another_run(sample, tmp_path, capsys):
    shutil.copytree(sample, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    train(options(tmp_path / "data", tmp_path, "--num_epochs", "1"))
    assert "warning: no semantic_id_dict.json" in capsys.readouterr().out
    creatives = load_data(locate_source(tmp_path / "data")).creative_id[1:61]
    codes = {str(name): [number % 3, number % 5] for number, name in enumerate(creatives)}
    (tmp_path / "data/semantic_id_dict.json").write_text(json.dumps(codes))
    train(options(tmp_path / "data", tmp_path, "--num_epochs", "1"))
    assert "moved to" in capsys.readouterr().out
    assert json.loads((tmp_path / "logs/best_model.json").read_text())["schema"]["semantic"] == [3, 5]
