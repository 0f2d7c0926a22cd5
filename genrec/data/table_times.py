"""Times in any form people write -> seconds UTC. The form is recognised from all values, and has to be one.

    seconds, milliseconds, microseconds, nanoseconds     numbers since 1970, told apart by their size
    dates and times                                      2020-01-31, 2020-01-31 12:00[:00[.5]], with T, Z or +02:00 too
    days as numbers                                      20200131
    order numbers                                        whole numbers below 100 million: the place within the user

T events
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from genrec.data.ndjson import LATEST
from genrec.errors import ArtifactError

FIRST = 100_000_000  # seconds of 1973-03: smaller numbers are no times but places in an order
TICKS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
ORDER, DAYS, LOCAL, ZONED = "order numbers", "days as numbers", "times without a zone", "times with a zone"
LOCAL_FORMATS = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
ZONED_FORMATS = ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z")


class Times(NamedTuple):
    seconds: pl.Series  # (T,) Int64, null where there is none that can be used
    form: str
    fine: pl.Series | None  # (T,) Int64 nanoseconds or the like, where seconds do not tell all apart

    @property
    def is_order(self) -> bool:
        return self.form == ORDER


class RawTimes(NamedTuple):
    """A column of times before its form is known."""

    values: pl.Series  # (T,)
    own_form: str  # of dates and times that the file itself marks as such, else ''
    numbers: pl.Series  # (T,) Int64, null of what is no number
    forms: pl.Series  # (T,) the form that a number's size tells
    local: pl.Series  # microseconds of the texts that are no numbers, read as times without a zone
    zoned: pl.Series  # the same with one


class TimeSurvey(NamedTuple):
    """What some of a column's values look like. The form of all of them follows from the surveys of its parts."""

    own_form: str
    counts: dict[str, int]  # form -> values
    days: bool | None  # whether all small numbers are days as numbers; None without any
    known: int  # values that are not null
    some: list[Any]


def read_times(values: pl.Series, name: str, allowed: float) -> Times:
    """`name` is the column's, for messages; at most the share `allowed` may be of another form, and is null then."""
    raw = look_at_times(values)
    return understand_times(raw, settle_form([survey_times(raw)], name, allowed))


def look_at_times(values: pl.Series) -> RawTimes:
    nothing = pl.Series([], dtype=pl.Int64)
    if values.dtype in (pl.Date, pl.Datetime):
        own_form = ZONED if getattr(values.dtype, "time_zone", None) else LOCAL
        return RawTimes(values, own_form, nothing, pl.Series([], dtype=pl.String), nothing, nothing)
    numbers = as_integers(values)
    local, zoned = nothing, nothing
    if values.dtype == pl.String and numbers.null_count() > values.null_count():
        local, zoned = parse_texts(values.filter(numbers.is_null()))
    return RawTimes(values, "", numbers, name_forms(numbers), local, zoned)


def survey_times(raw: RawTimes) -> TimeSurvey:
    counts = {str(form): int(count) for form, count in raw.forms.drop_nulls().value_counts().rows()}
    counts |= {form: texts.count() for form, texts in ((LOCAL, raw.local), (ZONED, raw.zoned)) if texts.count()}
    places = raw.numbers.set(raw.forms != ORDER, None)
    days = parse_days(places) is not None if places.count() else None
    some = [] if raw.own_form else raw.values.drop_nulls().head(3).to_list()
    return TimeSurvey(raw.own_form, counts, days, raw.values.count(), some)


def settle_form(surveys: Sequence[TimeSurvey], name: str, allowed: float) -> str:
    """The one form of a column whose parts were surveyed."""
    if own := next((survey.own_form for survey in surveys if survey.own_form), ""):
        return own
    counts: dict[str, int] = {}
    for survey in surveys:
        counts |= {form: counts.get(form, 0) + count for form, count in survey.counts.items()}
    form = decide_form(counts, name, allowed)
    if not form:
        some = [value for survey in surveys for value in survey.some][:3]
        raise ArtifactError(
            f"{name} holds no time in any of {sum(survey.known for survey in surveys):,} values ({some}); "
            "seconds, milliseconds, 2020-01-31, 2020-01-31T12:00:00Z or order numbers within the user are read"
        )
    days = {survey.days for survey in surveys} - {None}
    return DAYS if form == ORDER and days == {True} else form


def understand_times(raw: RawTimes, form: str) -> Times:
    """The values of this form as seconds."""
    if raw.own_form:
        zone = getattr(raw.values.dtype, "time_zone", None)
        micros = raw.values.cast(pl.Datetime("us", zone)).dt.epoch("us")
        return finish(micros, "microseconds", form)
    if form in (LOCAL, ZONED):
        micros = make_nulls(len(raw.values))
        parsed = raw.local if form == LOCAL else raw.zoned
        if len(parsed):
            micros = micros.scatter(raw.numbers.is_null().arg_true(), parsed)
        return finish(micros, "microseconds", form)
    if form == DAYS:
        days = parse_days(raw.numbers.set(raw.forms != ORDER, None))
        return finish(make_nulls(len(raw.values)) if days is None else days, "microseconds", DAYS)
    kept = raw.numbers.set((raw.forms != form).fill_null(True), None)
    return Times(kept, ORDER, None) if form == ORDER else finish(kept, form, form)


