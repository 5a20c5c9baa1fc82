"""The text of a PDF, page by page as it lies there. Knows no rows, and no pictures: a scan has no text."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from pathlib import Path

from pypdf import PasswordType, PdfReader

from pumice.data.extract import DocumentError, Extract, said, tidied
from pumice.data.page_lines import Page, in_order, joined, one_text, without_repeated

_MORE = 1.2
"""So many times the letters of the layout has a page of which that leaves out more than a stamp at the side."""
_turned: ContextVar[bool] = ContextVar("turned", default=False)
"""Whether the page that is read has text that is written up the page."""

_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})


def read_pdf(path: Path) -> Extract:
    """All text of a PDF. Raises `DocumentError` where there is none, or where a page cannot be read."""
    with path.open("rb") as file:
        try:
            reader = PdfReader(file)
            locked = reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED
            count = 0 if locked else len(reader.pages)
        # A damaged file makes the parser fail anywhere, and with any error.
        except Exception as error:
            rule = f"The document is damaged: {said(error)}."
            raise DocumentError(rule, "Write or download it again.") from error
        if locked:
            raise DocumentError("The document asks for a password.", "Save it without one.")
        pages = [_page(reader, index) for index in range(count)]
    if not pages:
        raise DocumentError("The document has no pages.", "Write or download it again.")
    pictures = tuple(index for index, page in enumerate(pages, 1) if not any(page))
    if len(pictures) == count:
        fix = "Run OCR on it first (ocrmypdf does that), or take it out."
        raise DocumentError("The document has no text: it is a scan.", fix)
    kept, repeated = without_repeated(pages)
    text, unreadable = tidied(joined(one_text(in_order(kept))))
    return Extract(text, repeated, unreadable, pictures)


def _page(reader: PdfReader, index: int) -> Page:
    try:
        page = reader.pages[index]
        _turned.set(False)
        text = page.extract_text(extraction_mode="layout")
        if _turned.get() and _letters(plain := page.extract_text()) > _MORE * _letters(text):
            text = plain
    except Exception as error:
        rule = f"Page {index + 1} cannot be read: {said(error)}."
        raise DocumentError(rule, "Write the document again, or take it out.", index + 1) from error
    return [line.rstrip() for line in text.translate(_LIGATURES).splitlines()]


def _letters(text: str) -> int:
    return len("".join(text.split()))


def _listen(record: logging.LogRecord) -> bool:
    """The parser's log alone says that the layout leaves text out."""
    if "otated" in record.getMessage():
        _turned.set(True)
    return False


# The parser tells of every slip that it mends; what it cannot mend is an error here.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)
_LAYOUT = logging.getLogger("pypdf._text_extraction._layout_mode._fixed_width_page")
_LAYOUT.setLevel(logging.WARNING)
_LAYOUT.addFilter(_listen)
