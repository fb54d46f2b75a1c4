# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of ``sandbox_content``: observe, plan, build, report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..host import declarations, file_contexts, selinux, systemd
from ..model import content_plan, disk, layout, unit_file
from ..model.content_plan import FOREIGN, Observed
from ..model.content_steps import Source
from ..model.errors import ContentError, OptionError, SandboxError, StepError
from ..model.mcs import Level
from ..model.options import build, option
from ..model.outdated import UPDATE
from ..model.plan import Plan
from ..model.spec import PROCESS_TYPE, Common, ContentRequest, ContentSpec, Identity, content_spec
from ..model.values import printable
from . import content, inside, listed
from .apply import apply, report_failures, require_root, unexpected
from .discover import NOTHING, Discovered, discover
from .hands import ContentHands
from .host import SandboxHost, opened
from .wanted import Wanted, with_levels


@dataclasses.dataclass(frozen=True)
class Run(Common):
    """What holds for a whole run of ``sandbox_content``."""

    update: str = option(
        "report", choices=UPDATE,
        help="""
            What to do about files of C(/etc) that have changed on the host since they were copied from it, because a package was
            updated or because somebody edited them. They are returned in RV(outdated).

            V(report) warns and changes nothing. V(take) updates the files that the sandbox has not changed, removes those that
            the host has removed, and reports those that were changed on both sides. V(keep) keeps the sandbox's files, and
            reports a file again only when it changes on the host again. Use it after merging by hand.

            A running service reads a new file when it is reloaded or restarted.

            New system accounts of the host are always added, without a password. An account that was removed in the sandbox stays
            removed. CA certificates and alternatives are the host's own. The linker's cache is that of the sandbox's last start.
            """,
    )  # fmt: skip
    foreign: str = option(
        "report", choices=FOREIGN,
        help="""
            What to do about entries that carry categories which are not the sandbox's. They are returned in RV(foreign), with the
            owner of their level.

            V(report) warns and leaves them. V(fix) relabels them. V(fail) fails before anything is changed. V(keep) leaves them
            silently.

            Entries that carry another type, or no category, are always relabelled. So are all entries when the sandbox's level
            has changed.
            """,
    )  # fmt: skip


SandboxContent = Wanted[ContentSpec, ContentRequest]


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """What ``sandbox_content`` returns."""
    require_root()
    settings = build(Run, parameters)
    wanted = [_wanted(item, parameters) for item in listed.items(parameters)]
    with opened(settings.registry, locked=not check_mode) as host:
        wanted = with_levels(wanted, host, settings, check_mode, lambda _spec: PROCESS_TYPE)
        result = ContentRun(host, wanted, parameters, settings, check_mode).carried_out()
        result["warnings"] = host.warnings() + result["warnings"]
        return result


def _wanted(item: Mapping[str, Any], parameters: Mapping[str, Any]) -> SandboxContent:
    request = listed.about(item["name"], parameters, build, ContentRequest, item)
    if request.state == "absent":  # of what goes only its name and place are of account
        identity = listed.about(item["name"], parameters, build, Identity, {**item, "level": None})
        return Wanted(ContentSpec(name=identity.name, path=identity.path), request)
    return Wanted(listed.about(item["name"], parameters, content_spec, item), request)


