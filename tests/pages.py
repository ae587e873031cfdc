"""Reads an HTML page as a browser would: its sections, tables and pictures, and whatever it would load."""

import base64
import re
from html.parser import HTMLParser

_EMPTY = {"meta", "img", "wbr", "link", "br"}


class Page(HTMLParser):
    """A page that was parsed; raises AssertionError where tags are not closed in order.

    Attributes:
        sections: the text of each section by its id, words parted by single spaces.
        tables: of each section's id, its tables as rows of cells' texts, heads included.
        pictures: addresses and alternative texts of all pictures.
        tags: the names of all elements.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.pictures: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self._open: list[str] = []
        self._section = ""
        self._addresses: list[str] = []
        self._styles = ""
        self.feed(text)
        assert self._open == []
        self.sections = {key: " ".join(found.split()) for key, found in self.sections.items()}

    @property
    def loaded(self) -> list[str]:
        """Every address that the page, or a drawing in it, would fetch; `data:` and places in the page are none."""
        found = [address for address in self._addresses if not address.startswith(("#", "data:"))]
        texts = [self._styles]
        for source, _ in self.pictures:
            if source.startswith("data:image/svg+xml;base64,"):
                drawing = base64.b64decode(source.partition(",")[2]).decode()
                texts.append(drawing)
                found += [a for a in re.findall(r'(?:href|src)="([^"]*)"', drawing) if not a.startswith("#")]
        for text in texts:
            found += re.findall(r"@import[^;]*|url\((?!\s*[\"']?(?:#|data:))[^)]*\)", text)
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self._addresses += [given[name] for name in ("src", "href", "srcset", "data", "action") if name in given]
        if tag == "img":
            self.pictures.append((given["src"], given["alt"]))
        if tag == "section":
            self._section = given["id"]
            self.sections[self._section], self.tables[self._section] = "", []
        if tag == "table":
            self.tables[self._section].append([])
        if tag == "tr":
            self.tables[self._section][-1].append([])
        if tag in ("th", "td"):
            self.tables[self._section][-1][-1].append("")
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            self._styles += data
        elif self._section:
            self.sections[self._section] += data
            if {"th", "td"} & set(self._open):
                row = self.tables[self._section][-1][-1]
                row[-1] = (row[-1] + data).strip()
