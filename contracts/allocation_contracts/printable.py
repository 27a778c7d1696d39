"""Text from outside, made safe to show to a person."""

from collections.abc import Mapping

_SHORT: Mapping[str, str] = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, *, keep: str = "") -> str:
    r"""Return a text with every character that cannot be printed written as an escape, such as `\u001b`.

    A terminal obeys control characters (C0, DEL and C1), and shows a line in another order after a bidirectional
    override. The escapes are those of JSON, so that a line of JSON stays one, with the same value.

    Args:
        text: Any text, lone surrogates included.
        keep: Characters that are left as they are, such as the newlines between lines.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else _escape(each) for each in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return _SHORT.get(character) or "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs)
