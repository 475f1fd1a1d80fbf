"""Corpus text as labels: white space made visible, length cut, safe in Plotly's pseudo-HTML."""

MARKS = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x7f": "␡"}
BIDI = {*range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x61C}


def mark(character: str) -> str | None:
    """Return the sign that stands for an invisible character, None if it is visible."""
    if character in MARKS:
        return MARKS[character]
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code in BIDI or 0x80 <= code < 0xA0:
        return f"⟨U+{code:04X}⟩"
    return None


def visible(text: str) -> str:
    """Return `text` with its invisible characters replaced by signs, spaces at the ends too."""
    inner = text.strip(" ")
    if not inner:
        return "␠" * len(text) if text else "∅"
    left = len(text) - len(text.lstrip(" "))
    right = len(text) - len(text.rstrip(" "))
    return "␠" * left + "".join(mark(c) or c for c in inner) + "␠" * right


def plotly_text(text: str, length: int = 24) -> str:
    """Return `text` so that Plotly draws exactly these characters.

    Plotly reads a subset of HTML in labels and hovers; with `<` and `&` as entities no tag and no
    entity of the text is left to read.
    """
    # The open box is in more fonts than the sign for space that pages print.
    shown = visible(text).replace("␠", "␣")
    if len(shown) > length:
        shown = shown[: length - 1] + "…"
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
