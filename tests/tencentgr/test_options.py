from pathlib import Path

import pytest

from genrec import commandline
from genrec.errors import ConfigError
from tencentgr.options import RqvaeOptions, SampleOptions, TencentGROptions, parse_strict, rqvae_program

ROOT = Path(__file__).resolve().parents[2] / "tencentgr"
VARIABLES = ("TRAIN_DATA_PATH", "TRAIN_LOG_PATH", "TRAIN_TF_EVENTS_PATH", "TRAIN_CKPT_PATH", "EVAL_DATA_PATH",
             "EVAL_RESULT_PATH", "MODEL_OUTPUT_PATH")  # fmt: skip


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def written(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "some.yaml").write_text(text)
    return ["--config", str(tmp_path / "some.yaml")]


@pytest.mark.parametrize(
    "line",
    [
        "--data_dir /d --batch_size 128 --lr 0.001 --num_epochs 10 --hidden_units 64 --num_blocks 2 --device cuda",
        "--batch_size 128 --lr 0.001 --num_epochs 10",
        "--use_adaptive_similarity --similarity_types dot cosine scaled --batch_size 128 --lr 0.001 --num_epochs 10",
        "--use_adaptive_similarity --use_smart_sampling --similarity_types dot cosine scaled bilinear --norm_first "
        "--batch_size 128 --lr 0.001 --num_epochs 10 --hidden_units 64",
        "--use_adaptive_similarity --similarity_types dot cosine",
        "--inference_only --state_dict_path ./logs/best_model.pt",
        "--hidden_units 128 --num_blocks 4 --lr 0.0005",
        "--local-rank=0 --mm_emb_id 81 82 --optimizer adamw --lr_scheduler step --num_epochs 20 --l2_emb 0.1 --seed 1",
        "--use_smart_sampling --use_curriculum_learning --curriculum_schedule exponential --popularity_factor 0.5",
    ],
)
def test_the_published_commands_parse(line):
    parse_strict(line.split())


def test_without_flags_it_is_the_baseline():
    options = parse_strict([])
    assert (options.loss, options.similarity, options.use_smart_sampling, options.norm_first) == (
        "bce",
        "dot",
        False,
        False,
    )
    assert (options.batch_size, options.learning_rate, options.num_epochs, options.hidden_size, options.num_layers) == (
        128,
        1e-3,
        10,
        64,
        2,
    )
    assert options.embeddings == ("81",) and options.data_dir == Path("data") and options.models == Path("logs")


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path, monkeypatch):
    config = written(tmp_path, "paths: {log_dir: f, data_dir: f, tb_dir: f}\ntraining: {lr: 5e-4}\n")
    monkeypatch.setenv("TRAIN_LOG_PATH", "e")
    monkeypatch.setenv("TRAIN_DATA_PATH", "e")
    options = parse_strict([*config, "--data_dir", "c", "--num_epochs", "3"])
    assert [str(path) for path in (options.tb_dir, options.log_dir, options.data_dir)] == ["f", "e", "c"]
    assert (options.learning_rate, options.num_epochs) == (5e-4, 3)


def test_inference_reads_its_own_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, name.lower())
    options = parse_strict(["--inference_only"])
    assert (str(options.data_dir), str(options.state_dict_path)) == ("eval_data_path", "model_output_path")
    assert str(parse_strict([]).data_dir) == "train_data_path"


def test_a_switch_of_the_file_can_be_switched_off(tmp_path):
    config = written(tmp_path, "model: {norm_first: true}\n")
    assert parse_strict(config).norm_first and not parse_strict([*config, "--no-norm_first"]).norm_first


def test_the_published_spellings_of_a_file(tmp_path):
    text = "training: {learning_rate: 0.002, gradient_clip: 2.0}\ndata: {multimodal_features: [81, 82]}\n"
    text += "model: {max_seq_length: 50}\nsystem: {save_frequency: 3}\n"
    options = parse_strict(written(tmp_path, text))
    assert (options.learning_rate, options.grad_clip, options.embeddings, options.max_history, options.save_freq) == (
        0.002,
        2.0,
        ("81", "82"),
        50,
        3,
    )


def test_the_shipped_file_is_valid():
    assert parse_strict(["--config", str(ROOT / "config.yaml")]).norm_first is False


