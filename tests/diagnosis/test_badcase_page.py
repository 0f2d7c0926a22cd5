"""The page holds what the report says, and nothing that could do harm."""

import json
import re

import pytest

from genrec.diagnosis.badcase_page import Remedy, render_page
from genrec.diagnosis.badcase_text import describe_report
from genrec.diagnosis.plots import BADCASE_PLOTS, make_series
from genrec.evaluation.page_style import STYLE
from tests.diagnosis.small_cases import (
    HIT,
    KINDS,
    make_cases,
    report_of,
)

REMEDIES = [Remedy("long_tail", "rare items weigh more", "40% <of> misses")]


@pytest.mark.parametrize(
    "rows", [[HIT] * 5, [HIT] * 4 + [KINDS["near miss"][0]], [KINDS["long tail"][0]] * 5], ids=["none", "one", "all"]
)
def test_no_one_and_all_bad_cases_make_report_page_and_pictures(rows, tmp_path):
    all_cases = make_cases(*rows)
    report = report_of(all_cases)
    json.dumps(report, allow_nan=False)
    bad = int(all_cases.miss.sum())
    assert report["summary"]["bad_cases_count"] == bad == len(report["bad_cases_sample"])
    assert report["summary"]["failure_rate"] == pytest.approx(bad / 5) and report["summary"]["without_a_cause"] == 0
    for name, plot in BADCASE_PLOTS.items():
        plot(report, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    plots = {name: tmp_path / f"{name}.png" for name in BADCASE_PLOTS}
    text = render_page(report, plots, REMEDIES, "genrec advise")
    assert ("There are no bad cases" in text) == (bad == 0)
    assert f"in {bad} of 5 rows" in describe_report(report)


def test_the_page_escapes_titles_and_links_nowhere(tmp_path):
    report = report_of(make_cases(KINDS["near miss"][0], HIT), title="<script>alert('x')</script> & co")
    for name, plot in BADCASE_PLOTS.items():
        plot(report, tmp_path / f"{name}.png")
    plots = {name: tmp_path / f"{name}.png" for name in BADCASE_PLOTS}
    text = render_page(report, plots, REMEDIES, "genrec advise")
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "http://" not in text and "https://" not in text and 'src="data:image/png;base64,' in text
    assert "default-src 'none'" in text


def test_remedies_stand_there_with_the_command_and_are_left_out_where_none_is_advised(tmp_path):
    report = report_of(make_cases(KINDS["near miss"][0], HIT))
    for name, plot in BADCASE_PLOTS.items():
        plot(report, tmp_path / f"{name}.png")
    plots = {name: tmp_path / f"{name}.png" for name in BADCASE_PLOTS}
    text = render_page(report, plots, REMEDIES, "genrec advise")
    assert "<strong>long tail</strong>: rare items weigh more." in text and "40% &lt;of&gt; misses" in text
    assert "<code>genrec advise</code>" in text
    assert "What would help" not in render_page(report, plots, [], "genrec advise")


def draw(report: dict, directory) -> str:
    plots = {name: directory / f"{name}.png" for name in BADCASE_PLOTS}
    for name, plot in BADCASE_PLOTS.items():
        plot(report, plots[name])
    return render_page(report, plots, REMEDIES, "genrec advise")


def test_the_page_leads_with_scores_beside_the_baselines_then_curves_then_settings_then_causes(tmp_path):
    interval = {"mean": 0.25, "low": 0.2, "high": 0.3}
    curve = [{"step": 10, "hr@10": 0.1, "ndcg@10": 0.05}, {"step": 20, "hr@10": 0.2, "ndcg@10": 0.1}]
    losses = [{"step": 5, "loss": 2.0, "learning_rate": 1e-3}, {"step": 20, "loss": 1.0, "learning_rate": 0.0}]
    report = report_of(make_cases(KINDS["near miss"][0], HIT)) | {
        "metrics": {"hr@10": interval, "ndcg@10": interval},
        "valid": {"metrics": {"hr@10": {"mean": 0.5, "low": None, "high": None}}},
        "baselines": {"test": {"popular": {"hr@10": 0.125}}, "valid": {"popular": {"hr@10": interval}}},
        "training": {"best_at": 0.5, "unit": "steps", "length": 20, "curve": curve, "losses": losses},
    }
    text = draw(report, tmp_path)
    order = [
        "<h1>sft on ",
        "HR@10 on test",
        "popular",
        "Learning curves",
        "num_epochs",
        "Why it missed",
        "What goes with",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert (
        "<td>popular</td>" in text and ">0.1250</td>" in text and "[0.2000, 0.3000]" in text and ">0.5000</td>" in text
    )
    assert "best on valid after 50% of the training" in text


def test_what_the_report_lacks_is_said(tmp_path):
    report = report_of(make_cases(KINDS["near miss"][0], HIT))
    assert "No training of this model belongs to this run" in draw(report, tmp_path)
    text = draw(report | {"training": {"best_at": 1.0}, "metrics": {"hr@10": 0.5}}, tmp_path)
    assert "no learning curves" in text and "No baseline was scored" in text


def test_curves_take_what_each_row_has():
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "learning_rate": 0.1}, {"step": 2, "ndcg@10": 0.5}]
    assert make_series(rows) == {"loss": [(1, 2.0), (2, 1.0)], "ndcg@10": [(2, 0.5)]}
    assert make_series([{"epoch": 0, "ndcg@10": 0.1}]) == {"ndcg@10": [(0, 0.1)]}


def test_one_typeface_and_paper_is_light():
    assert len(set(re.findall(r"font(?:-family)?: [^;{}]*?(\"[^;]*sans-serif)", STYLE))) == 1 and "serif," not in STYLE
    screen, paper = STYLE.split("@media print")
    assert "@media (max-width" not in STYLE  # a sheet of paper is narrow too, and its pictures are not to scroll
    assert "color-scheme: light;" in paper and "break-inside: avoid" in paper and "@page" in screen
