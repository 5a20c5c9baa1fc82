"""The text of a PDF, page by page as it lies there. Knows no rows, and no pictures: a scan has no text."""

from __future__ import annotations

import logging
from pathlib import Path

from pypdf import PasswordType, PdfReader

from pumice.data.extract import DocumentError, Extract, said, tidied
from pumice.data.page_lines import Page, in_order, joined, one_text, without_repeated

# The parser tells of every slip that it mends; what it cannot mend is an error here.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)

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
        text = page.extract_text(extraction_mode="layout")
        if page.rotation or not text.strip():
            # The layout leaves out what is written up the page, as on a sheet that lies on its side.
            plain = page.extract_text()
            text = plain if len("".join(plain.split())) > len("".join(text.split())) else text
    except Exception as error:
        rule = f"Page {index + 1} cannot be read: {said(error)}."
        raise DocumentError(rule, "Write the document again, or take it out.", index + 1) from error
    return [line.rstrip() for line in text.translate(_LIGATURES).splitlines()]
