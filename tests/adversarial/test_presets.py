"""Preset files of every shape: read strictly, refused in one line that names the file."""

import pytest

from tests.adversarial.shop import call

MANY_ALIASES = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
CONTENT = {  # content of odd.yaml: (exit, what is said)
    b"\x00\x01\x02\xff": "odd.yaml cannot be read|not valid YAML",
    b"\xff\xfer\x00u\x00n\x00": "odd.yaml cannot be read: .*utf-8",
    b"run: {dir: \xe9}": "odd.yaml cannot be read: .*utf-8",
    b"PK\x03\x04binary\x00": "odd.yaml is not valid YAML",
    b"- a list": "odd.yaml must hold sections .*found list",
    b"only words": "odd.yaml must hold sections .*found str",
    b"3": "odd.yaml must hold sections .*found int",
    b"run: [": "odd.yaml is not valid YAML: .*line 1",
    b"run: {dir: a\n": "odd.yaml is not valid YAML",
    b"\trun: {}": "odd.yaml is not valid YAML",
    b"run: {seed: 1}\nrun: {seed: 2}": "odd.yaml is not valid YAML: 'run' stands twice, line 2",
    b"run: {seed: 1, seed: 2}": "'seed' stands twice",
    b"run: &a {seed: 1}\nsft: *a": "alias .a, line 2; write the value out",
    b"run: &a {dir: *a}": "alias .a, line 1",
    MANY_ALIASES.encode(): "alias .a, line 2",
    b"run: !!python/object/apply:os.system [ls]": "not valid YAML: could not determine a constructor",
    b"run: !!binary abc=def": "run: .*dictionary",
    b"run: {seed: !!int x}": "odd.yaml is not valid YAML",
    b"run: {dir: !!timestamp x}": "odd.yaml is not valid YAML",
    b"? [a, b]\n: c": "odd.yaml is not valid YAML: every key must be a word, found .*, line 1",
    b"? {a: b}\n: c": "odd.yaml is not valid YAML: every key must be a word, found .*, line 1",
    b"1: {a: b}": "odd.yaml is not valid YAML: every key must be a word, found .*, line 1",
    b"null: {a: b}": "odd.yaml is not valid YAML: every key must be a word, found .*, line 1",
    b"run: {1: 2}": "odd.yaml is not valid YAML: every key must be a word, found .*, line 1",
    b"true: 1": "odd.yaml is not valid YAML: every key must be a word, found .*, line 1",
    b"2020-01-01: 1": "odd.yaml is not valid YAML: every key must be a word, found .*, line 1",
    b"<<: 3": "odd.yaml is not valid YAML",
    b"--- {}\n--- {}": "odd.yaml is not valid YAML",
    b"run: null": "run: .*valid dictionary.*None",
    b"run: 3": "run: .*valid dictionary.*3",
    b"run: []": "run: .*valid dictionary",
    b"run: {seed: [1]}": "run.seed: .*integer",
    b"run: {seed: {a: 1}}": "run.seed: .*integer",
    b"run: {seed: true, dir: x}": "run.seed: .*a number is needed, found true",
    b"run: {dir: 3}": "run.dir: .*path.*3",
    b"run: {dir: [a, b]}": "run.dir: .*path",
    b"run: {dir: ''}": "run.dir: .*must not be empty",
    b'run: {dir: "a\\0b"}': "run.dir: .*NUL",
    b'sft: {base_model: "a\\0b"}': "sft.base_model: .*NUL",
    b"sft: {learning_rate: 2020-13-45}": "odd.yaml is not valid YAML: a value that is not of its kind .*month",
    b"sft: {learning_rate: 0b_}": "odd.yaml is not valid YAML: a value that is not of its kind",
    b"run: {seed: 1e400}": "run.seed: .*inf",
    b"run: {seed: 0x7fffffffffffffffff}": "run.seed: .*at most",
    b"sft: {trainer: {a: &x 1, b: *x}}": "alias .x",
    b"sft: {trainer: 3}": "sft.trainer: .*dictionary",
    b"sft: {trainer: {1: 2}}": "odd.yaml is not valid YAML: every key must be a word, found .*, line 1",
    b"sft: {tasks: [a]}": "sft.tasks: .*dictionary",
    b"sft: {tasks: {sid_to_sid: lots}}": "sft.tasks.sid_to_sid: .*number",
    b"sft: {tasks: {1: 1}}": "odd.yaml is not valid YAML: every key must be a word, found .*, line 1",
    b"rl: {reward_type: 3}": "rl.reward_type: .*dictionary",
    b"rl: {reward_type: [ranking]}": "rl.reward_type: .*dictionary",
    b"evaluation: {models: 3}": "evaluation.models: .*list",
    b"evaluation: {models: {a: b}}": "evaluation.models: .*list",
    b"analysis: {model: 3}": "analysis.model: .*string",
    b"no_such: {a: 1}": "unknown key 'no_such'; known sections",
    b"sft: {learning_rte: 1}": "unknown key 'sft.learning_rte'; did you mean 'sft.learning_rate'",
    b"extends: 3": "odd.yaml: extends must name one file, found 3",
    b"extends: [a, b]": "odd.yaml: extends must name one file",
    b"extends: no_such.yaml": "no config file no_such.yaml",
    b"extends: odd.yaml": "odd.yaml extends itself",
    b"extends: ./sub/../odd.yaml": "odd.yaml extends itself",
    b"extends: other.yaml": "odd.yaml extends itself, by way of .*other.yaml",
    b"extends: directory": "directory is a directory; --config takes a file",
    b"extends: ''": "is a directory; --config takes a file|extends must name one file",
    b'extends: "a\\0b"': "extends must name one file|no config file",
    b"[" * 3000: "nested too deeply|not valid YAML",
    b"a: {" * 3000: "nested too deeply|not valid YAML",
}
USABLE = {
    b"": "empty",
    b"\xef\xbb\xbfrun: {seed: 7}\n": "a byte order mark, as editors of another system write it",
    b"# only a comment\n": "a comment",
    b"{}": "an empty mapping",
    b"run: {seed: 7}\r\ndata: {max_history: 3}\r\n": "line ends of another system",
    "run: {dir: 'Übung [1] *'}\n".encode(): "a name with brackets and letters of another language",
}


@pytest.mark.parametrize("content, says", CONTENT.items(), ids=range(len(CONTENT)))
def test_a_preset_that_cannot_be_used(content, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "directory").mkdir()
    (tmp_path / "sub").mkdir()
    (tmp_path / "other.yaml").write_text("extends: odd.yaml\n")
    (tmp_path / "odd.yaml").write_bytes(content)
    call("prepare", "--config", "odd.yaml").check(2, says)
    call("advise", "--config", "odd.yaml").check(2, "")


@pytest.mark.parametrize("content", USABLE, ids=USABLE.values())
def test_a_preset_of_another_shape(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.yaml").write_bytes(content)
    call("sids", "--config", "odd.yaml", "--show-config").check(0, "rqkmeans_plus")
