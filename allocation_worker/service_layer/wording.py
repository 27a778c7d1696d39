"""Words that go with a number."""


def counted(count: int, one: str, more: str | None = None) -> str:
    """Return a number and what it counts, such as `1 event waits` or `1,200 events wait`.

    Args:
        count: The number.
        one: What follows 1.
        more: What follows any other number. Default: the same with an s.
    """
    return f"{count:,} {one if count == 1 else more or one + 's'}"
