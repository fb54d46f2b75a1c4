# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module makes of its run's result, and of whatever goes wrong in it; and of a host on which SELinux is off."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import module
from ansible_collections.virt.sandbox.plugins.module_utils.host import selinux
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError, SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level
from ansible_collections.virt.sandbox.plugins.modules import sandbox_content


class Ended(Exception):
    """A module has ended, with this result."""


class FakeModule:
    check_mode = True

    def __init__(self, **keywords: Any) -> None:
        self.params = keywords
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def exit_json(self, **result: Any) -> None:
        raise Ended({**result, "warnings": self.warnings})

    def fail_json(self, **result: Any) -> None:
        raise Ended({**result, "failed": True, "warnings": self.warnings})


@pytest.fixture(autouse=True)
def ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AnsibleModule", FakeModule)
    monkeypatch.setattr(module.selinux, "respawn_with_bindings", lambda *_modules: None)


def ended(runner: module.Runner) -> dict[str, Any]:
    with pytest.raises(Ended) as caught:
        module.run_module({"argument_spec": {}}, runner)
    return dict(caught.value.args[0])


def failing(error: Exception) -> module.Runner:
    def run(_parameters: Mapping[str, Any], _check_mode: bool) -> dict[str, Any]:
        raise error

    return run


def test_a_result_is_returned_with_its_warnings_apart() -> None:
    assert ended(lambda parameters, check_mode: {"changed": check_mode, "warnings": ["x"]}) == {"changed": True, "warnings": ["x"]}
    failed = ended(lambda parameters, check_mode: {"failed": True, "msg": "web: start: no", "warnings": ["x"]})
    assert failed == {"failed": True, "msg": "web: start: no", "warnings": ["x"]}


def test_what_is_said_to_the_user_is_the_whole_message() -> None:
    assert ended(failing(SandboxError("say this"))) == {"failed": True, "msg": "say this", "warnings": []}


@pytest.mark.parametrize("error", [KeyError("unit"), OSError(28, "No space left on device"), UnicodeError("x"), RecursionError("deep")])
def test_what_nobody_foresaw_is_a_failure_whose_message_is_no_traceback(error: Exception) -> None:
    result = ended(failing(error))
    assert result["failed"]
    assert result["msg"] == f"unexpected error, please report it: {type(error).__name__}: {error}"
    assert "Traceback" not in result["msg"]
    assert "Traceback" in result["exception"]


# A host on which nothing would be separated


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A kernel that enforces; tests change what it says."""
    fake = types.SimpleNamespace(
        is_selinux_enabled=lambda: 1, security_getenforce=lambda: 1, security_check_context_raw=lambda _context: 0, asked=[]
    )
    monkeypatch.setattr(selinux, "binding", lambda: fake)
    own = {"s0:c0,c1": True, "s0:c2,c3": False}
    monkeypatch.setattr(selinux, "decide", lambda _source, target, *_asked: {"allowed": own[target.split(":", 3)[3]], "permissive": False})
    return fake


def require(enforcing: bool) -> None:
    selinux.require("virt_sandbox_t", "virt_sandbox_file_t", Level.of((1, 2)), enforcing=enforcing)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("enforcing", [True, False])
def test_a_host_that_separates_is_taken(enforcing: bool) -> None:
    require(enforcing)


@pytest.mark.parametrize("enforcing", [True, False])
def test_a_host_without_selinux_is_refused_whatever_the_play_says(kernel: types.SimpleNamespace, enforcing: bool) -> None:
    kernel.is_selinux_enabled = lambda: 0
    with pytest.raises(SandboxError) as caught:
        require(enforcing)
    assert str(caught.value) == (
        "SELinux is disabled on this host, so nothing is labelled, even with require_enforcing: false. Run the role virt.sandbox.host."
    )


def test_a_host_that_only_records_is_refused_unless_the_play_says_so(kernel: types.SimpleNamespace) -> None:
    kernel.security_getenforce = lambda: 0
    with pytest.raises(SandboxError, match=r"SELinux is permissive on this host.*or set require_enforcing: false"):
        require(True)
    require(False)


def test_a_type_that_the_policy_has_not_is_named(kernel: types.SimpleNamespace) -> None:
    def unknown(context: str) -> int:
        if "virt_sandbox_file_t" in context:
            raise OSError(22, "Invalid argument")
        return 0

    kernel.security_check_context_raw = unknown
    with pytest.raises(OptionError, match="file_type: 'virt_sandbox_file_t' is invalid"):
        require(True)
    require(False)


def test_the_texts_of_declared_files_are_not_logged_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are they cut out of what is returned: the difference is what a person reviews."""
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(sandbox_content, "run_module", lambda keywords, *_ignored: given.append(keywords))
    sandbox_content.main()
    assert given[0]["no_log"] is True
    files = given[0]["argument_spec"]["files"]["options"]
    assert not [name for name, entry in files.items() if entry.get("no_log")]
