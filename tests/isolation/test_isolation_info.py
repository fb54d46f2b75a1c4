# SPDX-License-Identifier: GPL-3.0-or-later
"""What sandbox_isolation_info says of the sandboxes of a host, and that a policy's file says the same as the kernel that has loaded it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, LABEL, SERVICE
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, inventory, sandboxes_gone, shell_task

ONE, OTHER = "it-iso-a", "it-iso-b"
LEVELS = {ONE: "s0:c941,c942", OTHER: "s0:c943,c944"}
ISOLATION = "virt.sandbox.sandbox_isolation_info"
SPEC = f"/etc/libvirt-sandbox/services/{OTHER}.sandbox"

POLICY = "/run/it-policy"
# types of several kinds, with levels that are apart, the same, and dominate each other
DECLARED = [
    {"name": "apart", "level": "s0:c945,c946"},
    {"name": "twin", "level": "s0:c945,c946"},
    {"name": "part", "level": "s0:c945"},
    {"name": "machine", "level": "s0:c946,c947", "process_type": "svirt_t", "file_type": "svirt_image_t"},
    {"name": "small-machine", "level": "s0:c946", "process_type": "svirt_t", "file_type": "svirt_image_t"},
    {"name": "init", "level": "s0:c948,c949", "process_type": "init_t", "file_type": "var_lib_t"},
    {"name": "administrator", "level": "s0:c950", "process_type": "sysadm_t", "file_type": "user_home_t"},
]
# a type of the host's own web server, which reads what users have only while a boolean says so
WEB = [{"name": "web", "level": "s0:c951", "process_type": "httpd_t", "file_type": "httpd_sys_content_t"}]
# the levels of a lock file, as the guide takes them
LOCK_FILE = {"web1/shop": "s0:c1,c2", "web1/blog": "s0:c1", "web2/shop": "s0:c3,c4"}
BOOLEAN = "httpd_read_user_content"
ANSWERS = ("separate", "leaks", "matrix", "questions")

# who acts on what OTHER has: (whose mounts, level); the last one dominates OTHER's level
ACTORS = {"the same": (OTHER, LEVELS[OTHER]), "another": (ONE, LEVELS[ONE]), "one that dominates": (ONE, "s0:c941.c944")}
CLASSES = (Path(__file__).with_name("classes.py")).read_text(encoding="utf-8")
# terminals and devices are in the mounts of their sandbox alone, and the filter of system calls lets no sandbox have a key
NOT_TRIED = {"virt_sandbox_devpts_t chr_file", "container_file_t chr_file", "container_file_t dir", "virt_sandbox_t key"}
KEEP = f"""
virt-sandbox exec {OTHER} -- /usr/bin/python3 - keep </run/it-classes.py >/run/it-kept 2>&1 &
for n in $(seq 50); do grep -q msgq /run/it-kept && break; sleep 0.2; done
cat /run/it-kept
"""


def act(title: str) -> Task:
    """In OTHER's namespaces, with the mounts of somebody and at a level of somebody's, so that nothing but the level is in the way."""
    whose, level = ACTORS[title]
    script = f"python3 /run/it-classes.py enter {whose} {OTHER} {level} {LEVELS[OTHER]}; code=$?; rm -r /run/it-things-*; exit $code"
    return shell_task(f"act from {title} level", script, changed_when=False)


def question(title: str, **options: Any) -> Task:
    return {"name": title, ISOLATION: options}


@pytest.fixture(scope="module")
def played(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    fetched = tmp_path_factory.mktemp("policies")
    names = [ONE, OTHER]
    running = [{"name": name, "level": LEVELS[name], "units": ["systemd-tmpfiles-clean.timer"]} for name in names]
    labelled = [{"name": name, "level": LEVELS[name]} for name in names]
    same = f"cp {SPEC} /run/it-spec; sed -i 's/{LEVELS[OTHER]}/{LEVELS[ONE]}/' {SPEC}"
    tasks: list[Task] = [
        *sandboxes_gone(names, " first"),
        {"name": "labels", LABEL: {"sandboxes": labelled}},
        {"name": "content", CONTENT: {"sandboxes": labelled}},
        {"name": "run", SERVICE: {"sandboxes": running}},
        question("all"),
        question("one", name=ONE),
        question("none of that name", name="nosuch"),
        shell_task("declare both at one level, by hand", same),
        question("at one level"),
        shell_task("the policy's file", f"cp /etc/selinux/*/policy/policy.* {POLICY}"),
        question("at one level, of the file", policy=POLICY),
        question("declared", sandboxes=DECLARED),
        question("declared, of the file", sandboxes=DECLARED, policy=POLICY),
        {"name": "fetch it", "ansible.builtin.fetch": {"src": POLICY, "dest": f"{fetched}/"}},
        question("of a lock file", sandboxes=f"{{{{ {LOCK_FILE} | dict2items(key_name='name', value_name='level') }}}}", policy=POLICY),
        {"name": "bring the script", "ansible.builtin.copy": {"content": CLASSES, "dest": "/run/it-classes.py"}},
        shell_task("keep something of each class", KEEP),
        *(
            question(
                f"predicted for {title}",
                sandboxes=[
                    {"name": name, "level": level, "process_type": "virt_sandbox_t"}
                    for name, level in (("actor", level), ("kept", LEVELS[OTHER]))
                ],
            )
            for title, (_whose, level) in ACTORS.items()
        ),
        *(act(title) for title in ACTORS),
        question("a boolean is off", sandboxes=WEB),
        shell_task("turn it on", f"setsebool {BOOLEAN} 1"),
        question("a boolean is on", sandboxes=WEB),
        shell_task("turn it off", f"setsebool {BOOLEAN} 0"),
        question("none such", sandboxes=DECLARED, policy="/nosuch"),
        question("no policy", sandboxes=DECLARED, policy="/etc/hostname"),
        question("an unknown type", sandboxes=[{"name": "a", "level": "s0:c1", "process_type": "nosuch_t"}], policy=POLICY),
        question("twice", sandboxes=[DECLARED[0], DECLARED[0]]),
        shell_task("put it right", f"mv /run/it-spec {SPEC}"),
    ]
    played = lab.play(tasks)
    # as Ansible runs it itself: the module goes on in the Python of this machine that has the binding
    here = {
        **question("declared, on the controller", sandboxes=DECLARED, policy=f"{fetched}/{{{{ inventory_hostname }}}}{POLICY}"),
        "delegate_to": "localhost",
        "become": False,
    }
    on_controller = lab.play([here], strategy="free")
    for host in lab.hosts:
        played.outcomes[host].update(on_controller.on(host))
    yield played
    lab.play(sandboxes_gone(names))


def test_separate_sandboxes_are_separate(played: Played, host: str) -> None:
    outcome = played.on(host)["all"]
    assert not outcome.failed, outcome.message
    assert outcome.result["leaks"] == []
    assert (outcome.result["separate"], outcome.result["mode"]) == (True, "enforcing")
    assert outcome.result["matrix"][ONE][OTHER] == outcome.result["matrix"][OTHER][ONE] == 0
    shown = outcome.result["sandboxes"][ONE]
    assert shown["held"] is True
    assert outcome.result["permissive"] == []
    assert shown["process"] == f"system_u:system_r:virt_sandbox_t:{LEVELS[ONE]}"
    assert outcome.result["questions"] >= 2 * 21


def test_no_container_of_another_make_reaches_the_content(played: Played, host: str) -> None:
    found = played.on(host)["all"].result["host_processes"]
    assert any(context.split(":")[2] == "init_t" for context in found)
    assert not [context for context in found if context.split(":")[2] in ("container_t", "svirt_t", "httpd_t", "mysqld_t")]


def test_one_sandbox_is_asked_about_with_every_other(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert set(outcomes["one"].result["sandboxes"]) == {ONE}
    assert outcomes["one"].result["matrix"][OTHER][ONE] == 0
    assert outcomes["none of that name"].failed
    assert "name: 'nosuch' is invalid: expected a sandbox of this host" in outcomes["none of that name"].message


def test_two_at_one_level_are_a_leak_with_both_named(played: Played, host: str) -> None:
    result = played.on(host)["at one level"].result
    assert not result["separate"]
    leaks = [leak for leak in result["leaks"] if {leak["from"], leak["to"]} == {ONE, OTHER}]
    assert {leak["why"] for leak in leaks} == {f"dominance: {LEVELS[ONE]} is {LEVELS[ONE]}"}
    assert {"file", "dir", "process", "unix_stream_socket", "shm", "sem", "msgq", "key"} <= {leak["class"] for leak in leaks}
    assert result["matrix"][ONE][OTHER] > 50


@pytest.mark.parametrize("asked", ["at one level", "declared"])
def test_a_policy_in_a_file_answers_as_the_kernel_does(played: Played, host: str, asked: str) -> None:
    kernel, file = (played.on(host)[name] for name in (asked, f"{asked}, of the file"))
    assert not kernel.failed, kernel.message
    assert not file.failed, file.message
    assert {key: file.result[key] for key in ANSWERS} == {key: kernel.result[key] for key in ANSWERS}
    assert file.result["sandboxes"] == kernel.result["sandboxes"]
    assert not {"mode", "permissive", "host_processes"} & set(file.result)


def test_types_that_are_held_to_no_level_and_levels_that_dominate_leak(played: Played, host: str) -> None:
    result = played.on(host)["declared"].result
    assert {name: shown["held"] for name, shown in result["sandboxes"].items()} == {
        **dict.fromkeys(["apart", "twin", "part", "machine", "small-machine"], True), "init": False, "administrator": False,
    }  # fmt: skip
    reasons = {(leak["from"], leak["to"]): leak["why"].split(":")[0] for leak in result["leaks"]}
    assert reasons["apart", "twin"] == reasons["machine", "small-machine"] == "dominance"
    assert reasons["init", "apart"] == "unconstrained"
    # a sandbox has nothing of a level that its own dominates either
    assert not {("apart", "part"), ("apart", "machine")} & set(reasons)


def test_the_levels_of_a_lock_file_are_asked_about_without_a_host(played: Played, host: str) -> None:
    result = played.on(host)["of a lock file"].result
    assert {(leak["from"], leak["to"]) for leak in result["leaks"]} == set()
    assert result["matrix"]["web1/shop"] == {"web1/blog": 0, "web2/shop": 0}


@pytest.mark.parametrize("actor", ACTORS)
def test_what_is_predicted_for_a_class_is_what_an_attempt_shows(played: Played, host: str, actor: str) -> None:
    outcomes = played.on(host)
    leaks = outcomes[f"predicted for {actor}"].result["leaks"]
    predicted = {f"{leak['context'].split(':')[2]} {leak['class']}" for leak in leaks if leak["from"] == "actor" and leak["to"] == "kept"}
    assert not outcomes[f"act from {actor} level"].failed, outcomes[f"act from {actor} level"].result
    shown = json.loads(outcomes[f"act from {actor} level"].stdout)
    assert {name.partition(",")[0] for name, outcome in shown.items() if outcome == "ok"} == predicted - NOT_TRIED
    assert set(shown.values()) <= {"ok", "EACCES", "EPERM"}
    assert bool(predicted) == (actor == "the same")


def test_a_boolean_is_named_that_lets_a_type_in(played: Played, host: str) -> None:
    off, on = (
        {(leak["context"], leak["class"]): leak["why"] for leak in played.on(host)[f"a boolean is {state}"].result["leaks"]}
        for state in ("off", "on")
    )
    content = ("system_u:object_r:user_home_t:s0", "file")
    assert content not in off
    assert on[content] == f"boolean: it is granted while {BOOLEAN}; setsebool changes that"
    # what the type has in any case is no boolean's doing
    assert [why for key, why in off.items() if on[key] != why] == []


def test_a_controller_answers_for_a_host(played: Played, host: str) -> None:
    """The build machine may be older than a host, and its libsepol than the policy: that is said. No host is older than the first."""
    asked, kernel = (played.on(host)[title] for title in ("declared, on the controller", "declared"))
    if asked.failed:
        assert "a compiled policy of a version that this libsepol reads" in asked.message
        assert host != inventory()[0][0]
    else:
        assert {key: asked.result[key] for key in ANSWERS} == {key: kernel.result[key] for key in ANSWERS}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("none such", "policy: '/nosuch' is invalid: expected a compiled policy that can be read"),
        ("no policy", "policy: '/etc/hostname' is invalid: expected a compiled policy"),
        ("an unknown type", "a: the policy does not know the context system_u:system_r:nosuch_t:s0:c1"),
        ("twice", "sandboxes: sandbox apart is listed more than once. List each sandbox once."),
    ],
)
def test_what_cannot_be_asked_is_said(played: Played, host: str, asked: str, message: str) -> None:
    outcome = played.on(host)[asked]
    assert outcome.failed
    assert message in outcome.message
