"""What mkdocs.yml cannot say: a file of the repository that a page links to comes along with the site."""

import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
OUTSIDE = re.compile(r'(?<=\]\()\.\./([^)#]+)')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside of docs/ that pages link to."""
    linked = {name for page in files.documentation_pages() for name in OUTSIDE.findall(page.content_string)}
    for name in sorted(linked):
        if (ROOT / name).is_file():
            files.append(File.generated(config, f'files/{name}.txt', abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links lead to them."""
    return OUTSIDE.sub(r'files/\1.txt', markdown)


class Docstrings(griffe.Extension):
    """What docstrings write otherwise than Markdown does.

    They end a sentence before code with two colons; a page has one, or none where they stand alone. Their events are
    a list.
    """

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each thing that was found."""
        if obj.docstring is not None:
            text = re.sub(r'^( *)(.*?)::$', lambda m: m[1] + (m[2] and f'{m[2]}:'), obj.docstring.value, flags=re.M)
            obj.docstring.value = re.sub(r'(?<=^Events:\n)(?: {4}.*\n?)+', as_list, text, flags=re.M)


def as_list(section: re.Match[str]) -> str:
    """The entries of a section as a list in Markdown; the further lines of an entry are indented already."""
    return re.sub(r'^ {4}(?=\S)', '    - ', section[0], flags=re.M)
