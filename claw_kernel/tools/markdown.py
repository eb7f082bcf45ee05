"""HTML to Markdown. The page of a stranger is parsed in a process of its own, which can be ended: this file is that
process (``python -P -E markdown.py BASE_URL CHARSET < page.html``), so it imports nothing of ours.

Answers with one JSON object on stdout: ``{"title", "markdown"}``.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.parse import urljoin

_DROPPED = (
    *("title", "script", "style", "noscript", "template", "svg", "canvas", "iframe", "object", "embed", "dialog"),
    *("button", "select", "input", "textarea"),  # not forms: whole pages stand in one
)
"""Elements whose text nobody reads on the page. ``nav``, ``header`` and ``footer`` stay: links are what a reader follows."""
_DEEPEST = 120
"""Elements below this depth are flattened: the converter walks recursively. Real pages stay under 60."""
_LONGEST_LINK = 500


def to_markdown(page: bytes, base_url: str, charset: str | None = None) -> tuple[str, str]:
    """``(title, markdown)``. Scripts and styles are dropped, links are absolute, tables stay tables."""
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    soup = BeautifulSoup(page, "html.parser", from_encoding=charset or None)
    title = " ".join(soup.title.get_text(" ").split()) if soup.title else ""
    for element in soup.find_all(_DROPPED):
        element.decompose()
    if base := soup.find("base", href=True):
        base_url = urljoin(base_url, str(base["href"]))
    if soup.head:
        soup.head.decompose()
    for element in soup.find_all(hidden=True):
        element.decompose()
    _flatten(soup)
    for element in soup.find_all(["a", "img"]):
        _resolve(element, base_url)
    converter = MarkdownConverter(heading_style="ATX", bullets="-", escape_underscores=False, escape_asterisks=False)
    text = converter.convert_soup(soup)
    return title, _tidy(text)


def _flatten(soup: Any) -> None:
    """Make plain text of what lies too deep, without recursion."""
    level = list(soup.children)
    for _ in range(_DEEPEST):
        level = [child for node in level for child in getattr(node, "children", ())]
    for node in level:
        if getattr(node, "name", None):
            node.string = node.get_text(" ", strip=True)


def _resolve(element: Any, base_url: str) -> None:
    for name in ("href", "src"):
        if not (link := element.get(name)):
            continue
        try:
            absolute = urljoin(base_url, str(link).strip())
        except ValueError:
            absolute = ""
        if absolute.startswith(("http://", "https://", "mailto:")) and len(absolute) <= _LONGEST_LINK:
            element[name] = absolute
        else:  # javascript:, data: …
            del element[name]
    if element.name == "a" and not element.get("href"):
        element.unwrap()
    elif element.name == "img" and not element.get("src"):
        element.decompose()


def _tidy(text: str) -> str:
    """Without trailing blanks and with one empty line between blocks."""
    lines: list[str] = []
    for line in text.replace("\xa0", " ").split("\n"):
        kept = line.rstrip()
        if kept or (lines and lines[-1]):
            lines.append(kept)
    return "\n".join(lines).strip() + "\n"


if __name__ == "__main__":
    found_title, found = to_markdown(sys.stdin.buffer.read(), sys.argv[1], sys.argv[2])
    json.dump({"title": found_title, "markdown": found}, sys.stdout)
