"""The picture of a comparison."""

from dataclasses import replace

from genrec.evaluation import comparison
from genrec.evaluation.plots import plot_comparison
from tests.evaluation.scores import make_report


def test_a_comparison_is_drawn_the_same_each_time_with_and_without_slices(tmp_path):
    for name, slices in (("with", True), ("without", False)):
        one, other = make_report(0), make_report(1, lift=0.05)
        if not slices:
            one, other = (replace(each, slices={}) for each in (one, other))
        compared = comparison.compare_reports(one, other, ("a", "b"), seed=0)
        plot_comparison(compared, tmp_path / f"{name}.png")
        plot_comparison(compared, tmp_path / "again.png")
        written = (tmp_path / f"{name}.png").read_bytes()
        assert written.startswith(b"\x89PNG") and written == (tmp_path / "again.png").read_bytes()


def test_what_matplotlib_takes_for_a_formula_is_drawn_as_it_stands(tmp_path):
    one, other = make_report(0), make_report(1)
    slices = {"category: $_{x": one.slices["tail target"], "category: $\\frac$": one.slices["tail target"]}
    compared = comparison.compare_reports(replace(one, slices=slices), other, ("a", "b"), seed=0)
    plot_comparison(compared, tmp_path / "one.png")
    assert [path.name for path in tmp_path.iterdir()] == ["one.png"]


def test_differences_without_an_interval_are_points(tmp_path):
    one, other = make_report(0, users=4), make_report(1, users=4)
    plot_comparison(comparison.compare_reports(one, other, ("a", "b"), seed=0), tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 10_000
