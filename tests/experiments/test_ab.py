"""`genrec ab` from a log to text and page: what is there is shown, what is not is not, bad input is one line."""

import polars as pl
import pytest

from genrec import cli
from genrec.experiments.log import read_experiments, read_slates
from genrec.experiments.outcomes import parse_metric, read_outcomes
from genrec.experiments.report import Question, analyze
from genrec.experiments.report_page import render_report
from genrec.experiments.report_text import describe_report
from tests.experiments.logs import answer, experiments, write_log, write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"), lift=0.4)


def run(capsys, *words):
    """What the command prints, and its exit status."""
    try:
        cli.run_command("ab", [*map(str, words)])
        status = 0
    except SystemExit as ended:
        status = ended.code
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def of(directory, *more):
    return ("--logs", directory / "logs", "--outcomes", directory / "outcomes.csv", *more)


def test_an_effect_is_shown_with_everything_that_is_asked(world, tmp_path, capsys):
    page = tmp_path / "ab.html"
    more = ["--metric", "clicks,clicks/requests", "--guardrails", "revenue:-5%", "requests:+5%", "--html", page]
    status, text, _ = run(capsys, *of(world, *more, "--before", world / "before.csv"))
    assert status == 0 and "sample ratio: as dealt out" in text
    assert " ".join(text.split()).count("Shown, at whatever moment one looks.") == 2 and "variance kept (CUPED)" in text
    assert "2 comparisons (Bonferroni)" in text and "holds" in text.partition("guardrails")[2]
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("written"))
    html = page.read_text()
    assert "<svg" in html and "default-src 'none'" in html and "http" not in html.replace("http-equiv", "")


def test_equal_arms_are_not_shown_to_differ(tmp_path, capsys):
    write_world(tmp_path, lift=0.0)
    status, text, _ = run(capsys, *of(tmp_path))
    assert status == 0 and "Not shown." in text and "Shown, at" not in text


def test_cuped_narrows_and_agrees_with_the_plain_difference(world):
    slates, deal = read_slates(world / "logs").frame, read_experiments(world / "logs")
    outcomes, before = read_outcomes(world / "outcomes.csv"), read_outcomes(world / "before.csv")
    plain = analyze(Question(slates, deal, outcomes, [parse_metric("clicks")])).readings[0]
    better = analyze(Question(slates, deal, outcomes, [parse_metric("clicks")], before=before)).readings[0]
    assert better.kept < 0.9 and plain.kept is None
    assert better.difference.error < 0.9 * plain.difference.error
    assert better.difference.low < plain.difference.value < better.difference.high
    by_hand = outcomes.frame.with_columns(pl.col("clicks").cast(pl.Int64)).join(
        slates.select("request", "arm"), on="request"
    )
    means = by_hand.group_by("user", "arm").agg(pl.col("clicks").sum()).group_by("arm").agg(pl.col("clicks").mean())
    rates = dict(means.iter_rows())
    assert plain.difference.value == pytest.approx(rates["rl"] - rates["sft"])


def test_a_sample_ratio_mismatch_stops_the_reading_and_every_script(world, tmp_path, capsys):
    """A quarter of rl's users get lost."""
    slates = read_slates(world / "logs").frame
    lost = {f"u{number}" for number in range(0, 600, 4)}
    kept = [row for row in slates.iter_rows(named=True) if not (row["arm"] == "rl" and row["user"] in lost)]
    write_log(tmp_path / "logs", [answer(n, row["user"], row["arm"]) for n, row in enumerate(kept)])
    page = tmp_path / "ab.html"
    status, text, error = run(capsys, "--logs", tmp_path / "logs", "--outcomes", world / "outcomes.csv", "--html", page)
    assert status == 1 and "SAMPLE RATIO MISMATCH" in text and "clicks" not in text
    assert error.startswith("error: sample ratio mismatch in rl_or_sft: users sft ") and error.count("\n") == 1
    assert "SAMPLE RATIO MISMATCH" in page.read_text() and "Against the control" not in page.read_text()


def test_the_logs_own_numbers_are_metrics_too(world, capsys):
    """Every user made two requests for three items each."""
    status, text, _ = run(capsys, *of(world, "--metric", "requests,shown/requests"))
    assert status == 0 and text.count("no user differs") + text.count("no\n  user differs") == 2


def test_few_users_are_too_early_to_say(tmp_path, capsys):
    write_world(tmp_path, users=60)
    assert "Too early to say" in run(capsys, *of(tmp_path))[1]


def test_interleaved_lists_are_read_by_preference(tmp_path, capsys):
    deal = experiments(interleave=True)
    slates = [answer(n, f"u{n}", "sft+rl", teams=["sft", "rl", "sft"]) for n in range(30)]
    write_log(tmp_path / "logs", slates, deal)
    rows = [{"user": f"u{n}", "request": f"r{n}", "item": "b" if n < 25 else "a", "clicks": 1} for n in range(30)]
    pl.DataFrame(rows).write_csv(tmp_path / "outcomes.csv")
    status, text, _ = run(capsys, *of(tmp_path))
    assert status == 0 and "25 users clicked more on what rl brought" in " ".join(text.split())
    assert "rl is preferred" in " ".join(text.split()) and "sample ratio" not in text