class ContentRun:
    """A run over the content of sandboxes of one host: observed, checked, planned, carried out, reported."""

    def __init__(
        self, host: SandboxHost, wanted: Sequence[SandboxContent], parameters: Mapping[str, Any], settings: Run, check_mode: bool
    ) -> None:
        self.host, self.wanted, self.parameters, self.settings, self.check_mode = host, wanted, parameters, settings, check_mode
        self.owners = self._owners()
        self.not_yet: list[str] = []  # what a run that is only predicted cannot know
        self.failures: list[StepError] = []
        self.observed: dict[str, Observed] = {}
        self.made: dict[str, layout.Layout] = {}  # what this run makes, or will have made

    def _owners(self) -> dict[Level, str]:
        """Whose each level is, the sandboxes of this run included."""
        present = {sandbox.name: sandbox.spec for sandbox in self.wanted if sandbox.present}
        return self.host.levels.whose({**self.host.declared.specs, **present}) if present else {}

    def carried_out(self) -> dict[str, Any]:
        self._observe()
        plan = self._plan()
        if not self.check_mode:
            for sandbox in self.wanted:
                declarations.record(sandbox.name, sandbox.request.declaration)
            self.failures += apply(plan, ContentHands(self.host))
        result = {"changed": plan.changed, "diff": plan.diff(), "steps": plan.summary(), **self._report()}
        return report_failures(result, self.failures)

    def _observe(self) -> None:
        """Each sandbox's content as it is; what cannot be looked at is that sandbox's failure alone."""
        specs = []
        for sandbox in self.wanted:
            try:
                spec = self._observe_one(sandbox)
            except OptionError:
                raise
            except (SandboxError, OSError) as error:
                self.failures.append(StepError(sandbox.name, "observe", str(error)))
            except Exception as error:  # whatever it is, the other sandboxes go on
                self.failures.append(StepError(sandbox.name, "observe", unexpected(error)))
            else:
                specs.append(dataclasses.replace(sandbox, spec=spec))
        self.wanted = specs

    def _observe_one(self, sandbox: SandboxContent) -> ContentSpec:
        """Look at it; returns its spec with the private paths that its units add."""
        # In check mode a task before this one has not stopped what is to be absent, and would have.
        runs = sandbox.name in self.host.running and not (self.check_mode and not sandbox.present)
        if not sandbox.present:
            self.observed[sandbox.name] = content.place(sandbox.spec, runs, self.owners)
            return sandbox.spec
        source = self._source(sandbox.spec)
        discovered = self._discovered(sandbox.spec, source)
        spec = dataclasses.replace(sandbox.spec, private=tuple(sorted({*sandbox.spec.private, *discovered.paths})))
        self.observed[sandbox.name] = content.observe(spec, runs, self.owners, source, discovered)
        self.made[sandbox.name] = spec.paths
        return spec

    def _source(self, spec: ContentSpec) -> Source | None:
        """What is to be cloned, if anything; it may be what the same run makes first."""
        origin = spec.clone_of
        if origin is None or os.path.lexists(spec.paths.root):
            return None
        source = content.observe_source(origin, origin in self.host.running, self.owners)
        if source.root is None and origin in self.made:
            return Source(origin, self.made[origin].root, self.made[origin].copied)
        return source

    def _discovered(self, spec: ContentSpec, source: Source | None) -> Discovered:
        """What the units of a sandbox add to its private paths."""
        declared = tuple((file.path, file.content) for file in spec.files)
        own = _own_units(spec, source, self.host)
        try:
            return listed.about(spec.name, self.parameters, discover, spec.units, spec.private, declared, own)
        except OptionError as error:
            if not _to_come(spec, self.check_mode):
                raise
            self.not_yet.append(str(error))
            return NOTHING

    def _note_owners(self, spec: ContentSpec, observed: Observed) -> None:
        """Owners of declared files that no account of the host has, unless a package brings it before the real run."""
        try:
            content_plan.check_owners(spec, observed)
        except OptionError as error:
            self.not_yet.append(f"{spec.name}: {error}")

    def _plan(self) -> Plan:
        """The steps; what root inside has made of a sandbox's content keeps that one from getting any."""
        plan = self._plan_rules()
        for sandbox in self.wanted:
            observed = self.observed[sandbox.name]
            if sandbox.present:
                to_come = _to_come(sandbox.spec, self.check_mode)
                if to_come:
                    self._note_owners(sandbox.spec, observed)
                if observed.unknown and to_come:
                    self.not_yet.append(f"{sandbox.name}: private: {', '.join(observed.unknown)} does not exist on the host.")
                    observed = self.observed[sandbox.name] = dataclasses.replace(observed, unknown=())
                try:
                    listed.about(sandbox.name, self.parameters, content_plan.check, sandbox.spec, observed, self.settings.foreign, to_come)
                except ContentError as error:
                    self.failures.append(StepError(sandbox.name, "check", str(error)))
                    continue
            plan.extend(
                content_plan.plan_content(sandbox.spec, sandbox.request.state, observed, self.settings.foreign, self.settings.update)
            )
        return plan

    def _plan_rules(self) -> Plan:
        """Rules by which a relabel of the host leaves content alone that is not in the usual place, for all of a run at once."""
        if selinux.mode() == "disabled":
            return Plan()
        staying = {sandbox.spec.paths.root: sandbox.name for sandbox in self.wanted if sandbox.present}
        going = {sandbox.spec.paths.root: sandbox.name for sandbox in self.wanted if not sandbox.present}
        ours = file_contexts.local_rules() if going else []
        return content_plan.plan_rules(
            add={root: staying[root] for root in file_contexts.labelled(staying)},
            remove={root: name for root, name in going.items() if file_contexts.rule(root) in ours},
        )

    def _report(self) -> dict[str, Any]:
        """What is to be known of the content beside what was done."""
        observed = {sandbox.name: self.observed[sandbox.name] for sandbox in self.wanted}
        strangers = {
            sandbox.name: content_plan.foreign(
                sandbox.spec, observed[sandbox.name].mislabelled, self.owners, observed[sandbox.name].top_context
            )
            for sandbox in self.wanted
        }
        outdated = {name: content_plan.reported(known.outdated, known.accounts, self.settings.update) for name, known in observed.items()}
        report: dict[str, Any] = {
            "foreign": {name: entries for name, entries in strangers.items() if entries},
            "foreign_links": {
                name: [printable(path) for path in known.foreign_links] for name, known in observed.items() if known.foreign_links
            },
            "outdated": {name: left for name, left in outdated.items() if left},
            "private": {sandbox.name: list(sandbox.spec.private) for sandbox in self.wanted},
            "left_out": {name: list(known.left_out) for name, known in observed.items() if known.left_out},
            "paths": {sandbox.name: sandbox.spec.paths.root for sandbox in self.wanted},
        }
        warnings = [listed.not_yet(reason) for reason in self.not_yet]
        warnings += [_outdated(name, entries) for name, entries in report["outdated"].items()]
        warnings += self._unbounded()
        warnings += [_missed(name, path) for name, known in observed.items() for path in known.missed]
        if self.settings.foreign == "report":
            warnings += [_warning(name, entry) for name, entries in report["foreign"].items() for entry in entries[:5]]
        return {**report, "warnings": warnings}

    def _unbounded(self) -> list[str]:
        """Of new content that nothing bounds, though no play has said so: one warning for each file system."""
        names: dict[str, list[str]] = {}
        for sandbox in self.wanted:
            observed = self.observed[sandbox.name]
            if sandbox.present and not observed.exists and disk.is_unbounded(sandbox.spec, observed.volume):
                names.setdefault(disk.why_not(observed.volume), []).append(sandbox.name)
        return [
            f"{', '.join(known)}: nothing bounds the disk space that the content takes. {reason} "
            "With disk: unlimited the module does not warn."
            for reason, known in names.items()
        ]


