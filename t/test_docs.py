"""What the documents say of files is true: links lead somewhere, and every Python snippet is Python."""

import ast
import errno
import inspect
import os
import pkgutil
import re
import textwrap

import pytest
from program import ROOT

import pyjows

DOCUMENTS = sorted(
    path
    for pattern in ('*.md', 'docs/*.md', 'bench/*.md', 'examples/*.md', '.github/**/*.md')
    for path in ROOT.glob(pattern)
)


def named(path):
    return path.relative_to(ROOT).as_posix()


def anchors(path):
    """The anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r'^```.*?^```', '', path.read_text('utf-8'), flags=re.M | re.S)
    headings = re.findall(r'^#+ (.+)$', text, re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('document', DOCUMENTS, ids=named)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(document):
    text = re.sub(r'^```.*?^```', '', document.read_text('utf-8'), flags=re.M | re.S)
    for link in re.findall(r'\]\((?!https?:|mailto:)([^)\s]+)\)', text):
        file, _, anchor = link.partition('#')
        path = (document.parent / file).resolve() if file else document
        assert path.exists(), f'{link} leads nowhere'
        assert not anchor or path.suffix != '.md' or anchor in anchors(path), f'{link}: no such heading'


@pytest.mark.parametrize('document', DOCUMENTS, ids=named)
def test_every_python_snippet_is_python(document):
    for snippet in re.findall(r'^```python\n(.*?)^```', document.read_text('utf-8'), re.M | re.S):
        ast.parse(textwrap.dedent(snippet), named(document))


def test_the_page_of_events_has_those_that_the_classes_name():
    text = (ROOT / 'docs' / 'events.md').read_text('utf-8')
    for cls in (pyjows.WebSocket, pyjows.Server, pyjows.Reconnector, pyjows.Rooms, pyjows.Room, pyjows.IOLoop):
        named = re.search(r'^Events:\n(.*?)(?=^\S|\Z)', inspect.getdoc(cls), re.M | re.S)[1]
        events = re.findall(r'``(\w+)`` ``\((\w+)', named)
        assert events, cls
        for event, first in events:
            assert re.search(rf'^\|.*`{event}`.*\| `\({first}\b', text, re.M), f'{cls.__name__}: {event}'


def test_every_page_is_in_the_menu_and_linked_from_the_first_page():
    pages = {path.relative_to(ROOT / 'docs').as_posix() for path in (ROOT / 'docs').rglob('*.md')} - {'index.md'}
    menu = (ROOT / 'mkdocs.yml').read_text('utf-8')
    links = (ROOT / 'docs' / 'index.md').read_text('utf-8')
    assert {page for page in pages if f': {page}\n' not in menu} == set()
    assert {page for page in pages if f']({page})' not in links} == set()


def test_every_example_is_in_the_list_of_them():
    folder = ROOT / 'examples'
    listed = set(re.findall(r'\]\(([^/)]+)', (folder / 'README.md').read_text('utf-8')))
    there = {path.name for path in folder.iterdir() if not path.name.startswith(('.', '_')) and path.suffix != '.pyc'}
    assert listed == there - {'README.md'}


def test_what_pages_show_of_example_files_stands_in_them():
    shown = [
        block
        for document in DOCUMENTS
        for block in re.findall(r'^```\w+\n# (examples/\S+)\n(.*?)^```', document.read_text('utf-8'), re.M | re.S)
    ]
    assert len(shown) > 3
    for name, lines in shown:
        there = [line.strip() for line in (ROOT / name).read_text('utf-8').splitlines()]
        assert [line for line in lines.splitlines() if line.strip() not in there] == [], name


def messages():
    """What pyjows says in exceptions, log lines and reasons, with … for what is filled in."""
    for path in sorted((ROOT / 'pyjows').rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else '…' for part in node.values]
                yield ''.join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r'%[srdg.\df]+|\{\w*\}', '…', node.value)


def test_the_messages_on_the_page_of_troubleshooting_are_those_of_the_code():
    text = (ROOT / 'docs' / 'troubleshooting.md').read_text('utf-8')
    first_cells = re.findall(r'^\| (?:reason )?`([^`]+)`', text, re.M)
    quoted = [message for message in first_cells if '…' in message or ' ' in message]
    assert len(quoted) > 25
    known = [*messages(), *map(os.strerror, errno.errorcode)]
    for message in quoted:
        for part in filter(None, (part.strip(' :;,.') for part in re.split('…|: ', message))):
            assert any(part in each for each in known), f'{message}: nothing says {part!r}'


def test_every_public_name_has_an_entry_in_the_reference():
    pages = '\n'.join(page.read_text('utf-8') for page in (ROOT / 'docs' / 'reference').glob('*.md'))
    entries = [pkgutil.resolve_name(name) for name in re.findall(r'^::: (\S+)$', pages, re.M)]
    members = [getattr(entry, name) for entry in entries for name in getattr(entry, '__all__', ())]
    documented = {id(found) for found in [*entries, *members]}
    assert not [name for name in pyjows.__all__ if id(getattr(pyjows, name)) not in documented]
