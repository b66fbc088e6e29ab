"""`docs/conformance.md` names a test for each requirement: every one of them is there."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TABLE = (HERE.parent / 'docs' / 'conformance.md').read_text()
ROWS = [
    [cell.strip() for cell in line.strip('|').split('|')]
    for line in TABLE.partition('## RFC 6455')[2].splitlines()
    if line.startswith('|') and not re.match(r'\|(---|\s*§)', line)
]
TESTS = sorted({found for row in ROWS for found in re.findall(r'`([^`]+)`', row[2])})


@functools.cache
def functions(file):
    """The names of the functions in a file of tests."""
    return {node.name for node in ast.walk(ast.parse((HERE / file).read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize('name', TESTS)
def test_every_test_that_is_named_is_there(name):
    file, _, function = name.partition('::')
    assert function in functions(file)


@pytest.mark.parametrize('row', ROWS, ids=lambda row: f'{row[0]} {row[1]}'[:60])
def test_every_requirement_names_a_test(row):
    section, requirement, tests = row
    assert re.match(r'\d+(\.\d+)*(, \d+(\.\d+)*)*$', section)
    assert requirement
    assert re.fullmatch(r'(`test_\w+\.py::test_\w+` ?)+', tests)


@pytest.mark.parametrize(
    'section',
    [
        *('4.1', '4.2.1', '4.2.2', '4.4', '5.1', '5.2', '5.3', '5.4', '5.5', '5.5.1', '5.5.2', '5.5.3', '5.6', '5.8'),
        *('6.1', '6.2', '7.1.1', '7.1.2', '7.1.7', '7.2.1', '7.2.2', '7.3', '7.4.1', '8.1'),
        *('9.1', '10.3', '10.4', '10.6', '10.7', '11.3.1'),
    ],
)
def test_every_section_with_requirements_is_in_the_table(section):
    assert any(row[0] == section for row in ROWS)
