"""Every prompt of the system: SFT, RL, evaluation and serving build theirs here and nowhere else.

A prompt is a head, parts (one a history item, oldest first) and a tail. The pieces are tokenised one by one, so that a
history is a prefix of the longer history of the same user, token by token. From a SID history to the next SID the tail
is empty: the answer continues the history, and one sequence holds the prompts and answers of all its targets. A profile
of the user stands in the tail, behind the history, so histories of one user still begin alike.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

from genrec.config import Data
from genrec.own_tasks import OwnTask, fingerprint_task
from genrec.windows import TABLE, is_own_shop

# data.source -> (one item, several, what users did with them)
NOUNS = {
    "amazon18": ("product", "products", "bought"),
    "amazon23": ("product", "products", "bought"),
    "minionerec": ("product", "products", "bought"),
    "toy": ("product", "products", "bought"),
    "table": ("item", "items", "chosen"),
    "movielens": ("movie", "movies", "watched"),
}

# What users do with a thing of this name (data.noun), where that is not said by data.verb.
VERBS = {
    **dict.fromkeys(("product", "good", "article of clothing"), "bought"),
    **dict.fromkeys(("movie", "film", "show", "series", "video", "episode"), "watched"),
    **dict.fromkeys(("song", "track", "album", "artist", "podcast"), "listened to"),
    **dict.fromkeys(("book", "article", "news", "story", "comic", "paper"), "read"),
    **dict.fromkeys(("game",), "played"),
    **dict.fromkeys(("hotel", "place", "restaurant", "city"), "visited"),
}
ANY_VERB = "chosen"
NOUNS_ZH = {
    "amazon18": ("商品", "商品", "购买过"),
    "amazon23": ("商品", "商品", "购买过"),
    "minionerec": ("商品", "商品", "购买过"),
    "toy": ("商品", "商品", "购买过"),
    "table": ("物品", "物品", "选择过"),
    "movielens": ("电影", "电影", "看过"),
}
VERBS_ZH = {
    **dict.fromkeys(("商品", "产品"), "购买过"),
    **dict.fromkeys(("电影", "影片", "视频", "剧集"), "看过"),
    **dict.fromkeys(("歌曲", "专辑", "播客"), "听过"),
    **dict.fromkeys(("书", "图书", "文章", "新闻", "小说"), "读过"),
    **dict.fromkeys(("游戏",), "玩过"),
    **dict.fromkeys(("酒店", "景点", "餐厅"), "去过"),
}
ANY_VERB_ZH = "选择过"

# (what is given, what is wanted) -> instruction
INSTRUCTIONS = {
    ("sid history", "sid"): "Continue the semantic IDs of the {items} {bought}, oldest first.",
    ("sid history", "title"): "Predict the title of the next {item} from the {items} {bought}, oldest first.",
    ("title history", "sid"): "Predict the semantic ID of the next {item} from the titles {bought}, oldest first.",
    ("title history", "title"): "Predict the title of the next {item} from the titles {bought}, oldest first.",
    ("title", "sid"): "Give the semantic ID of the {item} with this title.",
    ("sid history and preference", "sid"): "Predict the semantic ID of the next {item} from the {items} {bought}, "
    "oldest first, and from what is said of the user.",
    ("sid history", "preference"): "Say of the user what the {items} {bought} tell, oldest first.",
    ("preference", "sid"): "Predict the semantic ID of a next {item} from what is said of the user.",
    ("description", "sid"): "Give the semantic ID of the {item} with this description.",
    ("sid", "title"): "Give the title of the {item} with this semantic ID.",
}
INSTRUCTIONS_ZH = {
    ("sid history", "sid"): "按时间从早到晚续写用户{bought}的{items}的语义编号。",
    ("sid history", "title"): "根据用户{bought}的{items}(从早到晚),预测下一个{item}的标题。",
    ("title history", "sid"): "根据用户{bought}的{items}的标题(从早到晚),预测下一个{item}的语义编号。",
    ("title history", "title"): "根据用户{bought}的{items}的标题(从早到晚),预测下一个{item}的标题。",
    ("title", "sid"): "给出具有该标题的{item}的语义编号。",
    ("sid history and preference", "sid"): "根据用户{bought}的{items}(从早到晚)和对用户的描述,"
    "预测下一个{item}的语义编号。",
    ("sid history", "preference"): "根据用户{bought}的{items}(从早到晚),描述该用户。",
    ("preference", "sid"): "根据对用户的描述,预测用户下一个{item}的语义编号。",
    ("description", "sid"): "给出具有该描述的{item}的语义编号。",
    ("sid", "title"): "给出具有该语义编号的{item}的标题。",
}
HEAD = "### Instruction:\n{instruction}\n### Input:\n"
TAIL = "\n### Response:\n"
HEAD_ZH = "### 指令:\n{instruction}\n### 输入:\n"
TAIL_ZH = "\n### 回答:\n"
CONTINUED = ("sid history", "sid")  # its answer follows without a tail
PREFERENCE = "\nThe user: {text}"
PROFILE = "\nMostly {bought}: {favourites}"
COMPANIONS = "\nOthers {bought} with these: {sids}"
PREFERENCE_ZH = "\n用户:{text}"
PROFILE_ZH = "\n最常{bought}:{favourites}"
COMPANIONS_ZH = "\n其他用户同时{bought}:{sids}"
PIECES = 2**17  # texts whose token ids an encoder keeps
FORM = "{given} -> {wanted}"  # the name of a form of prompt, in fingerprints


@dataclass(frozen=True)
class Language:
    """All texts of the prompts in one language."""

    instructions: dict[tuple[str, str], str]
    head: str
    tail: str
    preference: str
    profile: str
    companions: str
    nouns: dict[str, tuple[str, str, str]]  # data.source -> (one item, several, what users did with them)
    verbs: dict[str, str]  # one item -> what users did with them
    any_verb: str


def read_language(name: str) -> Language:
    """The texts above."""
    if name == "zh":
        texts = (INSTRUCTIONS_ZH, HEAD_ZH, TAIL_ZH, PREFERENCE_ZH, PROFILE_ZH, COMPANIONS_ZH)
        return Language(*texts, NOUNS_ZH, VERBS_ZH, ANY_VERB_ZH)
    return Language(INSTRUCTIONS, HEAD, TAIL, PREFERENCE, PROFILE, COMPANIONS, NOUNS, VERBS, ANY_VERB)


@dataclass(frozen=True)
class Wording:
    """What items are called in prompts, and the language of these."""

    item: str
    items: str
    bought: str
    language: Literal["en", "zh"] = "en"

    @property
    def texts(self) -> Language:
        return read_language(self.language)


def word_source(source: str) -> Wording:
    """What a source calls its items by itself, in English."""
    return Wording(*NOUNS[name_nouns(source)])


def name_nouns(source: str) -> str:
    """The source whose nouns are meant: a function of the user's own gives what a table does."""
    return TABLE if is_own_shop(source) else source


