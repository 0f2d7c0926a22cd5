import pytest

from genrec.data import texts


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("5&amp;quot; clamp", '5" clamp'),
        ("<b>Bold</b> new\tthing\n", "Bold new thing"),
        ('<span class="a-size-medium">Natural Health</span>', "Natural Health"),
        ("Sieve < 5 mm > 2 mm", "Sieve < 5 mm > 2 mm"),
        ("caf\u00e9 \u200b&eacute;t&eacute;", "caf\u00e9 \u00e9t\u00e9"),
        ("&lt;i&gt;Vogue&lt;/i&gt;", "Vogue"),
        (' Magazines" />', "Magazines"),
    ],
)
def test_a_marked_up_title_becomes_readable(raw, expected):
    assert texts.clean_title(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "",
        "  ",
        '<span class="a-size-medium a-color-secondary"',
        "<br/>",
        "&nbsp;--",
        "<script>var a = 1</script>",
        "var t = (new Date()).getTime(); w()",
    ],
)
def test_a_title_is_unusable_only_when_nothing_readable_is_left(raw):
    assert texts.clean_title(raw) is None


def test_commas_in_a_category_do_not_break_the_path():
    joined = texts.join_categories(["Industrial &amp; Scientific", "Tapes,Adhesives, Sealants", "", None, "Tapes"])
    assert joined == "Industrial & Scientific,Tapes, Adhesives, Sealants,Tapes"
    assert texts.join_categories(["Tapes", " Adhesives & Sealants", "Glue"]) == "Tapes, Adhesives & Sealants,Glue"


def test_a_description_is_joined_without_markup():
    assert texts.join_paragraphs(["<p>One.</p>", "", None, "Two &gt; one."]) == "One. Two > one."
    assert texts.join_paragraphs(None) == ""


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, None),
        ("x", None),
        ('<span id="t">Lamp', None),
        ('<span class="a-size"', '<span class="a-size'),  # the published rule lets this one pass
        (' "A &quot;b&quot; &amp; c" ', 'A "b" & c'),
        (" ".join(["w"] * 20), " ".join(["w"] * 20)),
        (" ".join(["w"] * 21), None),
    ],
)
def test_the_published_title_rule(raw, expected):
    assert texts.clean_published_title(raw) == expected


def test_the_published_description_is_a_printed_list():
    assert texts.clean_published_text(["a <b>b</b>", "c&amp;d"]) == "['a b', 'c&d']"
    assert texts.clean_published_text([]) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A1B2 é 日本 €5", "A1B2 é 日本 €5"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\u202eb\u200b\u2028c\n\t\x9b", r"a\u202eb\u200b\u2028c\n\t\x9b"),
        ("5\xa0mm", "5\xa0mm"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_steers_a_terminal_is_shown_and_not_done(text, shown):
    assert texts.escape_controls(text) == shown