def _to_come(spec: ContentSpec, check_mode: bool) -> bool:
    """Whether a task before may only have announced the package from which the content is to be built."""
    return check_mode and not os.path.lexists(spec.paths.root)


def _own_units(spec: ContentSpec, source: Source | None, host: SandboxHost) -> tuple[str, ...]:
    """The units that the content has, or had before root inside took them away: then sandbox_service says so."""
    elsewhere = [name for name in spec.units if not systemd.units().find(name)]
    if not elsewhere:
        return ()
    paths = spec.paths
    going = content_plan.no_longer_declared(spec, content.record(paths))
    root = source.root if source and source.root else paths.root
    declared = host.declared.specs
    before = {name for sandbox in (spec.name, spec.clone_of or "") if sandbox in declared for name in declared[sandbox].units}
    # what is to be cloned may be made by this run
    to_come = source is not None and source.root is not None and not os.path.isdir(root)
    has = [name for name in elsewhere if to_come or name in before or (os.path.isdir(root) and inside.has_unit(root, name))]
    return tuple(name for name in has if not {*going} & {*unit_file.administrators(name)})


def _missed(name: str, path: str) -> str:
    return (
        f"{name}: {path} was not copied, because not everybody on the host may read it and no package brought it as it is. "
        "Name it in private to copy it."
    )


def _warning(name: str, entry: Mapping[str, Any]) -> str:
    owner = f" of {entry['owner']}" if entry["owner"] else ""
    return (
        f"{name}: {entry['path']} is at another level, {entry['level']}{owner}. The sandbox cannot use it. Set foreign: fix to relabel it."
    )


def _outdated(name: str, entries: list[dict[str, str]]) -> str:
    first = entries[0]
    return (
        f"{name}: {len(entries)} of its files differ from the host's ({first['path']}: {first['state']}). The option update can take them."
    )
