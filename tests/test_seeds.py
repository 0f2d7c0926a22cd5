"""`genrec run --seeds`: a run a seed, what draws nothing shared, means at the end."""

from genrec.commandline import parse_strict, stage_program
from genrec.pipeline import depends_on
from genrec.stages import run


def test_what_draws_nothing_does_not_depend_on_the_seed():
    def draws(stage: str, *flags: str) -> bool:
        return "run.seed" in depends_on(stage, parse_strict(stage_program("genrec run", ""), [*flags]).config)

    assert not any(draws(name) for name in ("data", "embeddings", "convert"))
    assert all(draws(name) for name in ("sids", "sequential", "sft", "rl"))
    assert draws("data", "--data.ties", "random") and draws("data", "--config", "tiny")
    assert "run.seed" in depends_on("data")


def test_a_run_a_seed_begins_from_the_first_and_ends_in_a_table(tmp_path, capsys, monkeypatch):
    seen = []

    def walk(stages, chosen, command, flags):
        command.config.run.dir.mkdir(parents=True)
        seen.append((command.config.run.seed, command.config.run.dir, command.config.run.from_run))

    monkeypatch.setattr(run, "walk", walk)
    monkeypatch.setattr("genrec.evaluation.runs.read_run", lambda directory: directory)
    monkeypatch.setattr("genrec.evaluation.runs.describe_seeds", lambda runs: f"seeds {list(runs)}")
    run.main(["--config", "tiny", "--run.dir", str(tmp_path), "--seeds", "7,8", "--yes", "--run.seed", "3"])
    home = tmp_path / "seeds"
    assert seen == [(7, home / "7", None), (8, home / "8", home / "7")]
    assert "seeds [7, 8]" in capsys.readouterr().out and (home / "summary.txt").read_text() == "seeds [7, 8]"
