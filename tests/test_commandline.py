"""One command line for all: plain flags and paths, switches, lists, environment, files, and where values are from."""

from pathlib import Path
from typing import Literal

import pytest

from genrec.commandline import options_program, parse_strict, plain_names, spell_out, split_words, stage_program
from genrec.config import Config, Section, knob, walk
from genrec.errors import ConfigError
from genrec.places import HOME
from tests import parse_flags


class Options(Section):
    """A flat schema with every kind of knob."""

    hidden_size: int = knob(8, "width", spellings=("hidden_units",), ge=1)
    fast: bool = knob(False, "a switch")
    kinds: list[Literal["dot", "cosine"]] = knob(["dot"], "names")
    sizes: list[int] = knob([1], "numbers")
    place: Path = knob(Path("here"), "a path")
    name: str | None = knob(None, "a text")


def read(*argv, **rest):
    return parse_strict(options_program("program", "", Options, **rest), list(argv)).config


def test_own_section_is_plain_and_others_go_by_path():
    flags = ["--learning_rate", "3e-4", "--scratch.hidden_size", "64", "--data.dataset=Office_Products"]
    config = parse_flags(flags, section="sft").config
    assert (config.sft.learning_rate, config.sft.scratch.hidden_size) == (3e-4, 64)
    assert config.data.dataset == "Office_Products"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--sft.lerning_rate", "1"], "did you mean 'sft.learning_rate'"),
        (["--sids.epochs", "9"], "unknown key 'sids.epochs'; did you mean 'sids.num_epochs'"),
        (["--sids.hidden", "[64]"], "unknown key 'sids.hidden'; did you mean 'sids.hidden_sizes'"),
        (["--lerning_rate", "1"], "did you mean '--learning_rate'"),
        (["--sft.batch_size", "many"], "sft.batch_size"),
        (["--sft.learning_rate", "-1"], "got -1"),
        (["--sft.batch_size", "100", "--sft.micro_batch_size", "16"], "100 is not a multiple"),
        (["--data.st_year", "2018", "--data.ed_year", "2017"], "window is empty"),
        (["--sids.kmeans_backend", "sklearn"], "sids.kmeans_backend"),
        (
            ["--sids.kmeans_backend", "k_means_constrained", "--sids.method", "rqvae"],
            "sids.kmeans_backend k_means_constrained.* rqkmeans_plus.* sids.method rqvae",
        ),
        (["--config", "nowhere.yaml"], "no config file nowhere.yaml"),
        (["--sft.learning_rate"], "needs a value"),
        (["--sft.trainer.lerning_rate", "1"], "lerning_rate"),
        (["--sft.tasks.sid_to_sit", "1"], "sid_to_sit"),
        (["sft"], "starts with --"),
        (["--sft.trainer.output_dir", "x"], "sft.trainer.output_dir is set by"),
        (["--sft.trainer.learning_rate", "1"], "is set by sft.learning_rate"),
        (["--sft.tasks", "{sid_to_sid: 0}"], "no task with a share above 0"),
        (["--sft.valid_size", "0"], "sft.valid_size"),
        (["--config", "config"], "is a directory"),
        (["--rl.reward_type", "{zzz: 1}"], "unknown reward 'zzz'; known: rule, ranking_only"),
        (["--sft.teacher", "sasrec_txt"], "unknown teacher 'sasrec_txt'; did you mean 'sasrec_text'"),
        (["--sft.teacher", "{item_knn: 0}"], "teaches nothing: every weight is 0"),
        (["--sft.teacher", "item_knn", "--sft.tasks", "{title_to_sid: 1}"], "no task that asks for the next item's"),
    ],
)
def test_bad_input_is_one_clear_line(argv, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_flags(argv, section="sft")
    assert "\n" not in str(caught.value)


def test_teachers_are_named_alone_in_a_list_or_with_weights():
    def teachers(value):
        return parse_flags(["--sft.teacher", value]).config.sft.teacher

    assert teachers("sasrec") == {"sasrec": 1.0}
    assert teachers("sasrec, item_knn") == teachers("[sasrec, item_knn]") == {"sasrec": 1.0, "item_knn": 1.0}
    assert teachers("{sasrec: 2, item_knn: 0.5}") == {"sasrec": 2.0, "item_knn": 0.5}
    assert teachers("") == teachers("{}") == parse_flags([]).config.sft.teacher == {}


def test_strings_and_paths_are_taken_as_they_stand():
    config = parse_flags(["--run.dir", "runs/run #1: a", "--data.dataset", "2018", "--data.raw_dir", "~/raw"]).config
    assert str(config.run.dir) == "runs/run #1: a" and config.data.dataset == "2018"
    assert str(config.data.raw_dir).startswith("/")


@pytest.mark.parametrize(
    ("argv", "value"),
    [((), False), (("--fast",), True), (("--fast", "False"), False), (("--fast=true",), True), (("--no-fast",), False)],
)
def test_a_switch_takes_a_word_or_none(argv, value):
    assert read(*argv, "--name", "x").fast is value


@pytest.mark.parametrize("argv", [("dot", "cosine"), ("dot,cosine",), ("[dot, cosine]",), ("[dot,", "cosine]")])
def test_a_list_may_be_written_in_three_ways(argv):
    assert read("--kinds", *argv, "--fast").kinds == ["dot", "cosine"]


def test_a_list_of_numbers_and_an_empty_one():
    assert read("--sizes", "3", "5").sizes == [3, 5] and read("--sizes", "--fast").sizes == []


def test_texts_and_paths_are_not_read_as_numbers():
    options = read("--name", "2018", "--place", "007")
    assert (options.name, options.place) == ("2018", Path("007"))


@pytest.mark.parametrize("flag", ["--hidden_units", "--hidden-units", "--hidden_size", "--hidden-size"])
def test_other_spellings_are_the_same_key(flag):
    assert read(flag, "4").hidden_size == 4


def test_other_spellings_hold_in_files_and_paths_too(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("rl: {train_batch_size: 32, num_train_epochs: 2}\n")
    rl = parse_flags(["--config", str(path)]).config.rl
    assert (rl.batch_size, rl.num_epochs) == (32, 2)
    assert parse_flags(["--rl.train_batch_size", "64"]).config.rl.batch_size == 64
    assert parse_flags(["--train_batch_size", "64"], "rl").config.rl.batch_size == 64


def test_defaults_then_file_then_environment_then_flag(tmp_path, monkeypatch):
    path = tmp_path / "c.yaml"
    path.write_text("model: {hidden_units: 2, name: file}\nplace: file\n")
    with_environment = {
        "headings": True,
        "environment": lambda known: {"place": ("NOT_SET", "PLACE"), "name": ("NAME",)},
    }
    monkeypatch.setenv("PLACE", "environment")
    monkeypatch.setenv("NAME", "environment")
    command = parse_strict(
        options_program("program", "", Options, **with_environment), ["--config", str(path), "--name", "flag"]
    )
    options = command.config
    assert (options.hidden_size, options.place, options.name) == (2, Path("environment"), "flag")
    assert command.origins == {"hidden_size": "c.yaml", "place": "environment", "name": "--name"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--hiden_size", "4"], "unknown flag --hiden_size; did you mean '--hidden_size'"),
        (["--kinds", "dott"], "kinds.0: Input should be 'dot' or 'cosine'.*dott"),
        (["--hidden_size", "0"], "hidden_size: .*got 0"),
        (["--place", "--fast"], "--place needs a value, found the flag --fast"),
        (["--no-name"], "unknown flag --no-name"),
        (["--hidden_size", "[1"], "is not a YAML value"),
    ],
)
def test_what_a_flat_program_refuses(argv, message):
    with pytest.raises(ConfigError, match=message):
        read(*argv)


def test_launchers_may_add_their_rank():
    assert read("--local-rank=1", "--local_rank=0", "--hidden_size", "4").hidden_size == 4


def test_the_words_of_one_program_are_split_from_the_rest():
    program = options_program("program", "", Options)
    own, rest = split_words(program, "--fast --a.b 3 --kinds dot cosine --config x --hidden_units=4 --clean".split())
    assert own == "--fast --kinds dot cosine --hidden_units=4".split()
    assert rest == "--a.b 3 --config x --clean".split()


def test_relative_paths_of_presets_start_from_the_checkout_of_its_scripts(tmp_path, monkeypatch):
    monkeypatch.setenv(HOME, "/checkout")
    monkeypatch.chdir(tmp_path)
    config = parse_flags(["--config", "tiny"]).config
    assert str(config.run.dir) == "/checkout/outputs/tiny" and str(config.data.raw_dir) == "/checkout/outputs/tiny_raw"
    assert str(parse_flags(["--config", "tiny", "--run.dir", "typed"]).config.run.dir) == "typed"
    monkeypatch.delenv(HOME)
    assert str(parse_flags(["--config", "tiny"]).config.run.dir) == "outputs/tiny"


# Numbers

NUMBERS = [
    path
    for path, field in walk(Config)
    if any(kind in str(field.annotation) for kind in ("int", "float")) and "dict" not in str(field.annotation)
]


@pytest.mark.parametrize("path", NUMBERS)
def test_no_number_is_without_bounds(path):
    for number in (".nan", ".inf", "-.inf", str(2**64), "-1e30", "1e30"):
        for text in (number, f"[{number}]"):
            with pytest.raises(ConfigError):
                parse_flags([f"--{path}={text}"])


@pytest.mark.parametrize(
    "flags",
    ["--sids.hidden_sizes=[0]", "--sids.hidden_sizes=[]", "--rl.reward_type={ranking: 0}", "--sft.num_epochs=-1",
     "--sft.tasks={sid_to_sid: 1e-9}", "--sft.eval_step=1e-9", "--evaluation.recent_share=1e-9", "--run.seed=-1",
     "--rl.reward_type={ranking: .inf}", "--sft.tasks={sid_to_sid: .nan}", "--data.dataset=..",
     "--data.dataset=.", "--analysis.model=..", "--analysis.model=a/.."],
)  # fmt: skip
def test_values_that_mean_nothing_are_refused(flags):
    with pytest.raises(ConfigError):
        parse_flags([flags])


def test_the_pipeline_takes_a_stages_plain_flags_where_one_alone_has_them():
    program = stage_program("genrec run", "", plain=plain_names())
    line = "--codebook_size 512 --scratch.hidden_size=64 --no-ema --num_train_epochs 2 --dataset X --config a --clean"
    spelled = "--sids.codebook_size 512 --sft.scratch.hidden_size=64 --no-sids.ema --rl.num_epochs 2 --data.dataset X"
    assert spell_out(program, line.split()) == [*spelled.split(), "--config", "a", "--clean"]
    with pytest.raises(
        ConfigError, match=r"--learning_rate could be --sids.learning_rate, --sft.learning_rate, .*which"
    ):
        spell_out(program, ["--learning_rate", "1"])
    with pytest.raises(ConfigError, match="did you mean '--sids.codebook_size'"):
        spell_out(program, ["--codebok_size", "512"])
