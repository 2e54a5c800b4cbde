"""A picture as a small SVG file."""

from __future__ import annotations

import io
import re
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure


def save_svg(figure: Figure, path: str | Path) -> None:
    """Write a figure as SVG for a web page: letters as text, coordinates to a hundredth of a point, no date.

    The same figure gives the same file. Letters of mathematics are set in STIX, where the reader has it, or else in
    the browser's own letters with serifs.

    Raises:
        TypeError: `figure` is no Figure.
        OSError: the file cannot be written.

    Example:
        >>> import scratchrnn as sr
        >>> sr.plot.save_svg(sr.plot.diagram(sr.cells.gru, highlight="z"), "gru-z.svg")
    """
    if not isinstance(figure, Figure):
        raise TypeError(f"figure should be a Figure of matplotlib, got {type(figure).__name__}")
    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "scratchrnn"}):
        figure.savefig(written, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = re.sub("<!-- .*? -->\n *", "", written.getvalue())  # what each text was in LaTeX
    text = re.sub("<[^>]+>", lambda tag: re.sub(r"\d+\.\d{3,}", _rounded, " ".join(tag[0].split())), text)
    Path(path).write_text(text, encoding="utf-8")


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
