"""Item texts as shops deliver them -> clean Unicode without markup; and the published rules, as they are."""

from __future__ import annotations

import html
import re
import unicodedata

TAG = re.compile(
    r"<!--.*?-->|<(?:script|style)\b.*?</(?:script|style)>"
    r"|</?[A-Za-z][^<>]*>"  # a whole tag; '<5 mm' and 'a < b' are text
    r"|</?[A-Za-z]+\s+[\w-]+\s*=[^>]*$"  # a tag that is cut at the end of the field
    r'|"?\s*/>',  # the end of a tag whose beginning is cut
    re.DOTALL,
)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028\u2029\ud800-\udfff\ufeff]+")
NO_UNICODE = re.compile(r"[\ud800-\udfff]")  # half of a surrogate pair, which JSON can spell and no file can hold
SCRIPT = ".getTime();"  # 2018 records whose page was not understood carry its timing script as title
PUBLISHED_WORDS = 20


def mend_unicode(text: str) -> str:
    """The text with the sign for 'unreadable' in place of each half of a surrogate pair."""
    return NO_UNICODE.sub("\ufffd", text)


def clean_text(text: str) -> str:
    """Entities decoded (twice: '&amp;quot;' occurs), tags stripped, white space collapsed."""
    text = html.unescape(html.unescape(text))
    text = CONTROL.sub(" ", TAG.sub(" ", text))
    return " ".join(text.split())


def escape_controls(text: str) -> str:
    """For the screen: what steers a terminal, or cannot be seen, as '\\x1b' or '\\u202e'; no two ids look alike."""
    return "".join(letter if is_visible(letter) else ascii(letter)[1:-1] for letter in text)


def is_visible(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


def clean_title(title: str | None) -> str | None:
    """A title that can be read, or None where no letter or digit is left, or a script stands in its place."""
    cleaned = clean_text(title) if title else ""
    return cleaned if any(letter.isalnum() for letter in cleaned) and SCRIPT not in cleaned else None


def join_paragraphs(paragraphs: list[str | None] | None) -> str:
    """Paragraphs of a description -> one text."""
    return " ".join(filter(None, (clean_text(paragraph) for paragraph in paragraphs or [] if paragraph)))


def join_categories(path: list[str | None] | None) -> str:
    """A category path, coarse to fine -> 'A,B, C & D,E': commas within a name have a space behind."""
    # a part that opens with a space is the rest of a name that was cut at its comma
    names = ((" " if name.startswith(" ") else "") + clean_category(name) for name in path or [] if name)
    return ",".join(name for name in names if name.strip())


def clean_category(name: str) -> str:
    return re.sub(r",(?=\S)", ", ", clean_text(name)).strip(", ")


def clean_published_title(title: str | None) -> str | None:
    """MiniOneRec's filter: no '<span id', two entities, spaces and quotes stripped, 2+ letters, at most 20 words."""
    if title is None or "<span id" in title:
        return None
    title = title.replace("&quot;", '"').replace("&amp;", "&").strip(" ").strip('"')
    return title if len(title) > 1 and len(title.split(" ")) <= PUBLISHED_WORDS else None


def clean_published_text(parts: list[str | None] | None) -> str:
    """MiniOneRec's description: the printed Python list, tags stripped, entities decoded; '' for an empty list."""
    if not parts:
        return ""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", str(parts)))).strip()


def clean_published_brand(brand: str | None) -> str:
    return (brand or "").replace("by\n", "").strip()
