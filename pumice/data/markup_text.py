"""The text of Word, HTML, Markdown and plain text documents, as Markdown. Knows no rows and no pictures."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import mammoth
from bs4 import BeautifulSoup, Tag
from bs4.dammit import EncodingDetector
from markdownify import ATX, MarkdownConverter

from pumice.data import broken
from pumice.data.extract import DocumentError, Extract, said, tidied

_LARGEST = 100 * 2**20
"""Bytes of XML that a Word document may unpack to. A book has a few million; a small archive can hold any number."""
_PARSER = "lxml"
"""Unlike Python's own it closes the cells and list items that HTML lets stay open."""
_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh"

_NOT_SAID = """
    script style noscript template nav title svg iframe button input select textarea dialog
""".split()  # noqa: SIM905
_NAVIGATION = ("navigation", "banner", "search", "menu", "menubar")
"""Values of `role` that say the same as a `nav` does."""
_TO_ITSELF = ("¶", "#", "↑")
"""Texts of links that lead to their own heading, or back from a footnote."""
_XML = re.compile(r"\s*<\?xml[^>]*>")
_BOM = b"\xef\xbb\xbf"
_LATIN = ("iso-8859-1", "latin-1", "latin1", "ascii", "us-ascii")
"""What browsers read as windows-1252, and what pages mean by it."""


def read_docx(path: Path) -> Extract:
    """A Word document with its headings, lists and tables. Raises `DocumentError` for one that is damaged."""
    _check_archive(path)
    with path.open("rb") as file:
        try:
            html: str = mammoth.convert_to_html(file, convert_image=_no_picture, style_map=_STYLES).value
            return _markdown(BeautifulSoup(html, _PARSER))
        # A damaged part makes the parser fail anywhere, and with any error.
        except Exception as error:
            rule = f"The document is damaged: {said(error)}."
            raise DocumentError(rule, "Open it in Word and save it again.") from error


def read_html(path: Path) -> Extract:
    """What an HTML page says, without its scripts, styles and navigation. Raises `DocumentError`."""
    text = _XML.sub("", _html_decoded(path.read_bytes()), count=1)
    try:
        # The line end keeps the parser from taking a short page for a file's name.
        soup = BeautifulSoup(f"{text}\n", _PARSER)
        for element in soup.find_all(_is_around):
            element.decompose()
        main = soup.find_all("main")
        return _markdown(main[0] if len(main) == 1 else soup)
    # Tags that are nested without end make the parser fail anywhere, and with any error.
    except Exception as error:
        raise DocumentError(f"The page cannot be read: {said(error)}.", "Save its text as .txt.") from error


def read_plain(path: Path) -> Extract:
    """Markdown or plain text as it is written. Raises `DocumentError` for what is no UTF-8 text."""
    text = _utf8(path.read_bytes().removeprefix(_BOM)).replace("\r\n", "\n")
    if "\0" in text:
        at = text.count("\n", 0, text.index("\0")) + 1
        raise DocumentError("A NUL character stands here; text holds none.", "Delete it.", at)
    return Extract(text.strip("\n").rstrip())


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except Exception as error:
        rule = f"The document is damaged: {said(error)}."
        raise DocumentError(rule, "Write or download it again.") from error
    if not any(part.filename.startswith("word/") for part in parts):
        raise DocumentError("The file is a ZIP archive, but no Word document.", "Rename it by what it holds.")
    size = sum(part.file_size for part in parts if part.filename.endswith((".xml", ".rels")))
    if size > _LARGEST:
        rule = f"The document unpacks to {size / 2**20:,.0f} MiB of XML; at most {_LARGEST // 2**20} MiB are read."
        raise DocumentError(rule, "Save it as several documents.")


@mammoth.images.img_element  # type: ignore[untyped-decorator]
def _no_picture(picture: object) -> dict[str, str]:
    """A picture without its content; what describes it stays as its alternative text."""
    return {}


def _is_around(element: Tag) -> bool:
    return element.name in _NOT_SAID or element.get("role") in _NAVIGATION or element.has_attr("hidden")


def _markdown(soup: Tag) -> Extract:
    for link in soup.find_all("a"):
        if link.get_text(strip=True) in _TO_ITSELF:
            link.decompose()
        else:
            link.unwrap()
    for picture in soup.find_all("img"):
        picture.replace_with(str(picture.get("alt") or ""))
    for part in soup.find_all(string=re.compile(r"\|")):
        if part.find_parent(["td", "th"]):
            part.replace_with(str(part).replace("|", "\\|"))
    converter = MarkdownConverter(
        heading_style=ATX, bullets="-", escape_asterisks=False, escape_underscores=False, table_infer_header=True
    )
    text, unreadable = tidied(converter.convert_soup(soup))
    return Extract(text, unreadable=unreadable)


def _html_decoded(raw: bytes) -> str:
    declared = EncodingDetector.find_declared_encoding(raw, is_html=True) or "utf-8"
    # A page that can be read as ASCII is not in UTF-16, whatever it says.
    if not raw.startswith(_BOM) and not declared.lower().startswith("utf"):
        try:
            return raw.decode("windows-1252" if declared.lower() in _LATIN else declared)
        except (ValueError, LookupError):
            pass
    return _utf8(raw.removeprefix(_BOM))


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        fault = broken.not_utf8(error)
        rule = f"{fault.rule[:-1]} (byte {fault.offset + 1:,} of the file)."
        raise DocumentError(rule, fault.fix, raw.count(b"\n", 0, fault.offset) + 1) from error
