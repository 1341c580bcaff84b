"""Tables and live screens, by ``rich``: colours and widths on a terminal, plain columns in a pipe.

Cells are texts and never markup, and hold nothing that a terminal would obey.
"""

import dataclasses
import io
import sys
from collections.abc import Sequence
from typing import Literal, TypeVar

import rich.cells
import rich.console
import rich.table
import rich.text

from agentrun_operator.cli import documents, terminal, transcript
from agentrun_operator.cli.transcript import Style

T = TypeVar("T")

_GAP = 2  # columns between two columns
_ENDLESS = 100_000  # columns of a pipe
_LOOKS = {
    Style.PLAIN: "", Style.BOLD: "bold", Style.DIM: "dim", Style.RED: "red", Style.GREEN: "green",
    Style.YELLOW: "yellow", Style.CYAN: "cyan",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """A text and how it looks.

    Where it is too long its beginning is shown; with ``newest_last`` its end, with ``end`` too, and a mark before it.
    """

    text: str
    style: Style = Style.PLAIN
    newest_last: bool = False
    end: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """``right``: numbers. ``least``: the fewest characters that it may be shortened to; None: it is never.

    ``optional``: it is left out where shortening is not enough.
    """

    title: str
    right: bool = False
    least: int | None = None
    optional: bool = False


Row = Sequence[Cell | str]


def build(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> rich.table.Table:
    """The table, in so many columns of a terminal (None: as many as it takes)."""
    made = rich.table.Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold", show_edge=False)
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    used = [[width_of(cell.text) for cell in row] for row in cells]
    widths = fit(columns, used, width)
    drop = next((i for i, column in enumerate(columns) if column.optional), None)
    if width is not None and drop is not None and sum(widths) + _GAP * (len(widths) - 1) > width:
        return build(_without(columns, drop), [_without(row, drop) for row in rows], width)
    for column, size in zip(columns, widths, strict=True):
        side: Literal["left", "right"] = "right" if column.right else "left"
        title = _cut(Cell(column.title), size)
        made.add_column(title, justify=side, no_wrap=True, overflow="crop", width=size)
    for row in cells:
        made.add_row(*(_cut(cell, size) for cell, size in zip(row, widths, strict=True)))
    return made


def fit(columns: Sequence[Column], used: Sequence[Sequence[int]], width: int | None) -> list[int]:
    """How wide each column is: the widest of those that may be shortened gives way first."""
    widths = [max([len(c.title), *(row[i] for row in used)]) for i, c in enumerate(columns)]
    spare = (width - sum(widths) - _GAP * (len(widths) - 1)) if width is not None else 0
    while spare < 0:
        least = [column.least for column in columns]
        open_ = [i for i, size in enumerate(widths) if (floor := least[i]) is not None and size > floor]
        if not open_:
            break  # what is too much is cut at the edge
        widths[max(open_, key=widths.__getitem__)] -= 1
        spare += 1
    return widths


def show(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print the table."""
    screen = terminal.find(sys.stdout)
    documents.write(sys.stdout, render(build(columns, rows, screen.width), screen))


def render(made: rich.console.RenderableType, screen: terminal.Terminal) -> str:
    """What is printed, without spaces at the ends of lines."""
    target = console(io.StringIO(), screen)
    with target.capture() as captured:
        target.print(made)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def console(stream: io.TextIOBase, screen: terminal.Terminal) -> rich.console.Console:
    """A console that colours what ``screen`` can show, and nothing by itself."""
    return rich.console.Console(
        file=stream,  # type: ignore[arg-type]  # StringIO is one, whatever its base says
        width=screen.width or _ENDLESS,
        force_terminal=screen.color,
        color_system="standard" if screen.color else None,
        no_color=not screen.color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def _without(items: Sequence[T], index: int) -> list[T]:
    return [*items[:index], *items[index + 1 :]]


def width_of(text: str) -> int:
    """Columns that ``text`` takes on a terminal."""
    return rich.cells.cell_len(transcript.one_line(text))


def _cut(cell: Cell, width: int) -> rich.text.Text:
    """The cell in at most so many columns."""
    text = transcript.one_line(cell.text)
    if rich.cells.cell_len(text) > width:
        if cell.newest_last:
            text = text[-width:]
        else:
            text = f"…{text[1 - width :]}" if cell.end and width > 1 else transcript.shorten(text, width)
    return rich.text.Text(text, style=_LOOKS[cell.style])
