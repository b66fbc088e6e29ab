"""What mkdocs.yml cannot say: files of the repository that pages link to come along; what the reference shows."""

import inspect
import json
import pkgutil
import re
import warnings
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

with warnings.catch_warnings():
    warnings.simplefilter('ignore', RuntimeWarning)  # that it is the sources of this folder: they are meant
    import pyjows

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
    """Let the links lead to them; have a class show what its docstring names."""
    return re.sub(r'^::: (\S+)$', with_options, OUTSIDE.sub(r'files/\1.txt', markdown), flags=re.M)


def with_options(entry: re.Match[str]) -> str:
    """An entry of the reference: under its public name, and of a class only what its docstring lists.

    What else is public in a class is for its neighbours in the package, or is the emitter's.
    """
    found = pkgutil.resolve_name(entry[1])
    options: dict[str, Any] = {}
    name = getattr(found, '__name__', '').rpartition('.')[2]
    if entry[1] != f'pyjows.{name}' and getattr(pyjows, name, None) is found:
        options = {'heading': f'pyjows.{name}', 'toc_label': name}
    if inspect.isclass(found) and (members := listed(found)):
        options |= {'members': members, 'inherited_members': members}
    elif inspect.ismodule(found):
        options |= {'members': [each for each in found.__all__ if inspect.getmodule(getattr(found, each)) is found]}
    return f'{entry[0]}\n    options: {json.dumps(options)}' if options else entry[0]


def listed(cls: type) -> list[str]:
    """The methods, properties and attributes that a class lists and documents; none if it does not list its methods."""
    docstring = inspect.getdoc(cls) or ''
    if 'Methods: ' not in docstring:
        return []
    lists = re.findall(r'^(?:Methods|Properties|Coroutines): (.*?)(?:\n\n|\Z)', docstring, re.M | re.S)
    names = re.findall(r'(?<!`)`(\w+)`', ' '.join(lists))
    if attributes := re.search(r'^Attributes:\n(.*?)(?:\n\n|\Z)', docstring, re.M | re.S):
        names += ', '.join(re.findall(r'^ {4}([\w, ]+):', attributes[1], re.M)).split(', ')
    return [name for name in dict.fromkeys(names) if inspect.getdoc(getattr(cls, name, None))]


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
