# SPDX-License-Identifier: GPL-3.0-or-later
"""Threat 35: root inside writes what a terminal would obey, wherever a module reads it. Nobody's terminal gets it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, EXEC, INFO, LABEL, SERVICE
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

NAME, LEVEL, UNIT = "it-bytes", "s0:c825,c826", "bytes.service"
TREE = f"/var/lib/libvirt/filesystems/{NAME}"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
FILES = [
    {
        "path": f"/etc/systemd/system/{UNIT}",
        "content": "[Service]\nExecStartPre=/bin/sh -c 'test ! -e /srv/bytes.py || exec python3 /srv/bytes.py'\n"
        "ExecStart=/usr/bin/sleep 1h\n",
    }
]
# the title of a terminal, in a form that no name of a file or process excludes
ESCAPE = "\\033]0;mine\\007"
SPOIL = f"""
import ctypes, os, socket, subprocess
with open("/srv/bytes.py", "w") as file:
    file.write("import os\\nfor number in (1, 2):\\n    os.write(number, bytes(range(256)) + b'\\\\n')\\nraise SystemExit(3)\\n")
open(b"/srv/" + bytes(number for number in range(1, 256) if number != 47), "w").close()
try:
    socket.sethostname("{ESCAPE}")
except OSError:
    pass
with open("/etc/systemd/system/{UNIT}", "a") as file:
    file.write("[Unit]\\nDescription={ESCAPE}\\n")
if os.fork() == 0:
    os.setsid()
    for number in range(3):
        os.close(number)
    ctypes.CDLL(None).prctl(15, b"{ESCAPE}")
    os.execv("/proc/self/exe", ["python3", "-c", "import ctypes, time; ctypes.CDLL(None).prctl(15, b'{ESCAPE}'); time.sleep(600)"])
"""
PRINT = "import os; os.write(1, bytes(range(256))); os.write(2, bytes(range(256))); raise SystemExit(3)"
# each shows something that root inside has written
SHOWN = ("exec", "info", "content", "restarted")


def tasks() -> Iterator[Task]:
    content = {"name": NAME, "level": LEVEL, "files": FILES}
    service = {"name": NAME, "units": [UNIT], "network": []}
    yield {"name": "label", LABEL: {"name": NAME, "level": LEVEL}}
    yield {"name": "made", CONTENT: content}
    yield {"name": "up", SERVICE: service}
    yield {"name": "spoil", EXEC: {"name": NAME, "argv": ["python3", "-c", SPOIL]}}
    yield shell_task("a name", f"find {TREE}/srv -type f ! -name bytes.py -exec chcon system_u:object_r:var_t:s0 {{}} +")
    yield {"name": "exec", EXEC: {"name": NAME, "argv": ["python3", "-c", PRINT]}}
    yield {"name": "info", INFO: {"name": NAME}}
    yield {"name": "content", CONTENT: {**content, "foreign": "report"}, "diff": True}
    yield {"name": "restarted", SERVICE: {**service, "state": "restarted"}}
    yield shell_task("control", f"virt-sandbox exec {NAME} -- journalctl -u {UNIT} -o cat </dev/null | grep -ac $(printf '\\033')")


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    yield lab.play([*sandboxes_gone([NAME], " first"), *tasks()])
    lab.play(sandboxes_gone([NAME]))


def test_threat_35_there_is_something_to_be_shown(played: Played, host: str) -> None:
    outcomes = played.on(host)
    for title in ("up", "spoil", "a name"):
        assert not outcomes[title].failed, outcomes[title].message
    assert int(outcomes["control"].stdout) >= 1
    assert outcomes["exec"].failed
    assert outcomes["restarted"].failed


@pytest.mark.parametrize("title", SHOWN)
def test_threat_35_a_result_has_escapes_in_place_of_controls(played: Played, host: str, title: str) -> None:
    texts = list(walk(played.on(host)[title].result))
    assert not [text for text in texts if CONTROL.search(text)]
    assert "\\x1b" in "".join(texts), texts


def walk(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from walk(key)
            yield from walk(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from walk(entry)


def test_threat_35_nothing_of_it_reaches_the_terminal(played: Played) -> None:
    assert not CONTROL.search(played.output)
    assert "\\x1b" in played.output
