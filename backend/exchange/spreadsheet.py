"""Cells as a spreadsheet may open them: corpus text is hostile, and some of it is a formula."""

# Spreadsheets run a cell that starts with one of these; full-width forms count too.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def neutralised(text: str) -> str:
    """Return `text` with a ' before it if it would be a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
