"""Rows of the table: what each is called, and which of them belong together."""

from dataclasses import replace

import pytest

from genrec.commandline import Command
from genrec.config import Config
from genrec.evaluation.rows import list_rows, name_row
from genrec.stage import Job
from genrec.stages import evaluate
from tests.small_shop import small_config, small_shop, write_data, write_sids


@pytest.fixture
def ready(tmp_path):
    """A run with the small shop's data, and its config."""

    def make(**options) -> Config:
        config = small_config(tmp_path / "run", evaluation=options)
        if not (tmp_path / "run/data").exists():
            write_data(config, small_shop())
        return config

    return make


def score(config: Config) -> None:
    evaluate.evaluate(Command(config), named=True)


def names(config: Config) -> list[str]:
    return [row.name for row in list_rows(config)]


def test_other_settings_add_a_row_that_is_called_by_what_differs(ready, capsys):
    score(ready(models=["popular_recent", "popular"]))
    score(ready(models=["popular_recent", "popular"], recent_share=0.5))
    assert names(ready()) == ["popular", "popular_recent", "popular_recent.recent_share-0_5"]
    capsys.readouterr()
    score(ready(models=["popular"], limit=10))
    assert "not in the table: popular_recent, of other rows (60 of 60)" in capsys.readouterr().out
    score(ready(models=["popular_recent"]))
    assert "evaluation: popular_recent: up to date" in capsys.readouterr().out


def test_a_model_that_is_given_is_called_by_its_directory_and_one_of_the_same_name_by_what_it_is(ready, tmp_path):
    config = ready(models=["sft"], base_model=str(tmp_path / "a/baseline_model"))

    def job(family: str, fingerprint: str) -> Job:
        return Job("evaluation", config, lambda *_: {}, lambda config: {"base_model": fingerprint}, family)

    assert name_row(job("sft", "0123456789")).row == "sft.baseline_model"
    write_sids(config, small_shop())
    evaluate.stage.run_job(replace(job("sft", "0123456789"), row="sft.baseline_model"), Command(config))
    assert name_row(job("sft", "0123456789")).row == "sft.baseline_model"
    assert name_row(job("sft", "fedcba9876")).row == "sft.baseline_model.fedcba"
    assert name_row(job("popular", "0123456789")).row == "popular"