def make_nulls(length: int) -> pl.Series:
    return pl.Series([None], dtype=pl.Int64).new_from_index(0, length)


def count_ticks(form: str) -> int:
    """How many of `Times.fine` make a second."""
    return TICKS.get(form, TICKS["microseconds"])


def as_integers(values: pl.Series) -> pl.Series:
    """Whole numbers, a float's whole part; null of what is no number. A fraction among small numbers is no place."""
    if values.dtype == pl.String:
        values = values.str.strip_chars()
        whole = values.cast(pl.Int64, strict=False)
        if whole.null_count() == values.null_count():
            return whole
        floats = values.cast(pl.Float64, strict=False)
        return whole.zip_with(whole.is_not_null(), as_integers(floats))
    if not values.dtype.is_numeric():
        return make_nulls(len(values))
    if values.dtype.is_float():
        usable = values.is_finite() & (values.abs() < 9e18) & ((values == values.floor()) | (values >= FIRST))
        values = values.set((~usable).fill_null(False), None).floor()
    return values.cast(pl.Int64, strict=False)


def name_forms(numbers: pl.Series) -> pl.Series:
    """(T,) the form that a number's size tells; null of what fits none."""
    number = pl.col("number")
    form = pl.when(number.is_between(0, FIRST - 1)).then(pl.lit(ORDER))
    for name, ticks in TICKS.items():
        form = form.when(number.is_between(FIRST * ticks, LATEST * ticks)).then(pl.lit(name))
    return (
        pl.DataFrame({"number": numbers}).select(form.otherwise(None).cast(pl.Categorical)).to_series().cast(pl.String)
    )


def decide_form(by_form: Mapping[str, int], name: str, allowed: float) -> str:
    """The one form; several, each of more than a share `allowed` of the values, are an error that counts them."""
    counts = sorted(((count, form) for form, count in by_form.items()), reverse=True)
    if not counts:
        return ""
    if sum(count for count, _ in counts[1:]) > allowed * sum(by_form.values()):
        held = ", ".join(f"{count:,} {form}" for count, form in counts)
        raise ArtifactError(f"{name} mixes forms of time: {held}; write all of them in one form")
    return counts[0][1]


def parse_texts(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Microseconds of texts without a zone, and of those with one; null where a text is no such."""
    plain = texts.str.strip_chars().str.replace(r"^(\d{4})/(\d{1,2})/(\d{1,2})", "$1-$2-$3")
    plain = plain.str.replace(r"^(\d{4}-\d{1,2}-\d{1,2})T", "$1 ").str.replace(r" ?(?:Z|UTC)$", "+0000")
    plain = plain.str.replace(r"(:\d{2}(?:\.\d+)?) ?([+-]\d{2}):?(\d{2})?$", "$1$2$3")
    plain = plain.str.replace(r"(:\d{2}(?:\.\d+)?[+-]\d{2})$", "${1}00")
    return parse_formats(plain, LOCAL_FORMATS), parse_formats(plain, ZONED_FORMATS)


def parse_formats(texts: pl.Series, formats: tuple[str, ...]) -> pl.Series:
    """Each text by the first format that fits."""
    parsed = make_nulls(len(texts))
    for form in formats:
        left = parsed.is_null().arg_true()
        if not len(left):
            break
        times = texts.gather(left).str.to_datetime(form, time_unit="us", strict=False, exact=True)
        parsed = parsed.scatter(left, times.dt.epoch("us"))
    return parsed


def parse_days(numbers: pl.Series) -> pl.Series | None:
    """Microseconds where every number is a day such as 20200131, None where one is not."""
    known = numbers.drop_nulls()
    if not len(known) or known.min() < 19700101 or known.max() > 21000101:  # pyright: ignore
        return None
    days = numbers.cast(pl.String).str.to_date("%Y%m%d", strict=False)
    return days.cast(pl.Datetime("us")).dt.epoch("us") if days.null_count() == numbers.null_count() else None


def finish(ticks: pl.Series, unit: str, form: str) -> Times:
    """Ticks since 1970 -> seconds; those outside of 1970 to 2100 are null."""
    each = TICKS[unit]
    seconds = ticks // each
    seconds = seconds.set((~seconds.is_between(0, LATEST)).fill_null(False), None)
    return Times(seconds, form, ticks if each > 1 and (ticks % each != 0).any() else None)
