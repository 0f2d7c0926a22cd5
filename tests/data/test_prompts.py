"""Prompts piece by piece: lengths, cuts, and fingerprints that follow the texts."""

import pytest

from genrec.config_checks import validate
from genrec.data import prompts
from genrec.data.prompts import (
    CONTINUED,
    Encoder,
    Prompt,
    Wording,
    choose_wording,
    make_head,
    make_profile_tail,
    make_tail,
    own_wording,
    prompt_fingerprint,
    word_source,
)

TOY = word_source("toy")
TABLE = {"source": "table", "events": "x.csv"}


class Letters:
    """A token a letter; counts how often it is asked."""

    calls = 0

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        assert add_special_tokens is False
        self.calls += 1
        return [ord(letter) for letter in text]


@pytest.mark.parametrize(
    ("limit", "text"), [(99, "H:abcdef>"), (8, "H:cdef>"), (7, "H:cdef>"), (5, "H:ef>"), (4, "H:e>"), (2, "H:>")]
)
def test_the_oldest_parts_go_first_then_the_front_of_the_last_is_kept(limit, text):
    ids = Encoder(Letters()).prompt(Prompt("H:", ("ab", "cd", "ef"), ">"), limit)
    assert "".join(map(chr, ids)) == text


def test_each_distinct_piece_is_tokenised_once():
    tokenizer = Letters()
    encoder = Encoder(tokenizer)
    for _ in range(3):
        encoder.prompt(Prompt("H", ("a", "b", "a"), "T"), 99)
    assert tokenizer.calls == 4


def test_a_sid_history_is_continued_without_a_tail_and_says_what_the_shop_sells():
    assert make_tail(*CONTINUED, TOY) == "" and make_tail("title", "sid", TOY) == prompts.TAIL
    assert "movies watched" in make_head("sid history", "sid", word_source("movielens"))
    assert "products bought" in make_head("sid history", "sid", TOY)


def test_what_is_not_known_of_a_user_is_left_out():
    assert make_profile_tail(["", ""], [], TOY) == prompts.TAIL
    text = make_profile_tail(["Tools", ""], ["<a_1>", "<a_2>"], TOY)
    assert text == "\nMostly bought: Tools\nOthers bought with these: <a_1><a_2>" + prompts.TAIL


def test_a_fingerprint_follows_its_own_text_alone(monkeypatch):
    before = prompt_fingerprint()
    monkeypatch.setitem(prompts.INSTRUCTIONS, ("title", "sid"), "Name the {item}.")
    after = prompt_fingerprint()
    assert {name for name in before if before[name] != after[name]} == {"title -> sid"}
    monkeypatch.setattr(prompts, "PROFILE", "\nLikes {favourites}")
    assert {name for name in after if after[name] != prompt_fingerprint()[name]} == {"taste"}


def word(**data) -> Wording:
    return choose_wording(validate({"data": data}).data)


def test_without_a_knob_prompts_are_what_they_were():
    """The texts that models on disk were taught, letter by letter."""
    assert own_wording(validate({"data": {"source": "movielens"}}).data) is None
    head = make_head("sid history", "title", word_source("movielens"))
    expected = "Predict the title of the next movie from the movies watched, oldest first."
    assert head == f"### Instruction:\n{expected}\n### Input:\n" and prompts.TAIL == "\n### Response:\n"
    taught = {
        "title -> sid": "5ecdeb560ebcefc6",
        "sid history -> sid": "823a3c94c925b0c2",
        "toy": "75edca738dc3fb62",
        "taste": "2178693c86cfcdb4",
    }
    assert {name: prompt_fingerprint()[name] for name in taught} == taught


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({}, ("item", "items", "chosen")),
        ({"noun": "film"}, ("film", "films", "watched")),
        ({"noun": "song"}, ("song", "songs", "listened to")),
        ({"noun": "story"}, ("story", "stories", "read")),
        ({"noun": "dress"}, ("dress", "dresses", "chosen")),
        ({"noun": "mouse", "nouns": "mice", "verb": "adopted"}, ("mouse", "mice", "adopted")),
        ({"verb": "rented"}, ("item", "items", "rented")),
    ],
)
def test_items_are_called_as_the_knobs_say(knobs, words):
    wording = word(**TABLE, **knobs)
    assert (wording.item, wording.items, wording.bought) == words
    text = make_head("sid history", "title", wording)
    assert "product" not in text and "bought" not in text and f"the {words[1]} {words[2]}, oldest first" in text


def test_chinese_prompts_have_every_form_and_no_english_word():
    assert prompts.INSTRUCTIONS_ZH.keys() == prompts.INSTRUCTIONS.keys()
    assert prompts.NOUNS_ZH.keys() == prompts.NOUNS.keys()
    songs = word(**TABLE, language="zh", noun="歌曲")
    for form in prompts.INSTRUCTIONS:
        text = make_head(*form, songs) + make_tail(*form, songs)
        assert "歌曲" in text or form == ("sid history", "preference")
        assert not any("a" <= letter.lower() <= "z" or letter in "{}" for letter in text)
    assert "听过" in make_profile_tail(["民谣"], [], songs)
    english, chinese = prompt_fingerprint(), prompt_fingerprint("zh")
    assert english.keys() == chinese.keys() and not set(english.values()) & set(chinese.values())
