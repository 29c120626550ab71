"""A document of sections, tables and figures, written as one HTML page and as Markdown."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldmodel.compare.figures import png, svg
from worldmodel.runs.atomic_file import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what it shows, and the number that it is sorted by."""

    text: str
    value: float | None = None


Row = Sequence[Cell | str]


@dataclass(frozen=True)
class Table:
    """A table; its columns can be sorted in the HTML."""

    columns: Sequence[str]
    rows: Sequence[Row]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure with the name of its file and a sentence for those who cannot see it."""

    name: str
    alternative: str
    figure: "Figure"


@dataclass(frozen=True)
class Code:
    """Lines to copy; folded away under a summary where one is given."""

    text: str
    summary: str = ""


Block = str | Table | Picture | Code | list[str]  # text is a paragraph, a list of them a list; **bold** is known


@dataclass(frozen=True)
class Section:
    """A part of the document under a title. name: its anchor."""

    name: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Document:
    """The whole; lead: the one line that says it all."""

    title: str
    lead: str
    sections: Sequence[Section]

    def write(self, folder: Path) -> None:
        """Write report.html, report.md and the pictures of the latter under figures/."""
        pictures = [block for section in self.sections for block in section.blocks if isinstance(block, Picture)]
        (folder / "figures").mkdir(exist_ok=True)
        for picture in pictures:
            _write(folder / "figures" / f"{picture.name}.png", png(picture.figure))
        _write(folder / "report.md", self._render("report.md", escape=False).encode())
        _write(folder / "report.html", self._render("report.html", escape=True).encode())

    def _render(self, template: str, escape: bool) -> str:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("worldmodel.compare", "templates"),
            autoescape=escape,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters |= {"kind": _kind, "cell": _cell, "bold": _bold, "svg": _svg, "row": _row}
        environment.filters |= {"plain": _plain, "fence": _fence}
        return environment.get_template(template).render(document=self)


def number(value: float | None, digits: int = 3) -> Cell:
    """A number with so many significant digits, a dash for None."""
    if value is None:
        return Cell("-")
    if not abs(value) < float("inf"):
        return Cell("never" if value > 0 else str(value), value)
    if value == int(value) and abs(value) < 1e15:
        return Cell(f"{int(value):,}", value)
    decimals = max(0, digits - 1 - _magnitude(value))
    return Cell(f"{value:,.{decimals}f}" if abs(value) >= 1e-4 else f"{value:.{digits - 1}e}", value)


def _magnitude(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def _kind(block: Block) -> str:
    return {str: "text", list: "list", Table: "table", Picture: "picture", Code: "code"}[type(block)]


def _cell(cell: Cell | str) -> Cell:
    return Cell(cell) if isinstance(cell, str) else cell


def _bold(text: str) -> Any:
    from markupsafe import Markup

    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text)))


def _svg(picture: Picture) -> Any:
    from markupsafe import Markup

    return Markup(svg(picture.figure, picture.name, html.escape(picture.alternative)))


def _row(cells: Sequence[Cell | str]) -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(_plain(_cell(cell).text).replace("|", "\\|") or " " for cell in cells) + " |"


def _plain(text: str) -> str:
    """Markdown without the HTML that it could hold: outside of code, a < that would begin a tag is escaped."""
    return re.sub(r"(`[^`]*`)|<(?=[A-Za-z/!?])", lambda match: match[1] or "&lt;", text)


def _fence(text: str) -> str:
    """What stands before and after code in Markdown: more backticks than any in it."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


def _write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)
