"""Real PDF, Word, HTML, Markdown and text documents become rows of text, and each that cannot says why."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docx
import pytest
from pypdf import PdfReader
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate, Paragraph, Table

from pumice.api.training import snapshot
from pumice.data import documents, formats, markup_text
from pumice.data.borders import edges
from pumice.data.checks import check, load
from pumice.data.page_lines import joined
from pumice.data.render import Renderer
from pumice.data.rows import Log
from pumice.data.tokenise import fit
from pumice.errors import DataError, InputError, NotFoundError
from pumice.records import Base, Example
from pumice.store.s3 import Objects
from pumice.train.recipe import Recipe, resolve_recipe

SENTENCE = "the pump stops before the cover is taken off because the wheel turns on for a while after the motor"
WORDS = SENTENCE.split()
TORQUES = [["Part", "Torque in Nm", "Interval"], ["Wheel", "12", "6 months"], ["Cover", "8.5", "12 months"]]


def read(path: Path) -> tuple[list[Example], Log]:
    log = Log(path.name)
    return list(formats.examples(path, log)), log


def text_of(path: Path) -> str:
    """The one row of a document that has nothing wrong with it."""
    examples, log = read(path)
    assert (len(examples), log.findings) == (1, [])
    return str(examples[0].text)


def prose(start: int, count: int) -> str:
    """Words that differ from page to page."""
    return " ".join(f"{WORDS[n % len(WORDS)]}{'' if n % 7 else chr(97 + n % 26)}" for n in range(start, start + count))


def write_pdf(path: Path, pages: list[list[str]], **options: Any) -> Path:
    """A PDF with these lines on its pages, 14 points apart, each as it is."""
    canvas = Canvas(str(path), pagesize=A4, **options)
    for lines in pages:
        canvas.setFont("Courier", 10)
        for number, line in enumerate(lines):
            canvas.drawString(60, 780 - 14 * number, line)
        canvas.showPage()
    canvas.save()
    return path


def write_manual(path: Path, frames: int = 1, table: bool = False) -> Path:
    """A manual as an office writes one: headers that differ left and right, numbered pages, justified prose."""

    def around(canvas: Any, page: Any) -> None:
        canvas.setFont("Helvetica", 8)
        left, right = ("Pump manual", "ACME Ltd.")[:: 1 if page.page % 2 else -1]
        canvas.drawString(60, 810, left)
        canvas.drawRightString(535, 810, right)
        canvas.drawCentredString(297, 30, f"Page {page.page} of 99")

    width = 475 / frames - 10
    template = BaseDocTemplate(str(path), pagesize=A4)
    boxes = [Frame(60 + (width + 20) * n, 60, width, 730) for n in range(frames)]
    template.addPageTemplates(PageTemplate("page", boxes, onPage=around))
    style = ParagraphStyle("body", fontName="Times-Roman", fontSize=10, leading=12, alignment=4, spaceAfter=6)
    story: list[Any] = []
    for part in range(18):
        story += [Paragraph(f"First{part} {prose(part * 100, 350)} last{part}.", style)]
        story += [Table(TORQUES)] if table and part == 5 else []
    template.build(story)
    return path


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_manual(tmp_path_factory.mktemp("manual") / "manual.pdf", table=True)


@pytest.fixture
def word(tmp_path: Path) -> Path:
    return write_docx(tmp_path / "leave.docx")


def write_docx(path: Path) -> Path:
    document = docx.Document()
    document.sections[0].header.paragraphs[0].text = "ACME, confidential"
    document.add_heading("Leave", 0)
    document.add_heading("How many days", 1)
    document.add_paragraph("Everyone has snake_case days; 2 * 14 of them.")
    table = document.add_table(rows=2, cols=2)
    for row, cells in enumerate([["Years", "Days"], ["0 to 2 | new", "28\nor 30"]]):
        for column, content in enumerate(cells):
            table.cell(row, column).text = content
    document.add_paragraph("Ask first.", style="List Bullet")
    document.add_paragraph("Then go.", style="List Bullet")
    document.save(str(path))
    return path


def test_what_each_page_repeats_is_left_out_of_a_pdf_and_told(manual: Path) -> None:
    examples, log = read(manual)
    text = str(examples[0].text)
    assert len(examples) == 1 and log.kind == "text"
    assert not any(word in text for word in ("Pump manual", "ACME", "of 99"))
    pages = len(PdfReader(manual).pages)
    assert (
        pages > 5
        and f"{2 * pages} repeated lines were left out: headers, footers and page numbers of PDF pages." in log.notes
    )
    # Nothing else is: every word of the prose is there, in order.
    words = [word for word in text.replace("\n", " ").split() if word.startswith(("First", "last"))]
    assert words == [word for part in range(18) for word in (f"First{part}", f"last{part}.")]
    assert prose(300, 350) in " ".join(text.split())


def test_a_table_of_a_pdf_keeps_its_columns(manual: Path) -> None:
    lines = text_of(manual).splitlines()
    head = next(at for at, line in enumerate(lines) if "Torque in Nm" in line)
    rows = lines[head : head + 3]
    assert [row.split("  ")[0].strip() for row in (row.strip() for row in rows)] == ["Part", "Wheel", "Cover"]
    for cell in ("Torque in Nm", "Interval"):
        at = rows[0].index(cell)
        assert all(row[at - 2 : at] == "  " and row[at] != " " for row in rows), rows


def test_columns_of_prose_are_read_one_after_the_other(tmp_path: Path) -> None:
    for frames in (2, 3):
        text = " ".join(text_of(write_manual(tmp_path / "columns.pdf", frames)).split())
        for part in range(18):
            assert f"First{part} {prose(part * 100, 350)} last{part}." in text, (frames, part)


def test_numbers_that_count_the_pages_go_whatever_stands_beside_them(tmp_path: Path) -> None:
    titles = ["Chapter 1: Pumps", "Chapter 1: Pumps", "Chapter 2: Wheels", "Chapter 3: Covers", "Chapter 3: Covers"]
    pages = [
        [f"{title}        {17 + n}", "", f"It costs {n * n} euros.", f"0.{n * 7}"] for n, title in enumerate(titles)
    ]
    text = text_of(write_pdf(tmp_path / "book.pdf", pages))
    assert "Chapter" not in text
    assert [f"It costs {n * n} euros." in text and f"0.{n * 7}" in text for n in range(5)] == [True] * 5


def test_a_heading_that_a_table_repeats_is_kept_once(tmp_path: Path) -> None:
    pages = [["Part       Price", *(f"part {n * m}     {n - m} euros" for m in range(1, 9))] for n in range(4)]
    text = text_of(write_pdf(tmp_path / "prices.pdf", pages))
    assert text.count("Part       Price") == 1 and text.startswith("Part       Price\n")
    assert len([line for line in text.splitlines() if line.startswith("part ")]) == 32


def test_pages_that_are_all_alike_are_the_text(tmp_path: Path) -> None:
    text = text_of(write_pdf(tmp_path / "alike.pdf", [["Stop the pump."], ["Stop the pump."]]))
    assert text.count("Stop the pump.") == 2


def test_words_that_a_line_parts_are_whole(tmp_path: Path) -> None:
    lines = [
        "A well-known decla-",
        "ration of a well-",
        "known maker: the wheel-",
        "chair, the A-",
        "Z list, 2019-",
        "2020.",
    ]
    text = text_of(write_pdf(tmp_path / "parted.pdf", [lines, ["a sen-"], ["tence over pages"]]))
    first = " ".join(text.split("\n\n")[0].split())
    assert first == "A well-known declaration of a well-known maker: the wheelchair, the A- Z list, 2019- 2020."
    assert text.endswith("a sentence\nover pages")
    assert joined("exam-\nple\nnext") == "example\nnext"


@pytest.mark.parametrize("turned", [True, False], ids=["the sheet", "the table"])
def test_a_table_that_lies_on_its_side_is_read(tmp_path: Path, turned: bool, capfd: pytest.CaptureFixture[str]) -> None:
    canvas = Canvas(str(tmp_path / "turned.pdf"))
    canvas.drawString(60, 800, "Prices")
    canvas.saveState()
    canvas.rotate(90)
    for row in range(6):
        canvas.drawString(100, -100 - 14 * row, f"Part {row * row}")
        canvas.drawString(300, -100 - 14 * row, f"{row * 7} euros")
    canvas.restoreState()
    canvas.drawString(60, 40, "Prices end")
    if turned:
        canvas.setPageRotation(90)
    canvas.save()
    words = text_of(tmp_path / "turned.pdf").split()
    assert "Prices" in words or turned
    assert " ".join(words).count("euros") == 6 and "49" not in words and "25" in words
    assert capfd.readouterr() == ("", "")


def test_a_word_document_becomes_markdown_with_its_table(word: Path) -> None:
    assert text_of(word) == (
        "# Leave\n\n# How many days\n\nEveryone has snake_case days; 2 * 14 of them.\n\n"
        "| Years | Days |\n| --- | --- |\n| 0 to 2 \\| new | 28 or 30 |\n\n- Ask first.\n- Then go."
    )


HTML = """<?xml version="1.0"?><!DOCTYPE html><html><head><title>Off</title><style>p {}</style></head><body>
<nav><a href="/">Home</a></nav><div role="navigation">Up</div><main><h1>Pumps <a class="headerlink">¶</a></h1>
<p>Stop it <a href="/x">before</a> you <b>open</b> it.<script>alert(1)</script></p><p hidden>No</p>
<table><tr><th>Part<th>Torque<tr><td>Wheel<td>12 | 13</table><img src="x.png" alt="A wheel"><pre>a  = 1
  b</pre></main><footer>Imprint</footer></body></html>"""


def test_html_gives_what_it_says_and_nothing_around_it(tmp_path: Path) -> None:
    path = tmp_path / "pumps.html"
    path.write_text(HTML)
    assert text_of(path) == (
        "# Pumps\n\nStop it before you **open** it.\n\n| Part | Torque |\n| --- | --- |\n| Wheel | 12 \\| 13 |\n\n"
        "A wheel\n\n```\na  = 1\n  b\n```"
    )
    assert "Scripts, styles and navigation of HTML pages were left out." in read(path)[1].notes


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "iso-8859-1", "shift_jis"])
def test_html_is_read_in_the_encoding_that_it_names(tmp_path: Path, encoding: str) -> None:
    said = "ポンプ" if encoding == "shift_jis" else "Größe"
    path = tmp_path / "page.htm"
    path.write_text(f'<meta charset="{encoding}"><p>{said}</p>', encoding=encoding)
    assert text_of(path) == said


def test_markdown_is_taken_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_bytes("\ufeff# Pümp\r\n\r\n* a\r\n\r\n\r\n\r\n| b |\r\n".encode())
    assert text_of(path) == "# Pümp\n\n* a\n\n\n\n| b |"


def bad_documents(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Documents that cannot be read: the name, the page or line, and what is said."""
    canvas = Canvas(str(folder / "locked.pdf"), encrypt=StandardEncryption("secret", "owner", strength=128))
    canvas.drawString(60, 700, "hidden")
    canvas.save()
    yield "locked.pdf", 1, "asks for a password"
    canvas = Canvas(str(folder / "scan.pdf"))
    canvas.rect(100, 100, 300, 300, fill=1)
    canvas.save()
    yield "scan.pdf", 1, "has no text: it is a scan. Run OCR on it first"
    whole = write_pdf(folder / "cut.pdf", [["one"], ["two"]]).read_bytes()
    (folder / "cut.pdf").write_bytes(whole[: len(whole) // 2])
    yield "cut.pdf", 1, "is damaged: "
    raw = write_pdf(folder / "page.pdf", [["one"], ["two"]], pageCompression=1).read_bytes()
    at = raw.rindex(b"stream\n", 0, raw.rindex(b"endstream")) + 7
    (folder / "page.pdf").write_bytes(raw[:at] + b"\xff" * 8 + raw[at + 8 :])
    yield "page.pdf", 2, "Page 2 cannot be read: "
    write_docx(folder / "cut.docx")
    (folder / "cut.docx").write_bytes((folder / "cut.docx").read_bytes()[:-900])
    yield "cut.docx", 1, "is damaged: File is not a zip file"
    with zipfile.ZipFile(folder / "none.docx", "w") as archive:
        archive.writestr("a.txt", "a")
    yield "none.docx", 1, "a ZIP archive, but no Word document"
    for name, content, line, rule in (
        ("empty.md", b"", 1, "The file is empty."),
        ("blank.md", b"\n \n", 1, "holds no text"),
        ("app.html", b"<script>run()</script>", 1, "holds no text"),
        ("deep.html", b"<div>" * 5000 + b"x", 1, "The page cannot be read"),
        ("old.html", "<p>a\nbö".encode("latin-1"), 2, "Byte 0xf6 is not UTF-8 (byte 7 of the file)."),
        ("nul.md", b"a\nb\0", 2, "A NUL character"),
        ("word.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 1, "with a password, not .docx"),
        ("pdf.txt", b"%PDF-1.7", 1, "The file is a PDF document, not .txt."),
    ):
        (folder / name).write_bytes(content)
        yield name, line, rule


def test_each_way_in_which_a_document_cannot_be_read_has_its_sentence(tmp_path: Path) -> None:
    wanted = sorted(bad_documents(tmp_path))
    (tmp_path / "good.md").write_text("Good.")
    log = Log("docs/")
    examples = list(formats.examples(tmp_path, log))
    # All in one go, each under its own path, and the good one is read all the same.
    assert [each.text for each in examples] == ["Good."]
    found = [(each.path, each.line, f"{each.rule} {each.fix}") for each in log.findings]
    for (name, line, rule), (path, at, said) in zip(wanted, found, strict=True):
        assert (path, at) == (f"docs/{name}", line) and rule in said, (name, said)
    with pytest.raises(DataError, match=f"docs has {len(wanted)} errors"):
        load(tmp_path, "docs")


def test_a_word_document_that_would_fill_the_memory_is_refused(word: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup_text, "_LARGEST", 10_000)
    _, log = read(word)
    assert "unpacks to" in log.findings[0].rule


def test_what_no_text_holds_is_left_out_of_a_document(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "odd.pdf", [["a\x02b ﬁnd"]])
    (tmp_path / "odd.html").write_text("<p>soft\u00adhyphen,\u00a0hard space\u0008</p>")
    assert text_of(tmp_path / "odd.html") == "softhyphen, hard space"
    assert "1 character was left out that no text holds, such as control codes." in read(tmp_path / "odd.html")[1].notes
    assert "\x02" not in text_of(path)


@pytest.fixture
def folder(tmp_path: Path, word: Path) -> Path:
    """Documents of every sort, in no order, with what is none."""
    top = tmp_path / "hand.book"
    for name, content in {
        "b.md": "# B",
        "Ä.txt": "Two paragraphs\n\nof one text.",
        "sub/a.html": "<p>A</p>",
        "sub/deep/z.txt": "Z",
        "a.md": "# A",
        "rows.jsonl": '{"text": "a row"}',
        "logo.png": "no text",
        ".git/config.txt": "hidden",
        "~$leave.docx": "Word's lock",
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(content)
    write_pdf(top / "sub" / "p.pdf", [["P"], [""], ["PP"]])
    shutil.copy(word, top / "leave.docx")
    return top


def test_a_folder_is_its_documents_in_the_order_of_their_names(folder: Path) -> None:
    examples, log = read(folder)
    names = [name.removeprefix("hand.book/") for name in log.documents]
    assert names == ["a.md", "b.md", "leave.docx", "sub/a.html", "sub/deep/z.txt", "sub/p.pdf", "Ä.txt"]
    assert [each.line for each in examples] == [1, 2, 3, 4, 5, 6, 7]
    assert [each.text for each in examples if each.line != 3] == [
        "# A", "# B", "A", "Z", "P\n\nPP", "Two paragraphs\n\nof one text.",
    ]  # fmt: skip
    assert log.notes[0] == "The folder holds 7 documents; each was read as one row of text."
    assert log.notes[1] == "Not read, as they are no documents: .git/, logo.png, rows.jsonl, ~$leave.docx."
    assert "1 page has no text, as pictures are not read: page 2 of hand.book/sub/p.pdf." in log.notes


def test_a_folder_has_the_hash_of_its_documents_names_and_contents(folder: Path) -> None:
    dataset = load(folder, "hand.book")
    again = shutil.copytree(folder, folder.parent / "again")
    (again / "more.png").write_text("no document")
    assert load(again, "again").sha256 == dataset.sha256 == documents.sha256(folder)
    (again / "a.md").rename(again / "aa.md")
    renamed = documents.sha256(again)
    (again / "aa.md").rename(again / "a.md")
    (again / "b.md").write_text("# B.")
    assert len({documents.sha256(again), renamed, dataset.sha256}) == 3


def test_one_document_at_a_time_is_read(folder: Path) -> None:
    rows = formats.examples(folder, Log("hand.book"))
    assert next(rows).text == "# A"
    # Not read yet: it is changed before its turn comes.
    (folder / "b.md").write_text("# Later")
    assert next(rows).text == "# Later"


def test_a_folder_without_documents_says_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}")
    with pytest.raises(InputError, match="is a folder without documents") as refused:
        read(tmp_path)
    assert refused.value.fix == "Name a file in it: rows.jsonl."


def test_check_names_documents_and_not_lines(folder: Path, tiny: Base) -> None:
    (folder / "c.md").write_text("# A")
    (folder / "long.txt").write_text("The pump stops. " * 400 + "mail: a.person@example.com")
    found = check(folder, Renderer(tiny.folder), name="hand.book")
    assert found.ok and (found.kind, found.rows) == ("text", 9)
    said = " ".join(found.warnings)
    assert "(hand.book/c.md = hand.book/a.md)" in said and "first in hand.book/long.txt" in said
    assert found.lengths is not None and found.lengths.note.endswith("windows: hand.book/long.txt.")
    refused = check(folder, Renderer(tiny.folder), 128, "error", name="hand.book")
    assert [(each.path, each.line) for each in refused.findings] == [("hand.book/long.txt", 1)]


def test_training_reads_a_folder_and_names_its_documents(folder: Path, tiny: Base) -> None:
    (folder / "long.txt").write_text("".join(f"Sentence {n} is here. " for n in range(400)))
    dataset, renderer = load(folder, "hand.book"), Renderer(tiny.folder)
    with pytest.raises(DataError, match=r"hand\.book/long\.txt:1:1: The row has"):
        fit(dataset.examples, renderer, 128, "error", dataset.path, dataset.documents)
    fitted = fit(dataset.examples, renderer, 128, None, dataset.path, dataset.documents)
    assert fitted.note.endswith("windows: hand.book/long.txt.")
    pieces = [renderer.decode(row.ids) for row in fitted.tokens if "Sentence" in renderer.decode(row.ids)]
    assert len(pieces) > 20 and all(piece.endswith(".") for piece in pieces[:-1])


def test_long_texts_are_cut_at_the_end_of_a_paragraph_before_that_of_a_sentence() -> None:
    tokens = [each for n in range(30) for each in (f" s{n}", " goes", " on", ".")]
    assert all(tokens[edge - 1] == "." for edge in edges(tokens, 33)[1:])
    tokens[57] = "\n\n"
    assert edges(tokens, 70) == [0, 58, 120]
    assert edges(["x"] * 100, 30) == [0, 25, 50, 75, 100]
    assert edges(["x"] * 9, 10) == [0, 9]


def test_a_model_is_named_after_the_folder(folder: Path, tiny: Base) -> None:
    resolved, reasons = resolve_recipe(Recipe.from_data(folder), tiny, 7, 100)
    assert (resolved.name, reasons["name"]) == ("hand.book", "hand.book, after the data folder")
    named, _ = resolve_recipe(Recipe.from_data(folder / "sub" / "p.pdf"), tiny, 7, 100)
    assert named.name == "p"


def test_over_the_network_a_document_is_read_and_a_folder_refused(folder: Path, word: Path, tmp_path: Path) -> None:
    objects = Objects(tmp_path / "s3")
    uri = objects.put("s3://data/docs/leave.docx", word)
    kept = snapshot(objects.locate(uri), tmp_path / "job")
    assert next(iter(load(kept, uri).examples)).text == text_of(word)
    with pytest.raises(NotFoundError, match="is a prefix, not an object"):
        objects.locate("s3://data/docs")
