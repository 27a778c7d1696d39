"""The strict JSON reader accepts only input that all JSON readers understand alike."""

import bz2
import gzip
import lzma
import re
import zlib

import pytest

from allocation_contracts import ContractError
from allocation_contracts.errors import show
from allocation_contracts.strict_json import MAX_BODY_BYTES, MAX_DEPTH, read


def nested(levels: int) -> bytes:
    """Nest `levels` containers, the top-level object included."""
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def refusal(body: bytes) -> ContractError:
    with pytest.raises(ContractError) as caught:
        read(body)
    return caught.value


INVALID = {
    "nothing": b"",
    "blanks only": b" \n",
    "truncated": b'{"orderid":"o","sku":',
    "two objects": b"{}{}",
    "trailing comma": b'{"a":1,}',
    "single quotes": b"{'a':1}",
    "an array": b"[1]",
    "a string": b'"allocate"',
    "a number": b"1",
    "null": b"null",
    "one level too many": nested(MAX_DEPTH + 1),
    "1,000 levels": nested(1_000),
    "30,000 levels": nested(30_000),
    "levels of objects": b'{"a":' * 40 + b"1" + b"}" * 40,
    "unclosed levels": b"[" * 60_000,
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a":1}'.encode("utf-16-le"),
    "UTF-32": '{"a":1}'.encode("utf-32"),
    "invalid UTF-8": b'{"a":"\xff"}',
    "latin-1": '{"a":"é"}'.encode("latin-1"),
    "a surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "an overlong NUL": b'{"a":"\xc0\x80"}',
    "a duplicate key": b'{"a":1,"a":1}',
    "a duplicate key inside": b'{"b":[{"a":1,"a":2}]}',
    "a duplicate key, escaped": b'{"a":1,"\\u0061":2}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "minus Infinity": b'{"a":-Infinity}',
    "1e400": b'{"a":1e400}',
    "-1e400": b'{"a":-1e400}',
    "21 digits": b'{"a":' + b"9" * 21 + b"}",
    "5,000 digits": b'{"a":' + b"9" * 5_000 + b"}",
    "minus 5,000 digits": b'{"a":-' + b"9" * 5_000 + b"}",
    "5,000 decimals": b'{"a":0.' + b"9" * 5_000 + b"}",
    "a leading zero": b'{"a":01}',
    "digits of another script": '{"a":\u0663}'.encode(),
    "a raw control character": b'{"a":"\x01"}',
    "a raw newline": b'{"a":"\n"}',
    "a high surrogate alone": b'{"a":"\\ud800"}',
    "a low surrogate alone": b'{"a":"\\uDC00"}',
    "surrogates in the wrong order": b'{"a":"\\udc00\\ud800"}',
    "a surrogate in a key": b'{"\\ud800":1}',
    "a surrogate far inside": b'{"a":[{"b":["\\udfff"]}]}',
}


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID.keys())
def test_refuses(body: bytes) -> None:
    violation = refusal(body)
    assert violation.reason == "invalid-json"
    assert violation.detail.startswith("The body ")
    assert violation.detail.endswith(".")


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID.keys())
def test_never_echoes_much_of_the_body(body: bytes) -> None:
    detail = refusal(body).detail
    assert len(detail) < 250
    assert detail.isprintable()


JSON = b'{"orderid":"order-17","sku":"RED-CHAIR","qty":3}'
COMPRESSED = {
    "gzip": gzip.compress(JSON),
    "deflate": zlib.compress(JSON),
    "bzip2": bz2.compress(JSON),
    "xz": lzma.compress(JSON),
    "zstd": bytes.fromhex("28b52ffd2430") + b"\x81\x01\x00" + JSON,
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_tells_a_compressed_body_by_how_it_begins(name: str) -> None:
    violation = refusal(COMPRESSED[name])
    assert violation.reason == "compressed-body"
    assert violation.detail == f"The body is compressed ({name}); send one JSON object in UTF-8, uncompressed."


RAW = zlib.compressobj(wbits=-15)
RAW_DEFLATE = RAW.compress(JSON) + RAW.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"\xff" * 20),
        ("x-gzip", b"H4sIAAAAAAAC"),
        ("DEFLATE", RAW_DEFLATE),
        ("br", RAW_DEFLATE),
        ("gzip, br", RAW_DEFLATE),
    ],
)
def test_tells_a_compressed_body_by_its_content_encoding(encoding: str, body: bytes) -> None:
    with pytest.raises(ContractError, match=re.escape(encoding.lower())) as caught:
        read(body, content_encoding=encoding)
    assert caught.value.reason == "compressed-body"


