"""Sections as Markdown, between the marks of a document."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.learning.figures import Figure, Section

BEGIN = "<!-- figures: `make learning` writes what stands between these marks -->"
END = "<!-- end of figures -->"


def rendered(sections: Sequence[Section]) -> str:
    """All sections, in their order."""
    return "\n".join(_section(section) for section in sections)


def written_into(document: Path, sections: Sequence[Section]) -> None:
    """Put the sections between the marks; what stands around them stays."""
    text = document.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{document.name} has no marks for the figures")
    document.write_text(f"{before}{BEGIN}\n\n{rendered(sections)}\n{END}{after}", encoding="utf-8")


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
        parts.append(_row(["figure", "measured", "bound", ""]))
        parts.append(_row(["---"] * 4))
        for figure in section.figures:
            sign = "≤" if figure.is_ceiling else "≥"
            bound = "" if figure.bound is None else f"{sign} {figure.bound:.4g}"
            verdict = "" if figure.bound is None else "holds" if figure.holds else "**missed**"
            parts.append(_row([figure.claim, number(figure), bound, verdict]))
        parts.append("")
    return "\n".join(parts)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