def choose_wording(data: Data) -> Wording:
    """The source's own words, or those of data.noun, data.nouns, data.verb and data.language."""
    language: Literal["en", "zh"] = data.language or "en"
    texts = read_language(language)
    item, items, bought = texts.nouns[name_nouns(data.source)]
    if data.noun:
        item, items = data.noun, pluralize(data.noun) if language == "en" else data.noun
        bought = texts.verbs.get(data.noun, texts.any_verb)
    return Wording(item, data.nouns or items, data.verb or bought, language)


def own_wording(data: Data) -> Wording | None:
    """The same, None where it is the source's own in English."""
    wording = choose_wording(data)
    return None if wording == word_source(data.source) else wording


def pluralize(noun: str) -> str:
    """By the rules of English spelling; what they miss is for data.nouns."""
    if re.search(r"(?:s|x|z|ch|sh)$", noun):
        return noun if noun in ("news", "series") else f"{noun}es"
    return f"{noun[:-1]}ies" if re.search(r"[^aeiou]y$", noun) else f"{noun}s"


@dataclass(frozen=True)
class Prompt:
    """Text pieces of one prompt."""

    head: str
    parts: tuple[str, ...]
    tail: str

    @property
    def text(self) -> str:
        return self.head + "".join(self.parts) + self.tail


class Tokenizer(Protocol):
    def encode(self, text: str, add_special_tokens: bool = ...) -> list[int]: ...


def make_head(given: str, wanted: str, wording: Wording) -> str:
    texts = wording.texts
    words = {"item": wording.item, "items": wording.items, "bought": wording.bought}
    return texts.head.format(instruction=texts.instructions[given, wanted].format(**words))


def make_own_head(instruction: str, wording: Wording) -> str:
    """That of a task of the user's own."""
    words = {"item": wording.item, "items": wording.items, "bought": wording.bought}
    return wording.texts.head.format(instruction=instruction.format(**words))


def make_tail(given: str, wanted: str, wording: Wording) -> str:
    return "" if (given, wanted) == CONTINUED else wording.texts.tail


def make_profile_tail(favourites: list[str], companions: list[str], wording: Wording) -> str:
    """The tail of a history prompt that says more of the user; what is not known is left out."""
    texts, favourite = wording.texts, ", ".join(filter(None, favourites))
    lines = [texts.profile.format(bought=wording.bought, favourites=favourite)] if favourite else []
    lines += [texts.companions.format(bought=wording.bought, sids="".join(companions))] if companions else []
    return "".join(lines) + texts.tail


def prompt_fingerprint(language: str = "en") -> dict[str, str]:
    """Hash of each text above, by what it is for: a form such as "title -> sid", a source, a part of the profile.

    A model directory carries those it was trained with; a text that nobody asks it with may change or be added.
    """
    of = read_language(language)
    parts: dict[str, tuple[str, ...]] = {"taste": (of.profile, of.tail), "companions": (of.companions, of.tail)}
    parts |= of.nouns
    for (given, wanted), instruction in of.instructions.items():
        said = (of.preference,) if given.endswith("and preference") else ()
        tail = "" if (given, wanted) == CONTINUED else of.tail
        parts[FORM.format(given=given, wanted=wanted)] = (of.head, instruction, *said, tail)
    return {name: hashlib.sha256(repr(texts).encode()).hexdigest()[:16] for name, texts in parts.items()}


def own_fingerprint(name: str, task: OwnTask, language: str = "en") -> str:
    """The same of a task of the user's own."""
    of = read_language(language)
    return fingerprint_task(name, task, of.head, of.tail)


class Encoder:
    """Pieces -> token ids; the pieces used last are tokenised once."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.piece = lru_cache(maxsize=PIECES)(self.tokenize)

    def tokenize(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def prompt(self, prompt: Prompt, limit: int) -> list[int]:
        """The token ids of a prompt, at most `limit`."""
        parts = [self.piece(part) for part in prompt.parts]
        return join_pieces(self.piece(prompt.head), parts, self.piece(prompt.tail), limit)


def join_pieces(head: list[int], parts: list[list[int]], tail: list[int], limit: int) -> list[int]:
    """At most `limit` ids: the oldest parts go first, then the front of the one part that is left."""
    room, first, length = limit - len(head) - len(tail), 0, sum(map(len, parts))
    while len(parts) - first > 1 and length > room:
        length -= len(parts[first])
        first += 1
    body = [token for part in parts[first:] for token in part]
    return head + body[: max(room, 0)] + tail
