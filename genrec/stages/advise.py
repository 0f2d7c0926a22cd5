"""What to change so that fewer cases are bad: the configuration that follows from an analysis.

Reads   badcase_report.json of an analysis
Writes  the next run's configuration (default ./optimized_config.json), complete in itself: the preset that it extends,
        what differs from it, a new run.dir, and run.from_run, which it begins from; beside it <name>.evidence.json: why

    genrec advise --badcase_report outputs/run/analysis/sft/badcase_report.json --auto_recommend
    genrec advise --badcase_report F --strategies long_tail sid_quality --output_config my.json
    genrec advise --badcase_report F          on a terminal: a numbered menu
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from genrec.artifacts import BADCASE_REPORT, OPTIMIZED_CONFIG, read_json, write_json
from genrec.commandline import options_program, parse
from genrec.config import Section, comma_list, knob
from genrec.errors import ArtifactError, ConfigError, exit_on_failure, exit_on_usage_error, fail
from genrec.pipeline import ADVISE, RUN, call_of, command_of
from genrec.run_choice import enclosing_run, shorten

if TYPE_CHECKING:
    from genrec.advice.plan import Plan


class AdviceOptions(Section):
    """Which advice is taken, and where it is written."""

    badcase_report: Path = knob(..., "badcase_report.json, or its directory")
    output_config: Path = knob(Path(OPTIMIZED_CONFIG), "the configuration to write, for --config")
    auto_recommend: bool = knob(False, "take what the evidence advises")
    strategies: list[str] = knob([], "take these; where two conflict, the first wins")

    split_strategies = field_validator("strategies", mode="before")(comma_list)


def main(argv: list[str] | None = None) -> None:
    options = parse(options_program(call_of(*ADVISE), __doc__, AdviceOptions), argv).config
    with exit_on_usage_error():
        if options.auto_recommend and options.strategies:
            raise ConfigError(f"--auto_recommend and --strategies {' '.join(options.strategies)} exclude each other")
    with exit_on_failure(options.output_config):
        try:
            print(write_advice(options))
        except (KeyboardInterrupt, EOFError):
            fail("nothing chosen, nothing written", code=130)


def write_advice(options: AdviceOptions) -> str:
    """Choose, write, and return the text for the screen."""
    from genrec.advice.next_run import complete_overlay
    from genrec.advice.plan import describe_plan, evidence_to_json, make_plan
    from genrec.tables import fold_text

    given, output = options.badcase_report, options.output_config
    source = given / BADCASE_REPORT if given.is_dir() else given
    if output.is_dir():
        raise ArtifactError(f"--output_config {output} is a directory; name the file to write")
    if output.exists() and source.exists() and output.samefile(source):
        raise ArtifactError(f"--output_config {output} is the report itself, which would be overwritten")
    report = read_report(source)
    plan = make_plan(report, choose_strategies(options, report))
    options.output_config.parent.mkdir(parents=True, exist_ok=True)
    content = complete_overlay(place_of_report(source, report["config"]), plan.overlay)
    write_json(options.output_config, content)
    evidence = options.output_config.with_suffix(".evidence.json")
    write_json(evidence, evidence_to_json(report, plan))
    written = f"written: {options.output_config} {evidence}\n{describe_way_on(options.output_config, plan, content)}"
    return f"{fold_text(describe_plan(report, plan))}\n\n{written}"


def place_of_report(source: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The analysed configuration, with the run where the report lies now: it may have been moved, or fetched."""
    run = enclosing_run(source.resolve())
    if run is None or run == Path(config["run"]["dir"]).resolve():
        return config
    return config | {"run": config["run"] | {"dir": str(shorten(run))}}


def choose_strategies(options: AdviceOptions, report: dict[str, Any]) -> list[str]:
    from genrec.advice.strategies import recommend_strategies

    if options.strategies:
        return options.strategies
    if options.auto_recommend:
        return recommend_strategies(report)
    if not sys.stdin.isatty():
        raise ArtifactError("nothing chosen and no terminal to ask on; pass --auto_recommend or --strategies NAME ...")
    return ask_for_strategies(report)


def ask_for_strategies(report: dict[str, Any]) -> list[str]:
    """The numbered menu, until the answer can be read; an empty one takes what is advised."""
    from genrec.advice.plan import describe_choices
    from genrec.advice.strategies import STRATEGIES, recommend_strategies
    from genrec.tables import fold_text

    print(fold_text(describe_choices(report)))
    names = list(STRATEGIES)
    while True:
        words = input("\nnumbers or names, most important first; empty: what is advised: ").replace(",", " ").split()
        picked = [names[int(word) - 1] if word in map(str, range(1, len(names) + 1)) else word for word in words]
        if unknown := [word for word in picked if word not in names]:
            print(f"'{unknown[0]}' is neither a number from 1 to {len(names)} nor a strategy")
            continue
        return picked or recommend_strategies(report)


def read_report(path: Path) -> dict[str, Any]:
    """The report as advice reads it: of valid rows."""
    from genrec.advice.report import check_report, take_valid

    report = read_json(path)
    check_report(report, str(path), command_of("analysis"))
    return take_valid(report)


def describe_way_on(output: Path, plan: Plan, content: dict[str, Any]) -> str:
    if plan.first_stage is None:
        return "Nothing is to be changed; the file is the configuration of the analysed run."
    pipeline, run = call_of(*RUN), content["run"]
    return (
        f"Next: `{pipeline} --config {output} --yes`, the run {run['dir']}, begun from {run['from_run']}: it makes "
        f"{plan.first_stage} and all that is built on it anew, and shares the rest. Or let the loop try the advice one "
        f"by one and keep what is better on valid rows: `{pipeline} --config YOURS --iterate 3`."
    )
