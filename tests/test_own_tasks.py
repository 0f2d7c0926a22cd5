"""A task of one's own: its rows, its prompts, its fingerprint, and what it is refused for."""

import sys
from dataclasses import asdict

import numpy as np
import pytest

from genrec.config_checks import asks_next_sid, validate
from genrec.data.prompts import Encoder, Wording
from genrec.data.tasks import TASKS, Texts, draw_row_numbers, find_task, own_fingerprints
from genrec.errors import ArtifactError, ConfigError
from genrec.models.card import current_prompts, prompts_of_rl
from genrec.own_tasks import read_task
from genrec.sids import make_index
from genrec.training.rl_start import make_prompts
from tests import ROOT, parse_flags
from tests.small_shop import small_shop
from tests.test_plugins import module

__all__ = ["module"]

SHOP = small_shop()
INDEX = make_index(np.stack([np.arange(20) // 5, np.arange(20) % 5], axis=1), (4, 5))
TEXTS = Texts(SHOP.catalog, INDEX, "table")
HEADER = "from genrec.own_tasks import OwnTask\n"


@pytest.fixture
def examples(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    yield "plugins"
    sys.modules.pop("plugins", None)


class Letters:
    """A token a letter, and one a semantic-ID token."""

    unk_token_id = None

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [ord(letter) for letter in text]

    def convert_tokens_to_ids(self, texts: list[str]) -> list[int]:
        return [sys.maxunicode + 1 + place for place, _ in enumerate(texts)]


def test_the_prompt_holds_the_words_of_the_task_and_the_nouns_of_the_shop(examples):
    task = find_task("plugins:next_brand")
    prompt = TEXTS.prompt(task, np.array([-1, 3, 4]))
    assert prompt.head == (
        "### Instruction:\nName the brand of the next item from the titles chosen, oldest first.\n### Input:\n"
    )
    assert prompt.parts == tuple(f"{SHOP.catalog.title[item]}\n" for item in (3, 4))
    assert prompt.tail == "\n### Response:\n" and TEXTS.answer(task, 6) == "brand 2"
    songs = Texts(SHOP.catalog, INDEX, "table", given_wording=Wording("song", "songs", "heard"))
    assert "the next song from the titles heard" in songs.prompt(task, np.array([3])).head
    of_item = find_task("plugins:brand_and_category")
    assert TEXTS.prompt(of_item, np.array([5])).parts == ("brand 1: Shop,Tools",)
    assert TEXTS.answer(of_item, 5) == "<a_1><b_0>"


def test_a_long_history_loses_its_oldest_parts_whole(examples):
    prompt = TEXTS.prompt(find_task("plugins:next_brand"), np.array([1, 2, 3]))
    newest = prompt.head + prompt.parts[-1] + prompt.tail
    assert Encoder(Letters()).prompt(prompt, len(newest) + 3) == [ord(letter) for letter in newest]


def test_the_check_of_a_teacher_knows_which_tasks_ask_for_the_next_item(module):
    of_next = module(HEADER + "def ask():\n    return OwnTask('history', 'sid', 'x')\n") + ":ask"
    assert asks_next_sid(of_next) and find_task(of_next).asks_next
    assert all(asks_next_sid(name) == task.asks_next for name, task in TASKS.items())
    assert parse_flags(["--sft.tasks", f"{{'{of_next}': 1}}", "--sft.teacher", "sasrec"]).config.sft.teacher


def test_rows_without_an_answer_are_left_out(module):
    name = module(
        HEADER + "def second():\n"
        "    return OwnTask('history', 'text', 'x', answer=lambda catalog, item: 'yes' if item % 2 else '')\n"
        "def nothing():\n    return OwnTask('history', 'text', 'x', answer=lambda catalog, item: '')\n"
    )
    target = np.array([2, 3, 5, 4, 3])
    random = np.random.default_rng(0)
    assert draw_row_numbers(find_task(f"{name}:second"), 2, target, SHOP.catalog, random).tolist() == [1, 1, 2, 2, 4, 4]
    with pytest.raises(ArtifactError, match="mine:nothing has no row: its texts are empty for all 4 items"):
        draw_row_numbers(find_task(f"{name}:nothing"), 1, target, SHOP.catalog, random)


def test_rl_asks_a_task_of_ones_own_that_answers_with_a_sid(examples):
    settings = validate({"rl": {"tasks": {"plugins:brand_and_category": 1}}}).rl
    prompts = make_prompts(SHOP, TEXTS, Letters(), 300, settings, 0)  # pyright: ignore
    assert prompts["target"] == list(range(20)) and set(prompts["task"]) == {"plugins:brand_and_category"}
    assert "".join(map(chr, prompts["prompt"][5])).endswith("brand 1: Shop,Tools\n### Response:\n")
    with pytest.raises(ConfigError, match="plugins:next_brand wants a text, and RL rewards semantic IDs"):
        validate({"rl": {"tasks": {"plugins:next_brand": 1}}})


def test_the_card_follows_the_instruction_and_the_source(module):
    write = "def ask():\n    return OwnTask('item', 'sid', '{}', part=lambda catalog, item: catalog.{}[item])\n"
    prints = []
    for instruction, field in (("a", "brand"), ("b", "brand"), ("b", "title"), ("b", "title")):
        name = module(HEADER + write.format(instruction, field)) + ":ask"
        prints.append(own_fingerprints([name, "sid_to_sid"])[name])
    assert len(set(prints)) == 3 and prints[2] == prints[3]
    assert own_fingerprints([name], "zh")[name] != prints[3]
    card = type("Card", (), {"prompts": {name: prints[3]}, "wording": None, "source": "table", "profile": []})
    settings = validate({"rl": {"tasks": {name: 1}}}).rl
    assert prompts_of_rl(card, settings)[-1] == name  # pyright: ignore
    assert current_prompts(card, [name])[name] == prints[3]  # pyright: ignore


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("3", "task mine:ask gave int; it must give a genrec.own_tasks.OwnTask"),
        ("OwnTask('user', 'sid', 'x')", "rows is 'user'; 'history' or 'item'"),
        ("OwnTask('item', 'code', 'x')", "wanted is 'code'; 'sid' or 'text'"),
        ("OwnTask('history', 'text', 'x')", "wanted 'text' needs answer="),
        ("OwnTask('item', 'sid', 'x')", "would give the answer away"),
        ("OwnTask('history', 'sid', 'the {thing}')", r"names \{thing\}; it may name \{item\}, \{items\}, \{bought\}"),
        ("OwnTask('history', 'sid', 'a { b')", "write {{ for a brace"),
        ("OwnTask('history', 'sid', None)", "is no text of a prompt"),
        ("OwnTask('history', 'sid', ' ')", "the instruction is empty"),
        ("1 / 0", r"mine:ask failed: ZeroDivisionError: division by zero \(mine.py, line 3\)"),
    ],
)
def test_what_is_no_task_is_told_when_the_configuration_is_read(module, made, message):
    name = module(f"{HEADER}def ask():\n    return {made}\n")
    with pytest.raises(ConfigError, match=message):
        validate({"sft": {"tasks": {f"{name}:ask": 1}}})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "catalog.price[item]",
            r"mine:ask failed: AttributeError: .*'price' \(mine.py, line 3\), asked for the answer",
        ),
        ("None", r"task mine:ask gave NoneType as the answer of item B000 \(row 0 of the catalogue\); it must give a"),
    ],
)
def test_a_text_that_fails_is_told_with_its_item(module, words, message):
    write = "def ask():\n    return OwnTask('history', 'text', 'x', answer=lambda catalog, item: {})\n"
    name = module(HEADER + write.format(words))
    with pytest.raises(ArtifactError, match=message):
        draw_row_numbers(find_task(f"{name}:ask"), 1, np.array([0, 1]), SHOP.catalog, np.random.default_rng(0))


def test_a_mistyped_task_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="unknown task 'sid_to_sit'; did you mean 'sid_to_sid'"):
        validate({"sft": {"tasks": {"sid_to_sit": 1}}})


def test_the_fields_of_a_task_are_what_its_function_gave(examples):
    task = read_task("plugins:next_brand")
    assert asdict(task) | {"part": 0, "answer": 0, "instruction": 0} == {
        "rows": "history",
        "wanted": "text",
        "instruction": 0,
        "part": 0,
        "answer": 0,
    }
