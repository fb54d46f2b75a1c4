# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of ``sandbox_exec``: look whether the command is to run, run it inside, report."""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..host import enter
from ..model.errors import OptionError, StepError
from ..model.options import argument_spec, build, option
from ..model.spec import name as sandbox_name
from ..model.values import LARGEST_ID, account_number, size
from .module import fail, succeed

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?\Z", re.ASCII)


def _words(value: list[str]) -> list[str]:
    if not value or not value[0]:
        raise ValueError("at least the name of a program")
    if any("\0" in word for word in value):
        raise ValueError("words without a NUL character, as no program can be given one")
    return value


def _text(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("a command, without NUL characters")
    return value


def _environment(value: Mapping[Any, Any]) -> dict[str, str]:
    for name, content in value.items():
        if not str(name) or "=" in str(name) or "\0" in f"{name}{content}" or isinstance(content, (dict, list)) or content is None:
            raise ValueError("names without '=' and texts as their values, without NUL characters")
    return {str(name): str(content) for name, content in value.items()}


def _directory(value: str) -> str:
    if not value.startswith("/") or "\0" in value:
        raise ValueError("an absolute path inside the sandbox")
    return value


def _user(value: str) -> str:
    if not _USER.match(value) or (value.isdigit() and account_number(value) is None):
        raise ValueError(f"the name of a user inside the sandbox, or a number from 0 to {LARGEST_ID}")
    return value


def _seconds(value: float) -> float:
    if value <= 0:
        raise ValueError("a number of seconds above 0")
    return value


@dataclasses.dataclass(frozen=True)
class Asked:
    """What ``sandbox_exec`` is asked."""

    name: str = option(
        "", required=True, normal=sandbox_name, help="Name of the sandbox. It must be running.",
    )  # fmt: skip
    argv: tuple[str, ...] = option(
        type="list", elements="str", normal=_words, unset=(), help="""
            The command as a list of words. No shell interprets them.

            Exactly one of this and O(cmd) is required.
            """,
    )  # fmt: skip
    cmd: str = option(
        normal=_text, unset="", help="The command as text for C(/bin/sh -c) inside the sandbox.",
    )  # fmt: skip
    stdin: str = option(
        "", help="""
            What the command reads from its standard input. No newline is added.

            Use C(no_log=true) on the task where it is a secret.
            """,
    )  # fmt: skip
    env: Mapping[str, str] = option(
        {}, type="dict", normal=_environment, help="""
            Variables that are added to the environment of the command, or replace those it has.

            They do not show in a list of processes. Use C(no_log=true) on the task where they hold a secret, so that it does
            not get into logs either.
            """,
    )  # fmt: skip
    chdir: str = option(
        "/", normal=_directory, help="""
            The directory inside the sandbox in which the command runs, as an absolute path.
            """,
    )  # fmt: skip
    user: str = option(
        "root", normal=_user, help="""
            The user inside the sandbox that runs the command, by name or number, with that user's groups.

            A number that no user has is used as user and group.

            The privileges are dropped inside, under the label of the sandbox.
            """,
    )  # fmt: skip
    timeout: float | None = option(
        type="float", normal=_seconds, help="""
            Seconds after which the command is killed, and the module fails.

            Without it, the module waits as long as the command runs, which root inside the sandbox can make any time.
            """,
    )  # fmt: skip
    max_output: int = option(
        "16M", normal=size, help="""
            Maximum number of bytes that the command may write to its standard output and standard error together, as a number
            or with a unit, such as V(64M).

            A command that writes more is killed, and the module fails. It returns what was read until then, with RV(truncated).

            The host, Ansible and the controller each hold all of it in memory. To move larger data, write it to a file inside
            and use M(ansible.builtin.fetch) with the connection plugin.
            """,
    )  # fmt: skip
    creates: str = option(
        unset="", help="""
            A path, or a pattern of the shell, inside the sandbox. If it exists, the command is not run.

            It is looked up inside the sandbox, with its label, relative to O(chdir).
            """,
    )  # fmt: skip
    removes: str = option(
        unset="", help="As O(creates), but the command is not run if it does B(not) exist.",
    )  # fmt: skip


# bytes and seconds that a look around inside may take: it is root inside who answers
LOOK_BYTES = 65536
LOOK_SECONDS = 60
# Looks around inside, with the sandbox's label: what is there may be made to mislead. Says in its first line what stands
# in the way, or nothing; the user's entry follows.
LOOK = """
there() { IFS=; for path in $1; do if [ -e "$path" ] || [ -L "$path" ]; then return 0; fi; done; return 1; }
cd "$1" 2>/dev/null || { echo chdir; exit; }
if [ -n "$2" ] && there "$2"; then echo creates; exit; fi
if [ -n "$3" ] && ! there "$3"; then echo removes; exit; fi
echo
getent passwd "$4"
"""
GO = 'cd "$1" && shift && exec "$@"'


class Run:
    """One command for one sandbox."""

    def __init__(self, asked: Asked) -> None:
        self.options = asked
        self.name = asked.name
        self.given: Any = list(asked.argv) or asked.cmd
        self.words: list[str] = list(asked.argv) or ["/bin/sh", "-c", asked.cmd]
        self.variables: dict[str, str] = {}

    def needs_a_look(self) -> bool:
        options = self.options
        return bool(options.creates or options.removes) or options.user != "root" or options.chdir != "/"

    def look(self) -> str:
        """Why the command need not run; empty if it must. Finds out about directory and user before anything runs."""
        options = self.options
        arguments = (options.chdir, options.creates, options.removes, options.user)
        outcome = self._inside(["/bin/sh", "-c", LOOK, "sh", *arguments], b"", LOOK_SECONDS, LOOK_BYTES)
        verdict, _newline, entry = outcome.output.decode(errors="replace").partition("\n")
        if verdict == "chdir":
            raise StepError(self.name, "chdir", f"directory {options.chdir} does not exist inside, or cannot be entered")
        if verdict == "creates":
            return f"{options.creates} exists"
        if verdict == "removes":
            return f"{options.removes} does not exist"
        self._prepare(entry.strip())
        return ""

    def _prepare(self, entry: str) -> None:
        user, directory = self.options.user, self.options.chdir
        if user not in ("root", "0"):
            fields = entry.split(":")
            # root inside writes them
            if len(fields) == 7 and all(account_number(field) is not None for field in fields[2:4]):
                name, uid, gid, home, groups = fields[0], fields[2], fields[3], fields[5], "--init-groups"
            elif user.isdigit():
                name, uid, gid, home, groups = user, user, user, "/", "--clear-groups"
            else:
                raise StepError(self.name, "user", f"user {user} does not exist inside")
            self.words = ["setpriv", "--reuid", uid, "--regid", gid, groups, "--", *self.words]
            self.variables = {"USER": name, "LOGNAME": name, "HOME": home}
        if directory != "/":
            self.words = ["/bin/sh", "-c", GO, "sh", directory, *self.words]

    def go(self) -> dict[str, Any]:
        """Run it; returns what the module returns."""
        variables = {**self.variables, **self.options.env}
        start = datetime.datetime.now(datetime.timezone.utc)
        stdin = self.options.stdin.encode(errors="surrogateescape")
        outcome = self._inside(self.words, stdin, self.options.timeout, self.options.max_output, variables)
        end = datetime.datetime.now(datetime.timezone.utc)
        return {
            "rc": outcome.code,
            "stdout": _readable(outcome.output),
            "stderr": _readable(outcome.errors),
            "truncated": False,
            "context": outcome.context,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "delta": str(end - start),
        }

    def _inside(
        self, words: list[str], stdin: bytes, timeout: float | None, most: int, variables: dict[str, str] | None = None
    ) -> enter.Outcome:
        try:
            return enter.run(self.name, words, stdin, variables, timeout, most=most)
        except enter.EndedError as error:
            if words is self.words:
                raise
            raise StepError(self.name, "enter", f"the checks before the command failed: {error}") from error
        except enter.StartError as error:
            raise StepError(self.name, "run", str(error)) from error
        except (enter.EnterError, OSError) as error:
            raise StepError(self.name, "enter", str(error)) from error


def _readable(output: bytes) -> str:
    return output.decode(errors="replace").rstrip("\r\n")


def _skip(module: AnsibleModule, run: Run) -> None:
    """Ends the module where the command is not to be run."""
    because = ""
    conditional = bool(run.options.creates or run.options.removes)
    if run.needs_a_look() and (conditional or not module.check_mode):
        try:
            because = run.look()
        except StepError as error:
            if not module.check_mode:
                raise
            succeed(module, {"changed": False, "skipped": True, "cmd": run.given, "rc": 0, "msg": f"Not known in check mode: {error}"})
    quiet = {"cmd": run.given, "rc": 0, "stdout": "", "stderr": "", "truncated": False}
    if because:
        succeed(module, {"changed": False, "msg": f"The command was not run, since {because} in {run.name}", **quiet})
    if module.check_mode and conditional:
        succeed(module, {"changed": True, "msg": "The command would have been run", **quiet})
    if module.check_mode:
        succeed(module, {"changed": False, "skipped": True, "msg": "The command would have been run", **quiet})


def run_module() -> None:
    """The module, from its parameters to its end."""
    module = AnsibleModule(
        argument_spec=argument_spec(Asked),
        mutually_exclusive=[("argv", "cmd")],
        required_one_of=[("argv", "cmd")],
        supports_check_mode=True,
    )
    name = module.params["name"]
    result: dict[str, Any] = {"cmd": module.params["argv"] or module.params["cmd"], "changed": False}
    try:
        run = Run(build(Asked, module.params))
        if os.geteuid() != 0:
            raise StepError(name, "enter", "only root on the host can enter a sandbox. Set become: true.")
        _skip(module, run)
        result.update(run.go(), changed=True)
    except OptionError as error:
        fail(module, str(error), {"sandbox": name, "step": "options", "reason": str(error), **result})
    except enter.EndedError as error:
        too_much = isinstance(error, enter.EnterOverflow)
        reason = f"{error}{'. Raise max_output to let it write more.' if too_much else ''}"
        written = {"stdout": _readable(error.output), "stderr": _readable(error.errors), "truncated": too_much, "rc": 137}
        result.update(written, changed=True)
        fail(module, f"{name}: run: {reason}", {"sandbox": name, "step": "run", "reason": reason, **result})
    except StepError as error:
        fail(module, str(error), {"sandbox": error.sandbox, "step": error.step, "reason": error.reason, **result})
    if result["rc"] != 0:
        reason = f"the command ended with code {result['rc']}"
        fail(module, f"{name}: run: {reason}", {"sandbox": name, "step": "run", "reason": reason, **result})
    succeed(module, result)
