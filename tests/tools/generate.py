# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what follows from the definitions of options: the modules' documentation of them, and the roles' argument specs.

``make generate`` writes the files; ``tests/unit/test_generated.py`` fails where a file is not what this would write.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.virt.sandbox.plugins.module_utils.engine import content_run, info_run, isolation_run, service_run
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_request import InfoOptions, OwnerOptions, RegistryOptions
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import Option, option, options
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ContentRequest, ContentSpec, ServiceRequest, ServiceSpec

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Module:
    """Whose options a module has: those of each sandbox, and those of a run."""

    run: tuple[type[Any], ...]
    objects: tuple[type[Any], ...] = ()


MODULES = {
    "mcs_label": Module((RegistryOptions,), (OwnerOptions,)),
    "mcs_label_info": Module((InfoOptions,)),
    "sandbox_content": Module((content_run.Run,), (ContentSpec, ContentRequest)),
    "sandbox_service": Module((service_run.Run,), (ServiceSpec, ServiceRequest)),
    "sandbox_info": Module((info_run.Run,)),
    "sandbox_isolation_info": Module((isolation_run.Run,)),
}
# what a role sets itself, of the options that a sandbox has in all
_COMMAND = {"command", "user", "group", "home"}
ROLES: dict[str, set[str]] = {
    "service": set(),
    "httpd": _COMMAND,
    "mysql": {*_COMMAND, "discover"},
    "postgresql": {*_COMMAND, "discover"},
    "dovecot": {*_COMMAND, "discover"},
}


@dataclasses.dataclass(frozen=True)
class RoleOptions:
    """What a sandbox of a role has beside the options of the modules."""

    discover: bool | None = option(
        type="bool", help="Whether the content gets, in addition to O(private), what the packages of the units have below C(/etc) and C(/var)."
    )


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def dump(value: Any, indent: int) -> str:
    """YAML as ansible-lint wants it, each mapping that stands twice by its own name."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=128 - indent)
    for anchor, name in re.findall(r"&(id\d+)\n +(\w+):", text):
        text = re.sub(rf"([&*]){anchor}\b", rf"\1{name}_options", text)
    return "".join(" " * indent + line if line.strip() else line for line in text.splitlines(keepends=True))


def entry(known: Option, nested: str, cache: dict[Any, Any]) -> dict[str, Any]:
    """An option as documentation and role argument specs have it; ``nested``: what they call suboptions."""
    result: dict[str, Any] = {"description": paragraphs(known.help), "type": known.type}
    if known.elements:
        result["elements"] = known.elements
    if known.required:
        result["required"] = True
    if known.choices:
        result["choices"] = list(known.choices)
    if known.default is not None and not known.required:
        result["default"] = known.default
    if known.of:
        if known.of not in cache:
            cache[known.of] = {sub.name: entry(sub, nested, cache) for sub in options(known.of)}
        result[nested] = cache[known.of]
    return result


def paragraphs(text: str) -> str | list[str]:
    parts = [" ".join(part.split()) for part in text.strip().split("\n\n")]
    return parts[0] if len(parts) == 1 else parts


def module_options(module: Module) -> dict[str, Any]:
    cache: dict[Any, Any] = {}
    result = {known.name: entry(known, "suboptions", cache) for known in _all(module.objects)}
    if module.objects:
        result["name"].pop("required")
        result["sandboxes"] = {
            "description": [
                "Many sandboxes in one run, with the options above for each.",
                "An option that a sandbox does not set has the value that the same option has beside O(sandboxes).",
                "Mutually exclusive with O(name).",
            ],
            "type": "list",
            "elements": "dict",
            "suboptions": {known.name: _of_item(entry(known, "suboptions", cache), known) for known in _all(module.objects)},
        }
    common = {"registry", "require_enforcing"} if service_run.Run in module.run or content_run.Run in module.run else set()  # of the documentation's fragment
    return {**result, **{known.name: entry(known, "suboptions", cache) for known in _all(module.run) if known.name not in common}}


def _of_item(documented: dict[str, Any], known: Option) -> dict[str, Any]:
    kept = {key: value for key, value in documented.items() if key != "default"}
    return {**kept, "description": f"See O({known.name})."}


def _all(classes: Iterable[type[Any]]) -> Iterator[Option]:
    for cls in classes:
        yield from options(cls)


def role_options(role: str, present: Mapping[str, Any]) -> dict[str, Any]:
    """The options of each sandbox of a role: those of the modules, and what the role has of its own at present."""
    cache: dict[Any, Any] = {}
    known = {one.name: one for one in _all((ContentSpec, ContentRequest, ServiceSpec, ServiceRequest, RoleOptions))}
    del known["declaration"]
    documented = {name: _of_role(entry(one, "options", cache)) for name, one in known.items() if name not in ROLES[role]}
    own = {name: value for name, value in present.items() if name not in known}
    return {**documented, **own}


def _of_role(documented: dict[str, Any]) -> dict[str, Any]:
    """What a sandbox does not say, it has from the role's variables. References to other options are of the modules."""
    kept = {key: value for key, value in documented.items() if key != "default"}
    return _plain_references(kept)


def _plain_references(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain_references(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_references(item) for item in value]
    return re.sub(r"\b[O]\(([^)]*#module:)?([^)]*)\)", r"V(\2)", re.sub(r"\bRV\(", "V(", value)) if isinstance(value, str) else value


def module_text(name: str, text: str) -> str:
    """A module's file with its options as they are defined."""
    documented = "options:\n" + dump(module_options(MODULES[name]), 2)
    return re.sub(r"^options:\n(?:[ #].*\n|\n)*", lambda _match: documented, text, count=1, flags=re.MULTILINE)


def role_text(role: str, text: str) -> str:
    """A role's argument spec with the options of its sandboxes as they are defined."""
    present = yaml.safe_load(text)["argument_specs"]["main"]["options"][f"{role}_sandboxes"]["options"]
    generated = dump(role_options(role, present), 10)
    pattern = rf"(^      {role}_sandboxes:\n(?:        .*\n)*?        options:\n)(?:          .*\n|\n)*"
    return re.sub(pattern, lambda match: match.group(1) + generated, text, count=1, flags=re.MULTILINE)


def generated() -> Iterator[tuple[Path, str]]:
    """Each file that is generated in part, with the whole text that it is to have."""
    for name in MODULES:
        path = CHECKOUT / "plugins" / "modules" / f"{name}.py"
        yield path, module_text(name, path.read_text(encoding="utf-8"))
    for role in ROLES:
        path = CHECKOUT / "roles" / role / "meta" / "argument_specs.yml"
        yield path, role_text(role, path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for path, text in generated():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(CHECKOUT)}")
