"""Every Python snippet of the README, and of the pages of the docs named below, runs and prints what it says.

The snippets of a section (`## …`) belong together and run as programs of their own. One that serves port 3000 and calls
`pyjows.run(…)` or `pyjows.prefork(…)` is a server: it starts first, and is asked to stop when the others have ended by
themselves. `#> …` is a line that a snippet prints. Port 3000 is replaced by a free one, and /tmp by a folder of the
test's own.
"""

import re
import socket
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from background import free_port, until
from program import ROOT, Program

pytestmark = pytest.mark.slow

README = ROOT / 'README.md'
PAGES = (
    'authentication', 'back-pressure', 'by-hand', 'clients', 'compression', 'containers', 'deployment', 'events',
    'http', 'index', 'loop', 'monitoring', 'processes', 'security', 'testing', 'threads', 'tls', 'tutorial',
)  # fmt: skip
DOCUMENTS = [README, *(ROOT / 'docs' / f'{page}.md' for page in PAGES)]


def sections():
    for document in DOCUMENTS:
        text = document.read_text('utf-8')
        for title, body in re.findall(r'^## (.+?)\n(.*?)(?=^## |\Z)', text, re.M | re.S):
            if snippets := re.findall(r'^```python\n(.*?)^```', body, re.M | re.S):
                yield pytest.param(snippets, id=f'{document.stem}: {title}'.replace(' ', '-').lower())


def with_certificates(snippet: str, folder: Path) -> str:
    """The snippet with the files that TLS needs: `cert.pem`, `key.pem` and `ca.pem` are written to a folder."""
    if "'cert.pem'" in snippet or "'ca.pem'" in snippet:
        if not (folder / 'ca.pem').exists():
            authority = trustme.CA()
            issued = authority.issue_cert('localhost', '127.0.0.1', 'chat.localhost')
            (folder / 'cert.pem').write_bytes(b''.join(blob.bytes() for blob in issued.cert_chain_pems))
            issued.private_key_pem.write_to_path(str(folder / 'key.pem'))
            authority.cert_pem.write_to_path(str(folder / 'ca.pem'))
        snippet = re.sub(r"'(\w+\.pem)'", lambda name: repr(str(folder / name[1])), snippet)
    return snippet


def is_server(snippet: str) -> bool:
    return 'pyjows.serve(' in snippet and ('pyjows.run(' in snippet or 'pyjows.prefork(' in snippet)


def printed(snippet: str) -> list[str]:
    return re.findall(r'#> (.*)$', snippet, re.M)


def turns(port: int) -> bool:
    """Whether a server's loop turns: it listens earlier, but then SIGTERM would not stop it gracefully yet."""
    with socket.socket() as sock:
        if sock.connect_ex(('127.0.0.1', port)) != 0:
            return False
        sock.settimeout(30)
        sock.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
        with suppress(ConnectionError):
            sock.recv(1)  # over TLS, an alert or the end
        return True


@pytest.mark.parametrize('snippets', list(sections()))
def test_the_snippets_of_a_section_run_and_print_what_they_say(snippets, tmp_path, socket_folder):
    port = free_port()

    def program(snippet: str) -> Program:
        path = Path(tmp_path, f'snippet{snippets.index(snippet)}.py')
        text = re.sub(r'\b3000\b', str(port), snippet.replace('/tmp/', f'{socket_folder}/'))
        text = with_certificates(text, tmp_path)
        path.write_text(text, 'utf-8')
        return Program(path)

    servers = [snippet for snippet in snippets if is_server(snippet)]
    others = [snippet for snippet in snippets if not is_server(snippet)]
    assert len(servers) <= 1, 'two servers in one section'
    for server in servers:
        with program(server) as serving:
            until(lambda: turns(port) or serving.process.poll() is not None, f'the server: {serving}')
            run(others, program)
            assert serving.stop() == 0, serving
            assert set(printed(server)) <= set(serving.lines), serving
            assert not serving.errors, serving
    if not servers:
        run(others, program)


def run(snippets, program):
    for snippet in snippets:
        with program(snippet) as running:
            assert running.end() == 0, running
            assert running.lines == printed(snippet)
            assert not running.errors, running


def test_the_readme_has_exactly_two_commands_to_set_up():
    text = README.read_text('utf-8')
    commands = re.findall(r'^```sh\n(.*?)^```', text, re.M | re.S)
    assert [command.count('\n') for command in commands] == [1, 1]
    install_and_chat, install_and_test = commands
    assert 'examples/chat.py' in install_and_chat
    assert "'.[test]'" in install_and_test and 'pytest' in install_and_test, '.ci/run looks for this one'


def test_the_gate_runs_the_readme_s_test_command():
    gate = (ROOT / '.ci' / 'run').read_text('utf-8')
    pattern = re.search(r'grep -m 1 -F "(.+?)" README\.md', gate)[1]
    found = next(line for line in README.read_text('utf-8').splitlines() if pattern in line)
    assert found.endswith('.venv/bin/pytest -n auto')


def test_every_link_of_the_readme_to_a_file_leads_somewhere():
    links = re.findall(r'\]\((?!https?:|#)([^)#]+)', README.read_text('utf-8'))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
