"""The page holds what the report says, and nothing that could do harm."""

import json

import pytest

from genrec.diagnosis.badcase_page import Remedy, render_page
from genrec.diagnosis.badcase_text import describe_report
from genrec.diagnosis.plots import BADCASE_PLOTS
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
    assert "<code>genrec advise --auto_recommend</code>" in text
    assert "What would help" not in render_page(report, plots, [], "genrec advise")
