"""Text from outside (file names, animals' names) made safe to print."""

from __future__ import annotations

# The wide forms are formulas where Chinese, Japanese or Korean is set.
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")


def printable(text: str) -> str:
    """The text with control characters, direction marks and undecodable bytes as escapes."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode hides it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def safe_cell(text: str) -> str:
    """The text as a table cell that no spreadsheet takes for a formula."""
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def quoted(text: str) -> str:
    """The text as one word of a shell command."""
    return "'" + text.replace("'", "'\\''") + "'"
