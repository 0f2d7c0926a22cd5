"""Prompts piece by piece: lengths, cuts, and fingerprints that follow the texts."""

import pytest

from genrec.data import prompts
from genrec.data.prompts import Encoder, Prompt, make_head, make_profile_tail, make_tail, prompt_fingerprint


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
    assert make_tail("sid history", "sid") == "" and make_tail("title", "sid") == prompts.TAIL
    assert "movies watched" in make_head("sid history", "sid", "movielens")
    assert "products bought" in make_head("sid history", "sid", "toy")


def test_what_is_not_known_of_a_user_is_left_out():
    assert make_profile_tail(["", ""], [], "toy") == prompts.TAIL
    text = make_profile_tail(["Tools", ""], ["<a_1>", "<a_2>"], "toy")
    assert text == "\nMostly bought: Tools\nOthers bought with these: <a_1><a_2>" + prompts.TAIL


def test_a_fingerprint_follows_its_own_text_alone(monkeypatch):
    before = prompt_fingerprint()
    monkeypatch.setitem(prompts.INSTRUCTIONS, ("title", "sid"), "Name the {item}.")
    after = prompt_fingerprint()
    assert {name for name in before if before[name] != after[name]} == {"title -> sid"}
    monkeypatch.setattr(prompts, "PROFILE", "\nLikes {favourites}")
    assert {name for name in after if after[name] != prompt_fingerprint()[name]} == {"taste"}