def test_run_sh_and_main_py_train_the_same_model():
    """run.sh passes the shipped file, main.py alone has the defaults."""
    words = next(line for line in (ROOT / "run.sh").read_text().splitlines() if line.startswith("python main.py"))
    assert words == 'python main.py --config config.yaml --data_dir "$data" "$@"'
    assert parse_strict(["--config", str(ROOT / "config.yaml")]).model_dump() == parse_strict([]).model_dump()


@pytest.mark.parametrize(
    "line, temperature, negatives",
    [
        ("", None, 1),
        ("--loss sampled", 1.0, 256),
        ("--loss full", 1.0, None),
        ("--loss full --similarity cosine", 0.1, None),
        ("--loss full --use_adaptive_similarity --similarity_types cosine dot", 1.0, None),
        ("--loss infonce", 0.1, None),
        ("--loss sampled --temperature 0.5 --num_negatives 7", 0.5, 7),
    ],
)
def test_temperature_and_negatives_fit_the_loss_unless_they_are_given(line, temperature, negatives):
    options = parse_strict(line.split())
    assert (options.temperature, options.num_negatives) == (temperature, negatives)


def test_no_embedding_at_all(tmp_path):
    assert parse_strict(["--mm_emb_id", "none"]).embeddings == ()
    assert parse_strict(written(tmp_path, "data: {mm_emb_id: none}\n")).embeddings == ()
    assert parse_strict([]).embeddings == ("81",)


@pytest.mark.parametrize(
    "line, said",
    [
        ("--use_smart_samplin", "unknown flag --use_smart_samplin; did you mean '--use_smart_sampling'"),
        ("--lr fast", "learning_rate: Input should be a valid number"),
        ("--loss hinge", "'bce', 'infonce', 'sampled' or 'full'"),
        ("--use_curriculum_learning", "changes nothing here; leave it out, or add --use_smart_sampling"),
        (
            "--loss infonce --num_negatives 4",
            "--num_negatives 4 changes nothing here; leave it out, or add --loss bce .or sampled",
        ),
        (
            "--lr_scheduler step",
            "after --lr_step_size 10 epochs, which --num_epochs 10 never gets beyond; pass --lr_step_",
        ),
        ("--lr_scheduler step --num_epochs 1", "pass --lr_scheduler none"),
        (
            "--loss infonce --batch_size 1",
            "negatives from the other users of a batch, and --batch_size 1 has none; pass",
        ),
        ("--loss full --temperature_end 2 --learnable_temperature", "leave one of them out"),
        ("--mm_emb_id none 81", "none stands alone or not at all"),
        ("--inference_only", "needs --state_dict_path"),
        ("--hidden_units 10 --num_heads 4", "10 is not a multiple of --num_heads 4"),
        ("--hidden_units 6 --num_heads 2 --rotary", "even multiple"),
        ("--source run", "needs --run_dir"),
        ("--similarity_types dot dot", "names a kind twice"),
        ("stray", "expected a flag that starts with --, found 'stray'"),
    ],
)
def test_a_wrong_line_is_one_clear_sentence(line, said):
    with pytest.raises(ConfigError, match=said):
        parse_strict(line.split())


def test_an_unknown_key_of_a_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="unknown key 'hiden_units'; did you mean 'hidden_units'"):
        parse_strict(written(tmp_path, "model: {hiden_units: 3}\n"))


def test_every_flag_says_what_it_is():
    for schema in (TencentGROptions, RqvaeOptions, SampleOptions):
        assert all(field.description for field in schema.model_fields.values())


def test_the_published_flags_of_the_quantizer(monkeypatch):
    line = "--data_dir /d --output_dir /o --mm_emb_id 81 82 83 --num_quantizers 4 --codebook_size 256 --batch_size 1024"
    options = commandline.parse_strict(rqvae_program(), [*line.split(), *"--num_epochs 50 --lr 1e-3".split()]).config
    assert (options.mm_emb_id, options.num_levels, options.learning_rate) == (["81", "82", "83"], 4, 1e-3)
    with pytest.raises(ConfigError, match="--data_dir is required"):
        commandline.parse_strict(rqvae_program(), ["--output_dir", "/o"])
    monkeypatch.setenv("TRAIN_DATA_PATH", "/e")
    assert commandline.parse_strict(rqvae_program(), ["--output_dir", "/o"]).config.data_dir == Path("/e")