def test_another_policy_is_estimated_or_refused(tmp_path, capsys):
    sampled = [answer(n, f"u{n}", ("sft", "rl")[n % 2], propensities=[0.5, 0.5, 1.0]) for n in range(400)]
    write_log(tmp_path / "logs", sampled)
    pl.DataFrame({"user": ["u0"], "request": ["r0"], "clicks": [1]}).write_csv(tmp_path / "outcomes.csv")
    policy = tmp_path / "policy.csv"
    pl.DataFrame({"request": [f"r{n}" for n in range(400)], "propensity": [0.25] * 400}).write_csv(policy)
    text = run(capsys, *of(tmp_path, "--policy", policy))[1]
    assert "SNIPS" in text and "worth 400 of the other policy's" in " ".join(text.split())
    pl.DataFrame({"request": [f"r{n}" for n in range(400)], "propensity": [0.01] * 400}).write_csv(policy)
    assert "refused." in run(capsys, *of(tmp_path, "--policy", policy))[1]


def test_hashed_users_are_found_by_the_key(tmp_path, capsys):
    slates = [answer(n, f"u{n}", ("sft", "rl")[n % 2]) for n in range(20)]
    write_log(tmp_path / "logs", slates, user_key="secret")
    pl.DataFrame({"user": [f"u{n}" for n in range(20)], "clicks": range(20)}).write_csv(tmp_path / "outcomes.csv")
    (tmp_path / "key").write_text("secret\n")
    assert "pass --user_key" in run(capsys, *of(tmp_path))[2]
    assert "control sft" in run(capsys, *of(tmp_path, "--user_key", tmp_path / "key"))[1]
    (tmp_path / "key").write_text("")
    assert "is empty; it must hold the key" in run(capsys, *of(tmp_path, "--user_key", tmp_path / "key"))[2]


def test_bad_input_is_one_line(world, tmp_path, capsys):
    one_arm = write_log(tmp_path / "one", [answer(n, f"u{n}", "sft") for n in range(3)])
    strange = write_log(tmp_path / "strange", [answer(0, "u0", "new")])
    outcomes = world / "outcomes.csv"
    for words, said in (
        ((), "--logs DIR is needed"),
        (("--logs", tmp_path), "--outcomes FILE is needed"),
        (("--logs", tmp_path, "--outcomes", outcomes), "is no log of answers"),
        (("--logs", one_arm, "--outcomes", outcomes), "arm 'rl' has too few users"),
        (("--logs", strange, "--outcomes", outcomes), "the log has answers of arm 'new'"),
        (of(world, "--metric", "klicks"), "no column 'klicks'; did you mean 'clicks'"),
        (of(world, "--experiment", "rl_or_stf"), "no experiment 'rl_or_stf'; did you mean 'rl_or_sft'"),
        (of(world, "--control", "base"), "--control base is no arm; there are: sft, rl"),
        (of(world, "--guardrails", "revenue"), "a guardrail is METRIC:-2%"),
        (of(world, "--metric", "clicks/nothing"), "no column 'nothing'"),
    ):
        status, _, error = run(capsys, *words)
        assert status in (1, 2) and said in error and error.count("\n") == 1, (words, error)


def test_names_of_others_are_text_on_the_page(world):
    slates, deal = read_slates(world / "logs").frame, read_experiments(world / "logs")
    outcomes = read_outcomes(world / "outcomes.csv")
    nasty = outcomes.frame.rename({"clicks": "<script>"})
    report = analyze(Question(slates, deal, type(outcomes)("o", nasty), [parse_metric("<script>")]))
    assert "<script>" not in render_report(report) and "<script>" in describe_report(report)


@pytest.mark.parametrize(
    "words, said",
    [
        ("--baseline 0.05 --lift 0.01", "16,310"),
        ("--baseline 0.05 --lift 0.01 --users_a_day 1000", "17"),
        ("--baseline 3 --lift 0.2 --deviation 4", "a mean of 3 (deviation 4) that becomes 3.2"),
        ("--users 10000", "find it with chance 0.59"),
    ],
)
def test_plans(capsys, words, said):
    status, text, _ = run(capsys, "plan", *words.split())
    assert status == 0 and said in text


@pytest.mark.parametrize(
    "words, said",
    [
        ("--lift 0", "--lift 0 is no difference"),
        ("--baseline 3", "for a mean add --deviation"),
        ("--baseline 0.05 --lift -0.05", "must both lie between 0 and 1"),
        ("--users 10 --users_a_day 10", "pass one of them"),
        ("--power 2", "power: "),
        ("--lift 1e-9", "more than 1,000,000,000,000 users"),
    ],
)
def test_plans_that_cannot_be_made_are_one_line(capsys, words, said):
    status, _, error = run(capsys, "plan", *words.split())
    assert status == 2 and said in error and error.count("\n") == 1
