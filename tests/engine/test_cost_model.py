"""Rates and checks are figures of docs/results, and the plan is arithmetic over them."""

import pytest

from genrec.engine.cost_model import (
    CHECKS,
    GIB,
    LARGE_LISTS,
    LARGE_SFT,
    RATES,
    SMALL_SFT,
    Machine,
    Shop,
    Stage,
    count_machines,
    list_seconds,
    plan_stages,
    sft_seconds,
)
from tests import ROOT

MACHINE = Machine(cores=10, memory=64, hours=1)


@pytest.mark.parametrize("source", [*RATES.values(), *CHECKS], ids=lambda source: source.words[:30])
def test_every_figure_stands_in_the_results(source):
    assert source.words in (ROOT / "docs" / "results" / source.page).read_text(encoding="utf-8")


def test_the_line_goes_through_both_sizes_that_were_measured():
    assert sft_seconds(0.8e6) == pytest.approx(SMALL_SFT.value) and sft_seconds(134.5e6) == pytest.approx(
        LARGE_SFT.value
    )
    assert list_seconds(494e6) == pytest.approx(LARGE_LISTS.value)
    assert sft_seconds(1) > 0 and list_seconds(1) > 0


def test_the_plan_by_hand():
    shop = Shop(users=1_000, items=2_000_000, events=20_000_000, model_parameters=800_000, epochs=6, levels=3)
    stages = {stage.name: stage for stage in plan_stages(shop)}
    assert stages["data"].cpu_seconds == pytest.approx(2 * 2 * 74.6)
    assert stages["data"].memory == pytest.approx(2 * 823e6) and stages["data"].shared
    assert stages["sids"].cpu_seconds == pytest.approx(506 + (373 - 162) / 2)  # learned from a million
    assert stages["sids"].memory == pytest.approx(4.64 * GIB) and not stages["sids"].shared
    assert stages["embeddings"].shared
    assert stages["sft"].cpu_seconds == pytest.approx(0.8 * 20_000_000 / 33_019 * 124)


def test_machines_are_counted_and_what_one_lacks_is_said():
    hour = 10 * 3600  # CPU seconds of a machine
    assert count_machines(Stage("sft", "", 2.5 * hour, GIB, True), MACHINE) == (3, "")
    assert count_machines(Stage("data", "", 0.5 * hour, GIB, False), MACHINE) == (1, "")
    assert count_machines(Stage("data", "", 2.5 * hour, GIB, False), MACHINE) == (1, "takes 2 h on one")
    assert count_machines(Stage("sids", "", 1, 65 * GIB, False), MACHINE) == (1, "needs 65 GiB")


def test_two_sizes_that_were_run_are_within_a_fifth_and_the_page_tells_all_errors():
    assert sum(abs(check.error) < 0.2 for check in CHECKS) >= 2
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    for check in CHECKS:
        assert f"| {check.what} |" in page and f"| {check.error:+.0%} |" in page, check.what
    for name, rate in RATES.items():
        assert f"| {name} | {rate.value:.3g} {rate.unit} | [{rate.page}](results/{rate.page}) |" in page, name
