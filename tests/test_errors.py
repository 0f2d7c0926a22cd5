"""What a user is told when something fails: one line, an exit code, the nearest name."""

import pytest

from genrec.errors import ArtifactError, ConfigError, exit_on_failure, exit_on_usage_error, first_line, suggest


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ArtifactError("x is not there; run y"), 1, "error: x is not there; run y\n"),
        (ConfigError("a and b exclude each other"), 1, "error: a and b exclude each other\n"),
        (KeyboardInterrupt(), 130, "error: stopped; the same command goes on from here\n"),
    ],
)
def test_expected_failures_are_one_line(capsys, tmp_path, error, code, line):
    with pytest.raises(SystemExit) as end, exit_on_failure(tmp_path):
        raise error
    assert end.value.code == code and capsys.readouterr().err == line


def test_a_full_disk_says_where(capsys, tmp_path):
    with pytest.raises(SystemExit), exit_on_failure(tmp_path):
        raise OSError(28, "No space left on device")
    assert f"cannot write under {tmp_path}: No space left on device; free space" in capsys.readouterr().err


def test_what_nobody_expected_keeps_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError), exit_on_failure(tmp_path):
        raise ZeroDivisionError


def test_a_command_line_that_cannot_be_used_ends_with_2(capsys):
    with pytest.raises(SystemExit) as end, exit_on_usage_error():
        raise ConfigError("unknown flag --x")
    assert end.value.code == 2 and capsys.readouterr().err == "error: unknown flag --x\n"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("sft.lerning_rate", "; did you mean 'sft.learning_rate'?"),
        ("lerning_rate", "; did you mean 'sft.learning_rate'?"),  # by its last part
        ("zzz", ""),
    ],
)
def test_the_nearest_name(word, said):
    assert suggest(word, ["sft.learning_rate", "sids.alpha"]) == said


def test_a_library_is_quoted_in_short():
    assert first_line(ValueError("one\ntwo")) == "one" and first_line(ValueError("")) == "ValueError"
    assert len(first_line(ValueError("x" * 1000))) == 200
