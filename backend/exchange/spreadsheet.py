"""Protection against formula injection: corpus text may start like a spreadsheet formula."""

# Spreadsheets evaluate a cell that starts with one of these, full-width forms included.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def escape_formula(text: str) -> str:
    """Prefix `text` with ' if a spreadsheet would evaluate it."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
