"""Sections as Markdown, between the marks of a document."""

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.learning.figures import Figure, Section

BEGIN = "<!-- figures: `make learning` writes what stands between these marks -->"
END = "<!-- end of figures -->"
HEADINGS = ("figure", "measured", "bound", "")
HOLDS, MISSED = "holds", "**missed**"


def written_into(document: Path, sections: Sequence[Section]) -> None:
    """
    Put the sections between the marks, each in the place of the one with its title.

    A new one comes last; the other sections, and what stands around the marks, stay.
    """
    text = document.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    figures, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{document.name} has no marks for the figures")
    held = {
        _title(part): f"### {part.strip()}\n"
        for part in re.split(r"^### ", figures, flags=re.M)[1:]
    }
    held |= {section.title.partition(" (")[0]: _section(section) for section in sections}
    body = "\n".join(held.values())
    document.write_text(f"{before}{BEGIN}\n\n{body}\n{END}{after}", encoding="utf-8")


def _title(part: str) -> str:
    """Of a section without its mark: all before the number of seeds."""
    return part.partition("\n")[0].partition(" (")[0]


def deviations(document: Path, title: str) -> dict[str, float]:
    """Claims of a section to the deviations over seeds that the document gives; 0 of a worst."""
    _, _, rest = document.read_text(encoding="utf-8").partition(f"### {title} (")
    found = {}
    for row in rest.partition("\n### ")[0].splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if len(cells) == len(HEADINGS) and cells[-1] in (HOLDS, MISSED):
            found[cells[0]] = float(cells[1].partition("±")[2] or 0.0)
    return found


def line(figure: Figure) -> str:
    """A figure beside its bound, for a terminal."""
    sign, bound = "", ""
    if figure.bound is not None:
        sign = "≤" if figure.is_ceiling else "≥"
        bound = f"{sign} {figure.bound:.4g}"
    verdict = "" if figure.bound is None else "holds" if figure.holds else "MISSED"
    return f"  {figure.claim:58} {number(figure):>22}   {bound:12} {verdict}"


def number(figure: Figure) -> str:
    """The mean with its deviation over seeds, or the worst seed's."""
    if figure.is_worst:
        return f"{figure.measured:.4g}"
    return f"{figure.measured:.4f} ± {figure.deviation:.4f}"


def _section(section: Section) -> str:
    parts = [f"### {section.title}\n", f"{section.text}\n"]
    if section.table:
        head, *rows = section.table
        parts.append(_row(head))
        parts.append(_row(["---"] * len(head)))
        parts.extend(_row(row) for row in rows)
        parts.append("")
    if section.figures:
        parts.append(_row(HEADINGS))
        parts.append(_row(["---"] * len(HEADINGS)))
        for figure in section.figures:
            sign = "≤" if figure.is_ceiling else "≥"
            bound = "" if figure.bound is None else f"{sign} {figure.bound:.4g}"
            verdict = "" if figure.bound is None else HOLDS if figure.holds else MISSED
            parts.append(_row([figure.claim, number(figure), bound, verdict]))
        parts.append("")
    return "\n".join(parts)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
