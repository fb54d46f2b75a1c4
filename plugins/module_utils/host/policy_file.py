# SPDX-License-Identifier: GPL-3.0-or-later
"""A compiled policy in a file, asked through libsepol: what a kernel that had loaded it would decide. SELinux need not be on here."""

from __future__ import annotations

from collections.abc import Sequence

from ..model.errors import OptionError, SandboxError
from .binding import required


class PolicyFile:
    """The policy of one file. libsepol holds one policy to a process; booleans are as the file has them."""

    def __init__(self, path: str) -> None:
        self._sepol = required("selinux.audit2why", "python3-selinux (Debian) or python3-libselinux (Fedora)")
        # what no rule of types grants is granted at no level, and libsepol takes milliseconds to say so, for it tries every boolean
        self._without_rule: set[tuple[str, str, str, str]] = set()
        try:
            with open(path, "rb"):
                pass
            # the kernel gives the policy that is loaded to one reader at a time
            status = self._sepol.init(path)
        except OSError as error:
            raise OptionError("policy", path, f"a compiled policy that can be read ({error})") from error
        # the binding has more than one way to say so
        except (ValueError, SystemError):
            status = -1
        if status:
            raise OptionError("policy", path, "a compiled policy of a version that this libsepol reads")

    def granted(self, source: str, target: str, tclass: str, permissions: Sequence[str]) -> list[str]:
        """Those of these permissions that the policy grants; none in a class or of a context that it does not know."""
        return [permission for permission in permissions if self._grants(source, target, tclass, permission)]

    def _grants(self, source: str, target: str, tclass: str, permission: str) -> bool:
        types = (_type(source), _type(target), tclass, permission)
        if types in self._without_rule:
            return False
        answer = self._sepol.analyze(source, target, tclass, [permission])[0]
        if answer in (self._sepol.BADCOMPUTE, self._sepol.NOPOLICY):
            raise SandboxError(f"policy: libsepol cannot decide whether {source} may {permission} {target} ({tclass}) and answers {answer}")
        if answer == self._sepol.TERULE:
            self._without_rule.add(types)
        return bool(answer == self._sepol.ALLOW)

    def booleans(self, source: str, target: str, tclass: str, permissions: Sequence[str]) -> list[str]:
        """The booleans of which each by itself would grant all of these permissions, as ``setsebool`` sets them, constraints included."""
        answer, booleans = self._sepol.analyze(source, target, tclass, list(permissions))
        return [f"{name} {'on' if value else 'off'}" for name, value in booleans] if answer == self._sepol.BOOLEAN else []

    def knows(self, context: str) -> bool:
        """Whether the policy knows a context."""
        unknown = (self._sepol.BADSCON, self._sepol.BADTCON)
        return self._sepol.analyze(context, context, "file", ["read"])[0] not in unknown


def _type(context: str) -> str:
    return context.split(":")[2]
