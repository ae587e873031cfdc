"""What MkDocs does besides: the README is the first page, and pages beside docs/ belong to the site."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BESIDE = ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "SECURITY.md", "tests/README.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that stand beside `docs/`."""
    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text(encoding="utf-8")))
    for name in BESIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Has links between the root and `docs/` lead to where both lie in the site: beside each other."""
    return markdown.replace("](docs/", "](").replace("](../", "](")
