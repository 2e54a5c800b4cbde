"""Sphinx: `sphinx-build -W -b html scratchrnn/guide OUT`; needs the extra `guide`. Beside the pages stand notebooks."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes  # type: ignore  # has no types
from docutils.utils.math.latex2mathml import tex2mathml  # type: ignore

from scratchrnn.guide.notebooks import notebook

project = "scratchrnn"
release = version = version_of("scratchrnn")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns: list[str] = []
myst_enable_extensions = ["dollarmath"]  # $...$, as code hosts show it, too
myst_heading_anchors = 2
highlight_language = "text"
html_theme = "furo"
html_title = "scratchrnn"
html_static_path = ["static"]
html_css_files = ["guide.css"]
html_copy_source = False
html_show_copyright = False
html_math_renderer = "mathml"
copybutton_prompt_text = r">>> |\.\.\. "  # what is copied is the input, without the prompts
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_rtype = False


# Sphinx's own ways to show mathematics fetch MathJax from the network when the page is read, or need LaTeX when it is
# built. Browsers read MathML themselves, and docutils, which is here with Sphinx, writes it.


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    self.body.append(tex2mathml(node.astext()).replace("<math ", '<math display="block" style="margin: 1em 0" ', 1))
    raise nodes.SkipNode


def _literal_equations(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The docstrings indent their equations: make literal blocks of them, and code of `names`."""
    for k in range(len(lines) - 2, -1, -1):
        if lines[k].strip() == "" and re.match(r" {4}\S", lines[k + 1]) and k > 0 and not lines[k - 1].startswith(" "):
            lines[k:k] = ["", "::"]
    code = re.compile(r"(?<!`)`([^`]+)`(?!`)")
    lines[:] = [line if line.startswith("    ") else code.sub(r"``\1``\\ ", line) for line in lines]


def _for_sphinx(app: Any, docname: str, source: list[str]) -> None:
    """A link to Markdown outside the guide is a link to a file. And off with the blank line that ends an example."""
    source[0] = re.sub(r"\]\((\.\./\.\./[^)]+\.md)\)", r"](path:\1)", source[0]).replace("\n\n```\n", "\n```\n")


def _of_its_own(app: Any, docname: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """A chapter's page names its language, and its notebook below the title."""
    chinese = docname.endswith(".zh")
    if chinese:
        context["language"] = "zh-CN"
    if re.match(r"\d+-", docname):
        words = "本章的 Jupyter 笔记本" if chinese else "This chapter as a notebook"
        link = f'<p><a href="{docname}.ipynb" download>{words}</a></p>'
        context["body"] = context["body"].replace("</h1>", f"</h1>\n{link}", 1)


def _notebooks(app: Any, exception: Exception | None) -> None:
    """Each chapter beside its page."""
    if exception is None and app.builder.name == "html":
        for chapter in Path(app.srcdir).glob("[0-9]*-*.md"):
            text = nbformat.writes(notebook(chapter))
            (Path(app.outdir) / chapter.with_suffix(".ipynb").name).write_text(text, encoding="utf-8")


def setup(app: Any) -> None:
    """What Sphinx calls: formulas as MathML, our docstrings as it expects them, notebooks."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("source-read", _for_sphinx)
    app.connect("html-page-context", _of_its_own)
    app.connect("build-finished", _notebooks)
    app.connect("autodoc-process-docstring", _literal_equations, priority=400)  # before napoleon, which is at 500
