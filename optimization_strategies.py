"""What to change so that fewer cases are bad: the configuration that follows from an analysis.

Reads   badcase_report.json of analyze_badcase.py
Writes  the overlay (default ./optimized_config.json), and beside it <name>.evidence.json: why each key is what it is

    python optimization_strategies.py --badcase_report outputs/run/analysis/sft/badcase_report.json --auto_recommend
    python optimization_strategies.py --badcase_report F --strategies long_tail sid_quality --output_config my.json
    python optimization_strategies.py --badcase_report F          on a terminal: a numbered menu
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from genrec.artifacts import BADCASE_REPORT, ArtifactError, write_json
from genrec.config import ConfigError
from genrec.stage import fail


def main() -> None:
    options = options_of_call()
    try:
        text = run(options)
    except (ArtifactError, ConfigError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {options.output_config}: {error.strerror}; choose another --output_config")
    except (KeyboardInterrupt, EOFError):
        fail("nothing chosen, nothing written", code=130)
    print(text)


def options_of_call() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--badcase_report", type=Path, required=True, help="badcase_report.json, or its directory")
    parser.add_argument(
        "--output_config", type=Path, default=Path("optimized_config.json"), help="default ./optimized_config.json"
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--auto_recommend", action="store_true", help="take what the evidence advises")
    choice.add_argument(
        "--strategies", nargs="+", metavar="NAME", help="take these; where two conflict, the first wins"
    )
    return parser.parse_args()


def run(options: argparse.Namespace) -> str:
    """Choose, write, and return the text for the screen."""
    from genrec.evaluation.plan import evidence_json, make_plan, show

    report = read_report(options.badcase_report)
    plan = make_plan(report, chosen(options, report))
    options.output_config.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output_config, plan.overlay)
    evidence = options.output_config.with_suffix(".evidence.json")
    write_json(evidence, evidence_json(report, plan))
    return f"{show(report, plan)}\n\nwritten: {options.output_config} {evidence}\n{way_on(options.output_config, plan)}"


def chosen(options: argparse.Namespace, report: dict[str, Any]) -> list[str]:
    from genrec.evaluation.strategies import recommended

    if options.strategies:
        return options.strategies
    if options.auto_recommend:
        return recommended(report)
    if not sys.stdin.isatty():
        raise ArtifactError("nothing chosen and no terminal to ask on; pass --auto_recommend or --strategies NAME ...")
    return ask(report)


def ask(report: dict[str, Any]) -> list[str]:
    """The numbered menu, until the answer can be read; an empty one takes what is advised."""
    from genrec.evaluation.plan import show_choices
    from genrec.evaluation.strategies import STRATEGIES, recommended

    print(show_choices(report))
    names = list(STRATEGIES)
    while True:
        words = input("\nnumbers or names, most important first; empty: what is advised: ").replace(",", " ").split()
        picked = [names[int(word) - 1] if word in map(str, range(1, len(names) + 1)) else word for word in words]
        if unknown := [word for word in picked if word not in names]:
            print(f"'{unknown[0]}' is neither a number from 1 to {len(names)} nor a strategy")
            continue
        return picked or recommended(report)


def read_report(path: Path) -> dict[str, Any]:
    path = path / BADCASE_REPORT if path.is_dir() else path
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}; analyze_badcase.py writes it") from None
    except json.JSONDecodeError as error:
        raise ArtifactError(f"{path} is not valid JSON: {error}") from None
    needed = {"model", "summary", "failure_patterns", "sid_quality", "training", "config"}
    if not isinstance(report, dict) or needed - set(report):
        raise ArtifactError(f"{path} is not a report of analyze_badcase.py; run it and pass its {BADCASE_REPORT}")
    return report


def way_on(output: Path, plan: Any) -> str:
    if plan.first_stage is None:
        return "Nothing is to be changed; the overlay is empty."
    return (
        f"Next: a new run with this overlay, `bash pipeline_0.5b.sh --config YOURS --config {output} --run.dir NEW`; "
        f"it changes {plan.first_stage} and all that is built on it. Or let the loop try the advice one by one, keep "
        "what is better on valid rows, and make nothing twice: `bash pipeline_0.5b.sh --config YOURS --iterate 3`."
    )


if __name__ == "__main__":
    main()