@pytest.mark.parametrize("encoding", [None, "", "utf-8", "identity", "binary", b"\xff", 5, "gzip"])
def test_reads_a_body_that_is_not_compressed_whatever_its_content_encoding_says(encoding: object) -> None:
    assert read(b" \n" + JSON, content_encoding=encoding)["qty"] == 3


@pytest.mark.parametrize("encoding", ["utf-8", b"\xff", 5, "x" * 300])
def test_an_unreadable_body_of_another_content_encoding_is_just_unreadable(encoding: object) -> None:
    with pytest.raises(ContractError, match="not UTF-8") as caught:
        read(b"\xff", content_encoding=encoding)
    assert caught.value.reason == "invalid-json"


def test_a_body_cut_short_is_not_called_compressed() -> None:
    with pytest.raises(ContractError, match="not valid JSON"):
        read(JSON[:-1], content_encoding="gzip")


def test_shortens_a_long_duplicate_key() -> None:
    key = b'"' + b"k" * 10_000 + b'":1'
    assert len(refusal(b"{" + key + b"," + key + b"}").detail) < 250


def test_takes_a_body_of_the_largest_size() -> None:
    assert read(b"{}".ljust(MAX_BODY_BYTES)) == {}


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 200_000])
def test_refuses_a_larger_body_before_reading_it(size: int) -> None:
    violation = refusal(b"\xff" * size)
    assert violation.reason == "body-too-large"
    assert str(size) in violation.detail


def test_takes_the_deepest_nesting() -> None:
    assert list(read(nested(MAX_DEPTH))) == ["a"]


def test_counts_depth_and_not_brackets() -> None:
    assert read(b'{"a":[' + b"[]," * 100 + b'{}],"b":"' + b"[{" * 100 + b'"}')["b"] == "[{" * 100


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":"\\ud83d\\ude00"}', "\N{GRINNING FACE}"),
        ('{"a":"\N{GRINNING FACE}"}'.encode(), "\N{GRINNING FACE}"),
        (b'{"a":"\\\\ud800"}', "\\ud800"),
        (b'{"a":"\\u00e9"}', "é"),
        (b'{"a":99999999999999999999}', 10**20 - 1),
        (b'{"a":-99999999999999999999}', 1 - 10**20),
        (b'{"a":1e15}', 1e15),
        (b'{"a":[1.5,true,false,null]}', [1.5, True, False, None]),
        (b' \t\r\n{"a" : 1} \n', 1),
    ],
)
def test_reads(body: bytes, value: object) -> None:
    assert read(body) == {"a": value}


def test_gives_the_reason_and_the_detail_of_a_violation() -> None:
    violation = ContractError("invalid-json", "The body is empty.")
    assert (violation.reason, violation.detail, str(violation)) == (
        "invalid-json",
        "The body is empty.",
        "The body is empty.",
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (None, "null"),
        (-5, "-5"),
        ("é", '"é"'),
        ("a\n", '"a\\n"'),
        ("\ud800", '"\\ud800"'),
        (b"\xff", r"b'\xff'"),
        ({"a": 1}, "an object"),
        ([1], "an array"),
    ],
)
def test_shows_a_value_in_one_printable_line(value: object, shown: str) -> None:
    assert show(value) == shown


def test_shortens_a_long_value() -> None:
    assert show("x" * 10_000) == '"' + "x" * 59 + "..."
