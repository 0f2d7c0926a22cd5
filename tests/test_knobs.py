"""Every knob does something: a line of the program reads it, and one that counts for a result reaches an artifact."""

import ast

import pytest

from genrec.config import Config, Section, knob, knob_marks, result_keys, walk
from genrec.pipeline import BY_NAME, FAMILY_READS, affected, depends_on, row_depends_on, same_or_below
from genrec.serving.settings import ServeOptions
from genrec.stages.ab import AbOptions, PlanOptions
from genrec.stages.advise import AdviceOptions
from genrec.stages.compare import ComparisonOptions
from genrec.stages.plan import ScaleOptions
from genrec.stages.push import PushOptions
from genrec.stages.recommend import RecommendOptions
from genrec.stages.run import Pipeline
from genrec.stages.runs import RunsOptions
from tencentgr.options import RqvaeOptions, SampleOptions, TencentGROptions
from tests import ROOT, parse_flags
from tests.knob_reads import find_unread, parse_sources
from UR4Rec.options import BatchesOptions, CollectionOptions, GeneratorOptions, PreprocessOptions, TrainOptions

# Read in another way: from the tree of values, before there is a configuration, or by a property of the schema.
OTHERWISE = {"Config.update.from_run", "TencentGROptions.mm_emb_id", "TencentGROptions.ckpt_dir"}
DECLARING = {"config.py", "config_checks.py", "options.py", "reads.py"}  # there a knob is declared and checked
SCHEMAS = {
    "genrec": (
        Config, AbOptions, AdviceOptions, ComparisonOptions, Pipeline, PlanOptions, PushOptions, RecommendOptions,
        RunsOptions, ScaleOptions, ServeOptions,
    ),
    "tencentgr": (TencentGROptions, RqvaeOptions, SampleOptions),
    "UR4Rec": (CollectionOptions, BatchesOptions, PreprocessOptions, TrainOptions, GeneratorOptions),
}  # fmt: skip
CHOOSE_ROWS = {"evaluation.models", "evaluation.ranking", "evaluation.base_model"}  # each makes another row
SPOKEN = {"data.noun", "data.nouns", "data.verb", "data.language"}  # data without them is the same, prompts are not


class Inner(Section):
    used: int = knob(1, "read")
    forgotten: int = knob(1, "read by nothing")


class Outer(Section):
    inner: Inner = Inner()
    forgotten: int = knob(1, "read, unlike its namesake")


PLANTED = """
ENDS = ("us",)
def main(settings: Outer, others: Sequence[str]):
    part, forgotten = settings.inner, len(others)
    settings.inner.forgotten = 2
    return lambda: ([getattr(part, f"{end}ed") for end in ENDS], settings.forgotten, others.forgotten)
"""


def test_a_knob_that_nothing_reads_is_found():
    assert find_unread([Outer], [ast.parse(PLANTED)]) == ["Outer.inner.forgotten"]
    assert find_unread([Outer], []) == ["Outer.inner.used", "Outer.inner.forgotten", "Outer.forgotten"]


@pytest.mark.parametrize("program", SCHEMAS)
def test_every_knob_is_read(program):
    assert set(find_unread(SCHEMAS[program], parse_sources([ROOT / program], DECLARING))) <= OTHERWISE


def test_a_knob_that_counts_for_a_result_reaches_an_artifact_and_no_other_does():
    by_name = [key for stage in BY_NAME for key in depends_on(stage)]
    for path, field in walk(Config):
        reaches = affected([path]) or any(same_or_below(path, key) for key in by_name)
        assert bool(reaches) is (knob_marks(field)["result"] or path in SPOKEN), path
    assert SPOKEN <= set(depends_on("sft"))


def test_every_knob_of_evaluation_belongs_to_a_row():
    flags = ([], ["--evaluation.decoding", "frontier"], ["--evaluation.target_ranks", "True"],
             ["--evaluation.cold_share", "0.1", "--evaluation.normalization", "trie"])  # fmt: skip
    configs = [parse_flags(["--config", "tiny", *asked]).config for asked in flags]
    of_rows = {key for config in configs for family in FAMILY_READS for key in row_depends_on(family, config)}
    assert set(result_keys("evaluation")) - of_rows == CHOOSE_ROWS
