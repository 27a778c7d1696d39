"""The types of the fields of messages, with the words that describe valid values."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

MAX_TEXT_CHARACTERS = 255
MAX_DETAIL_CHARACTERS = 2_000
MAX_QUANTITY = 2**31 - 1
MAX_PRIORITY = 9
MAX_SEQUENCE = 2**63 - 1

# Unicode's category Cc and its two line separators: they break logs, and PostgreSQL refuses NUL.
_CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
# What str.strip() takes off, less the controls above. Spelled out, since \s differs between regex dialects.
_BLANK = r" \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_CLEAN = rf"[^{_CONTROL}{_BLANK}](?:[^{_CONTROL}]*[^{_CONTROL}{_BLANK}])?"

# The days that exist from year 1 on. The schemas have no `format: date`: generators make a point in time of it, that is
# the day before in half of the world, and is written with hours, which are refused here.
_LEAP_YEAR = "[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00"
_USUAL_DATE = (
    "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    "|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_LEAP_DAY = f"(?:{_LEAP_YEAR})-02-29"
DATE_PATTERN = f"^{_USUAL_DATE}$|^{_LEAP_DAY}$"
_is_date = re.compile(DATE_PATTERN).fullmatch

# RFC 3339 in UTC. A fraction of a second may have nine digits, since Go and .NET write more than six. Those after the
# sixth are dropped: databases keep no more.
TIME_PATTERN = (
    rf"^(?:{_USUAL_DATE}|{_LEAP_DAY})T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,9}})?(?:Z|\+00:00)$"
)
_is_time = re.compile(TIME_PATTERN).fullmatch


@dataclass(frozen=True, kw_only=True, eq=False)  # by identity: a type's metadata must be hashable
class Rule:
    """Describes valid values, in words that follow "must be"."""

    words: str


def _absent_if_null(value: object) -> object:
    return "" if value is None else value


def _no_if_null(value: object) -> object:
    return False if value is None else value


def _zero_if_null(value: object) -> object:
    return 0 if value is None else value


def _read_date(value: object) -> object:
    # date.fromisoformat alone also takes "20260101" and "2026-W01-1".
    return date.fromisoformat(value) if isinstance(value, str) and _is_date(value) else value


def _read_time(value: object) -> object:
    return datetime.fromisoformat(value) if isinstance(value, str) and _is_time(value) else value


def _in_utc(value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise ValueError("a time zone is missing")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is not within the years 1 to 9999 in UTC") from error


_TEXT_WORDS = "without control characters or blanks at the ends"

Text = Annotated[
    str,
    Field(min_length=1, max_length=MAX_TEXT_CHARACTERS, pattern=f"^{_CLEAN}$"),
    Rule(words=f"text of 1 to {MAX_TEXT_CHARACTERS} characters {_TEXT_WORDS}"),
]
OptionalText = Annotated[
    str,
    Field(max_length=MAX_TEXT_CHARACTERS, pattern=f"^(?:{_CLEAN})?$"),
    Rule(words=f"text of at most {MAX_TEXT_CHARACTERS} characters {_TEXT_WORDS}"),
]
NullableText = Annotated[
    str,
    Field(max_length=MAX_TEXT_CHARACTERS, pattern=f"^(?:{_CLEAN})?$"),
    Rule(words=f"null or text of at most {MAX_TEXT_CHARACTERS} characters {_TEXT_WORDS}"),
    BeforeValidator(_absent_if_null, json_schema_input_type=OptionalText | None),
]
"""Text that others send: null means the same as none, since many languages write it for a field that is not set."""
TextOrNull = Annotated[Text | None, Rule(words=f"null or text of 1 to {MAX_TEXT_CHARACTERS} characters {_TEXT_WORDS}")]
Sentence = Annotated[
    str,
    Field(min_length=1, max_length=MAX_DETAIL_CHARACTERS, pattern=f"^{_CLEAN}$"),
    Rule(words=f"a sentence of 1 to {MAX_DETAIL_CHARACTERS} characters {_TEXT_WORDS}"),
]
Slug = Annotated[
    str,
    Field(min_length=1, max_length=MAX_TEXT_CHARACTERS, pattern="^[a-z0-9]+(?:-[a-z0-9]+)*$"),
    Rule(words="lower-case words joined by hyphens"),
]
PositiveQuantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY), Rule(words=f"an integer from 1 to {MAX_QUANTITY}")]
PositiveQuantityOrNull = Annotated[PositiveQuantity | None, Rule(words=f"null or an integer from 1 to {MAX_QUANTITY}")]
Quantity = Annotated[int, Field(ge=0, le=MAX_QUANTITY), Rule(words=f"an integer from 0 to {MAX_QUANTITY}")]
Flag = Annotated[
    bool,
    Rule(words="true, false or null"),
    BeforeValidator(_no_if_null, json_schema_input_type=bool | None),
]
"""Yes or no; null means no."""
_Priority = Annotated[int, Field(ge=0, le=MAX_PRIORITY)]
Priority = Annotated[
    int,
    Field(ge=0, le=MAX_PRIORITY),
    Rule(words=f"null or an integer from 0 to {MAX_PRIORITY}"),
    BeforeValidator(_zero_if_null, json_schema_input_type=_Priority | None),
]
"""How urgent a line is, the higher the more; null means 0."""
Sequence = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_SEQUENCE,
        description="Counts the events of one SKU: 1, 2, 3. Its one gap comes after the worker's database was restored "
        "from a backup.",
    ),
    Rule(words=f"an integer from 1 to {MAX_SEQUENCE}"),
]
DateOrNull = Annotated[
    Annotated[
        date,
        BeforeValidator(_read_date),
        WithJsonSchema({"type": "string", "pattern": DATE_PATTERN}),
    ]
    | None,
    Rule(words='a date that exists, as "YYYY-MM-DD", or null'),
]
UtcTime = Annotated[
    datetime,
    BeforeValidator(_read_time),
    AfterValidator(_in_utc),
    WithJsonSchema({"type": "string", "pattern": TIME_PATTERN}),
    Rule(words='a time that exists, in UTC, as "YYYY-MM-DDThh:mm:ssZ"'),
]
Data = Annotated[dict[str, Any], Rule(words="an object")]
