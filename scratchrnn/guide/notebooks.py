"""The chapters as notebooks: what `conf.py` writes beside the pages, made of the same Markdown; needs nbformat."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from nbformat import NotebookNode, v4

_BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_FOLDED = re.compile(r"<details><summary>(.*?)</summary>\n\n((?:(?!</details>).)*?```.*?)\n</details>\n", re.DOTALL)
_DIRECTIVE = re.compile(r" *# doctest:.*")


def notebook(chapter: Path) -> NotebookNode:
    """A cell for each piece of prose, and one for each example up to what it prints, which stands below it.

    An example that the chapter folds away is a cell like the others.
    """
    cells, end = [], 0
    text = _FOLDED.sub(r"\1\n\n\2", chapter.read_text(encoding="utf-8"))
    for block in _BLOCK.finditer(text):
        cells += _prose(text[end : block.start()])
        cells += _code(block[1])
        end = block.end()
    cells += _prose(text[end:])
    for k, cell in enumerate(cells):
        cell.id = f"cell-{k}"  # nbformat's are random: the same chapter gives the same notebook
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def _prose(text: str) -> list[NotebookNode]:
    """One cell, if there is anything. A notebook lies beside the pages: the links lead there, and none to the code."""
    text = re.sub(r"\]\((\d+-[^)#]+)\.md([^)]*)\)", r"](\1.ipynb\2)", text)
    text = re.sub(r"(!\[[^\]]*\])\((?:images/)?([\w.-]+)\)", r"\1(_images/\2)", text)
    text = re.sub(r"\]\(((?:api/)?[\w-]+)\.md([^)]*)\)", r"](\1.html\2)", text)
    text = re.sub(r"(?<!!)\[([^\]]*)\]\((?:\.\./[^)]*|\w+\.py)\)", r"\1", text)
    return [v4.new_markdown_cell(text.strip())] if text.strip() else []


def _code(block: str) -> list[NotebookNode]:
    """A notebook shows the value of a cell's last line alone, so a cell ends where an example prints something."""
    cells, source = [], ""
    for example in doctest.DocTestParser().get_examples(block):
        source += _DIRECTIVE.sub("", example.source)
        if example.want:
            tags = ["raises-exception"] if example.exc_msg else []
            cells.append(v4.new_code_cell(source.strip(), outputs=[_output(example)], metadata={"tags": tags}))
            source = ""
    return [*cells, v4.new_code_cell(source.strip())] if source else cells


def _output(example: doctest.Example) -> NotebookNode:
    if not example.exc_msg:
        return v4.new_output("stream", name="stdout", text=example.want)
    kind, _, message = example.exc_msg.strip().partition(": ")
    return v4.new_output("error", ename=kind, evalue=message, traceback=example.want.splitlines())
