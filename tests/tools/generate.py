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
from ansible_collections.virt.sandbox.plugins.module_utils.engine import content_run, exec_run, info_run, isolation_run, service_run
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
    "sandbox_exec": Module((exec_run.Asked,)),
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
# in place of what the module says of this state: it leaves content and level
ABSENT = (
    "V(absent) removes the sandbox, B(with its content) and its level. The role's variable that ends in C(_keep_content) keeps "
    "content and level."
)


@dataclasses.dataclass(frozen=True)
class RoleOptions:
    """What a sandbox of a role has in place of the options of the modules, or in addition."""

    level: str | None = option(help="The MCS level of the sandbox, such as V(s0:c1,c2). Defaults to a free level, which the sandbox keeps.")
    discover: bool | None = option(
        type="bool",
        help="Whether the content gets, in addition to O(private), what the packages of the units have below C(/etc) and C(/var).",
    )


class _Dumper(yaml.SafeDumper):
    """YAML as ansible-lint wants it; a mapping that stands twice is named after the option whose suboptions it holds."""

    suboptions: Mapping[int, str]

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> Any:
        name = self.suboptions.get(self.alias_key, "") if self.alias_key else ""
        node = super().represent_mapping(tag, mapping, flow_style)
        node.name = name
        return node

    def generate_anchor(self, node: Any) -> str:
        return str(node.name)


def dump(value: Any, indent: int, cache: Mapping[Any, Mapping[str, Any]]) -> str:
    """YAML; ``cache`` are the suboptions of options, by the dataclass, each with its name under ``name``."""
    dumper = type("Dumper", (_Dumper,), {"suboptions": {id(known["of"]): known["name"] for known in cache.values()}})
    text = yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120 - indent)
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
    if known.default is not None and not known.required and not known.earlier:
        result["default"] = known.default
    if known.of:
        if known.of not in cache:
            cache[known.of] = {"name": known.name, "of": {sub.name: entry(sub, nested, cache) for sub in options(known.of)}}
        result[nested] = cache[known.of]["of"]
    return result


def paragraphs(text: str) -> str | list[str]:
    parts = [" ".join(part.split()) for part in text.strip().split("\n\n")]
    return parts[0] if len(parts) == 1 else parts


def module_options(module: Module, cache: dict[Any, Any]) -> dict[str, Any]:
    result = {known.name: entry(known, "suboptions", cache) for known in _all(module.objects)}
    if module.objects:
        result["name"].pop("required")
        result["name"]["description"] = [result["name"]["description"], "Mutually exclusive with O(sandboxes)."]
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
    common = (
        {"registry", "require_enforcing"} if service_run.Run in module.run or content_run.Run in module.run else set()
    )  # of the documentation's fragment
    return {**result, **{known.name: entry(known, "suboptions", cache) for known in _all(module.run) if known.name not in common}}


def _of_item(documented: dict[str, Any], known: Option) -> dict[str, Any]:
    kept = {key: value for key, value in documented.items() if key != "default"}
    return {**kept, "description": f"See O({known.name})."}


def _all(classes: Iterable[type[Any]]) -> Iterator[Option]:
    for cls in classes:
        yield from options(cls)


def role_options(role: str, cache: dict[Any, Any]) -> dict[str, Any]:
    """The options that a sandbox of a role has from the modules."""
    known = {one.name: one for one in _all((ContentSpec, ContentRequest, ServiceSpec, ServiceRequest, RoleOptions))}
    documented = {name: _of_role(entry(one, "options", cache)) for name, one in known.items() if name not in {*ROLES[role], "declaration"}}
    state = documented["state"]
    state["description"] = [ABSENT if text.startswith("V(absent)") else text for text in state["description"]]
    return documented


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
    cache: dict[Any, Any] = {}
    documented = "options:\n" + dump(module_options(MODULES[name], cache), 2, cache)
    return re.sub(r"^options:\n(?:[ #].*\n|\n)*", lambda _match: documented, text, count=1, flags=re.MULTILINE)


def role_text(role: str, text: str) -> str:
    """A role's argument spec with the options of its sandboxes as they are defined, and those that the role has of its own."""
    cache: dict[Any, Any] = {}
    known = role_options(role, cache)
    before, present, after = _parts(role, text)
    own = "".join(
        match.group(0) for match in re.finditer(r"^          (\w+):\n(?:            .*\n)*", present, re.MULTILINE) if match[1] not in known
    )
    return before + dump(known, 10, {}) + own + after


def _parts(role: str, text: str) -> tuple[str, str, str]:
    """The text before the options of a role's sandboxes, these options, and the text after."""
    match = re.search(rf"^      {role}_sandboxes:\n(?:        .*\n)*?        options:\n", text, re.MULTILINE)
    if match is None:
        raise ValueError(f"the argument spec of role {role} has no options of {role}_sandboxes")
    rest = text[match.end() :]
    present = re.match(r"(?:          .*\n|\n)*", rest)
    end = present.end() if present else 0
    return text[: match.end()], rest[:end], rest[end:]


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
