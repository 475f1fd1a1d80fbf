"""Corpus text as labels: visible white space, truncated, escaped for Plotly's pseudo-HTML."""

MARKS = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x7f": "␡"}
BIDI = {*range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x61C}


def mark(character: str) -> str | None:
    """Return the sign for an invisible character, None for a visible one."""
    if character in MARKS:
        return MARKS[character]
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code in BIDI or 0x80 <= code < 0xA0:
        return f"⟨U+{code:04X}⟩"
    return None


def visible(text: str) -> str:
    """Return `text` with signs for invisible characters and for spaces at the ends."""
    inner = text.strip(" ")
    if not inner:
        return "␠" * len(text) if text else "∅"
    n_leading = len(text) - len(text.lstrip(" "))
    n_trailing = len(text) - len(text.rstrip(" "))
    return "␠" * n_leading + "".join(mark(c) or c for c in inner) + "␠" * n_trailing


def plotly_text(text: str, length: int = 24) -> str:
    """Return `text` escaped, so that Plotly draws exactly these characters.

    Plotly parses a subset of HTML in labels and hover text.
    """
    # More fonts have the open box than the sign for space that pages print.
    label = visible(text).replace("␠", "␣")
    if len(label) > length:
        label = label[: length - 1] + "…"
    return label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
