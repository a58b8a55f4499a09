"""The doctor on good and on broken devices."""

from __future__ import annotations

import importlib.metadata
import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path

import apsw
import pytest

from edge.config import After, Settings
from edge.doctor import card, doctor_folders, doctor_hardware, doctor_software
from edge.doctor.card import CardSpeed, measure_card
from edge.doctor.doctor import CHECKS, examine, worst
from edge.doctor.finding import Examined, Finding, ok
from edge.intake.mounts import Mount, mount_of
from edge.operation import machine
from edge.operation.clock import ClockState
from edge.operation.machine import Memory
from edge.record.disk import Space
from edge.record.state import StateFolder, locked

from .conftest import draw, save, write_model

GB = 10**9


def examined(folder: Path, inbox: Path | None = None, **settings: object) -> Examined:
    return Examined(
        folder=StateFolder(root=folder),
        settings=Settings(**settings),  # type: ignore[arg-type]
        inbox=inbox,
        clock=time.monotonic,
    )


@pytest.fixture
def quick_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "_PHASE_SECONDS", 0.02)


# --- the machine, from files as the kernel writes them

MOUNTS = r"""
20 1 8:2 / / rw,relatime shared:1 - ext4 /dev/root rw
21 20 0:5 / /mnt/my\040card rw shared:2 - vfat /dev/sda1 rw,uid=0
22 20 0:6 / /var/lib rw - ext4 /dev/sdb1 ro,errors=remount-ro
23 20 0:7 / /mnt/net ro - nfs4 hub:/pictures rw
24 20 0:8 / /mnt/twice rw - ext4 /dev/sdc1 rw
25 20 0:9 / /mnt/twice rw - tmpfs tmpfs rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind", "read_only"),
    [
        ("/srv/x", "ext4", False),
        ("/mnt/my card/state", "vfat", False),
        ("/mnt/my cardboard", "ext4", False),
        ("/var/lib/edge-watch", "ext4", True),
        ("/mnt/net", "nfs4", True),
        ("/mnt/twice/a", "tmpfs", False),  # what was mounted later covers what lies below
    ],
)
def test_a_path_lies_on_the_deepest_mount(tmp_path, path, kind, read_only):
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    mount = mount_of(path, table)
    assert (mount.fs_type, mount.is_read_only) == (kind, read_only)


def test_memory_heat_supply_and_clock_are_read_as_the_kernel_writes_them(tmp_path):
    table = "MemTotal:  1000 kB\nMemAvailable:  400 kB\nHugePages_Total:  0\nSwapTotal: 100 kB\n"
    found = machine.memory(table)
    assert found == Memory(total_bytes=1024000, available_bytes=409600, swap_bytes=102400)
    assert machine.temperature_celsius(tmp_path) is None
    for number, text in enumerate(["51234\n", "48000", "-274000", "", "hot"]):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(text)
    assert machine.temperature_celsius(tmp_path) == 51.234
    assert machine.throttling(tmp_path) is None
    firmware = tmp_path / "soc@107c000000" / "soc@107c000000:firmware"
    firmware.mkdir(parents=True)
    (firmware / "get_throttled").write_text("50001\n")
    assert machine.throttling(tmp_path) == [
        "the supply voltage is too low",
        "the supply voltage was too low",
        "the processor was slowed down",
    ]
    assert not machine.has_hardware_clock(tmp_path)
    (tmp_path / "rtc0").mkdir()
    assert machine.has_hardware_clock(tmp_path)


def test_the_kernel_of_this_machine_answers():
    assert mount_of(str(Path.cwd())).fs_type
    assert machine.memory().total_bytes > 0


def test_the_card_is_measured_and_nothing_is_left_behind(tmp_path, quick_card):
    measured = measure_card(tmp_path, time.perf_counter)
    assert measured is not None
    assert measured.commits_per_second > 0 and measured.megabytes_per_second > 0
    assert list(tmp_path.iterdir()) == []


def test_a_nearly_full_disk_is_not_filled_for_a_measurement(tmp_path, monkeypatch):
    little = Space(free_bytes=10**8, free_files=None, is_read_only=False)
    monkeypatch.setattr(card, "space", lambda _: little)
    assert measure_card(tmp_path, time.perf_counter) is None


# --- good and broken devices, check by check


def level(finding: Finding) -> tuple[str, bool]:
    return finding.level, bool(finding.advice)


FILE_SYSTEMS = {
    "ext4": "ok", "btrfs": "ok", "vfat": "problem", "exfat": "problem", "nfs4": "problem",
    "cifs": "problem", "fuse.sshfs": "problem", "overlay": "problem", "tmpfs": "problem",
    "reiserfs": "advice",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "expected"), FILE_SYSTEMS.items())
def test_the_state_belongs_on_a_linux_disk(tmp_path, monkeypatch, kind, expected):
    mount = Mount(point="/x", fs_type=kind, is_read_only=False)
    monkeypatch.setattr(doctor_folders, "mount_of", lambda _: mount)
    found = doctor_folders.check_file_system(examined(tmp_path / "not" / "yet"))
    assert level(found) == (expected, expected != "ok")
    assert kind in found.message


def test_a_disk_that_went_read_only_is_a_problem(tmp_path, monkeypatch):
    mount = Mount(point="/x", fs_type="ext4", is_read_only=True)
    monkeypatch.setattr(doctor_folders, "mount_of", lambda _: mount)
    assert level(doctor_folders.check_file_system(examined(tmp_path))) == ("problem", True)


@pytest.mark.parametrize(
    ("free_bytes", "free_files", "expected"),
    [
        (20 * GB, 10**6, "ok"),
        (20 * GB, None, "ok"),  # a file system without a fixed number of files
        (GB // 2, 10**6, "advice"),
        (GB // 20, 10**6, "problem"),
        (20 * GB, 5000, "advice"),
        (20 * GB, 10, "problem"),
    ],
)
def test_space_and_room_for_files(tmp_path, monkeypatch, free_bytes, free_files, expected):
    left = Space(free_bytes=free_bytes, free_files=free_files, is_read_only=False)
    monkeypatch.setattr(doctor_folders, "space", lambda _: left)
    found = doctor_folders.check_space(examined(tmp_path))
    assert level(found) == (expected, expected != "ok")


@pytest.mark.parametrize(
    ("year", "synchronised", "battery", "expected"),
    [
        (2027, True, False, "ok"),
        (2027, False, True, "ok"),
        (2027, False, False, "advice"),
        (1970, True, True, "problem"),
        (2106, True, True, "problem"),
    ],
)
def test_the_clock(tmp_path, monkeypatch, year, synchronised, battery, expected):
    state = ClockState(boot_id=None, trusted=synchronised, doubt=None)
    monkeypatch.setattr(doctor_hardware, "read_clock", lambda: state)
    monkeypatch.setattr(machine, "has_hardware_clock", lambda: battery)
    now = datetime(year, 1, 1, tzinfo=timezone.utc)
    found = doctor_hardware.check_clock(examined(tmp_path), now)
    assert level(found) == (expected, expected != "ok")


@pytest.mark.parametrize(
    ("total", "available", "expected"),
    [(4 * GB, 2 * GB, "ok"), (4 * GB, GB // 10, "advice"), (GB // 2, GB // 2, "advice")],
)
def test_memory(tmp_path, monkeypatch, total, available, expected):
    memory = Memory(total_bytes=total, available_bytes=available, swap_bytes=0)
    monkeypatch.setattr(machine, "memory", lambda: memory)
    assert doctor_hardware.check_memory(examined(tmp_path)).level == expected


@pytest.mark.parametrize(("celsius", "expected"), [(None, "ok"), (55.0, "ok"), (83.0, "advice")])
def test_heat(tmp_path, monkeypatch, celsius, expected):
    monkeypatch.setattr(machine, "temperature_celsius", lambda: celsius)
    assert doctor_hardware.check_heat(examined(tmp_path)).level == expected


@pytest.mark.parametrize(
    ("complaints", "expected"), [(None, "ok"), ([], "ok"), (["the supply is weak"], "advice")]
)
def test_supply(tmp_path, monkeypatch, complaints, expected):
    monkeypatch.setattr(machine, "throttling", lambda: complaints)
    assert doctor_hardware.check_supply(examined(tmp_path)).level == expected


@pytest.mark.parametrize(
    ("commits", "megabytes", "expected"), [(900, 80, "ok"), (8, 80, "advice"), (900, 2, "advice")]
)
def test_card_speed(tmp_path, monkeypatch, commits, megabytes, expected):
    speed = CardSpeed(commits_per_second=commits, megabytes_per_second=megabytes)
    monkeypatch.setattr(doctor_hardware, "measure_card", lambda *_: speed)
    assert doctor_hardware.check_card(examined(tmp_path)).level == expected


def test_versions_below_the_floors_are_told(tmp_path, monkeypatch):
    device = examined(tmp_path)
    checks = (
        doctor_software.check_packages,
        doctor_software.check_onnxruntime,
        doctor_software.check_sqlite,
    )
    assert [check(device).level for check in checks] == ["ok", "ok", "ok"]
    real = importlib.metadata.version
    old = {"opencv-python-headless": "4.11.0.86", "onnxruntime": "1.23.2", "onnxruntime-gpu": "1"}

    def version(name: str) -> str:
        return old[name] if name in old and real(name) else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")
    assert [check(device).level for check in checks] == ["advice", "advice", "advice"]
    assert "CVE-2025-53644" in doctor_software.check_packages(device).message
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.31.1")  # both are there
    found = doctor_software.check_onnxruntime(device)
    assert found.level == "problem" and "pip uninstall" in found.advice


@pytest.mark.parametrize(
    ("version", "expected"),
    [("4.12.0.88", (4, 12, 0, 88)), ("1.24.0rc1", (1, 24, 0)), ("2.1+cu12", (2, 1))],
)
def test_versions_are_compared_as_numbers(version, expected):
    assert doctor_software.numbers(version) == expected


def test_the_state_folder(tmp_path):
    check = doctor_folders.check_state_rights
    assert level(check(examined(tmp_path / "absent"))) == ("advice", True)
    assert level(check(examined(tmp_path))) == ("ok", False)
    tmp_path.chmod(0o777)
    assert level(check(examined(tmp_path))) == ("problem", True)
    tmp_path.chmod(0o700)


def test_the_inbox(tmp_path, monkeypatch):
    check = doctor_folders.check_inbox
    assert level(check(examined(tmp_path))) == ("advice", True)
    assert level(check(examined(tmp_path, tmp_path / "absent"))) == ("problem", True)
    assert level(check(examined(tmp_path, tmp_path, after=After.move))) == ("ok", False)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, how: not how & os.W_OK and real(path, how))
    assert level(check(examined(tmp_path, tmp_path))) == ("ok", False)
    found = check(examined(tmp_path, tmp_path, after=After.delete))
    assert level(found) == ("problem", True) and 'after = "delete"' in found.message


def test_the_model(tmp_path):
    check = doctor_software.check_model
    found = check(examined(tmp_path))
    assert found.level == "problem" and "edge-admin model install" in found.advice
    write_model(tmp_path / "model.onnx")
    assert check(examined(tmp_path)).level == "ok"
    damaged = bytearray((tmp_path / "model.onnx").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "model.onnx").write_bytes(damaged)
    found = check(examined(tmp_path))
    assert found.level == "problem" and found.advice == "copy it again"


def test_the_database(known):
    check = doctor_software.check_database
    save(known.inbox / "1.jpg", draw("A", shot=7))
    known.watch()
    found = check(examined(known.state))
    assert found.level == "ok" and "1 picture, 0 in quarantine" in found.message
    assert check(examined(known.state / "absent")).level == "ok"
    database = known.state / "edge.db"
    whole = database.read_bytes()
    levels = []
    for start in range(4096, len(whole), 4096):  # a page broken, also of tables nobody asks for
        database.write_bytes(whole[:start] + b"\xa5" * 4096 + whole[start + 4096 :])
        levels.append(check(examined(known.state)).level)
    assert levels.count("problem") > 0.8 * len(levels)
    database.write_bytes(b"something else entirely, and long enough to be looked at" * 100)
    found = check(examined(known.state))
    assert found.level == "problem" and found.advice


def test_a_check_that_cannot_be_made_says_why_and_the_others_go_on(tmp_path):
    def refused(_: Examined) -> Finding:
        raise PermissionError(13, "Permission denied", "/x")

    checks = {"one": refused, "two": lambda _: ok("two", "fine")}
    first, second = examine(examined(tmp_path), checks)
    assert first.message == "could not be checked: Permission denied"
    assert (first.level, second.level, worst([first, second])) == ("advice", "ok", "advice")


# --- the command


def test_a_bare_device_is_examined_to_the_end(tmp_path, run, quick_card):
    state = tmp_path / "state"
    ran = run("admin", "doctor", "--state", str(state), "--inbox", str(tmp_path / "absent"))
    assert ran.code == 2
    assert all(any(word in line[9:24] for line in ran.out.splitlines()) for word in CHECKS)
    assert "there is no model" in ran.out and "edge-admin model install FILE" in ran.out
    assert f"{len(CHECKS)} checks: " in ran.out.splitlines()[-1]
    assert not state.exists()


def test_a_good_device_has_no_problem(known, run, quick_card, monkeypatch):
    trusted = ClockState(boot_id=None, trusted=True, doubt=None)
    monkeypatch.setattr(doctor_hardware, "read_clock", lambda: trusted)
    disk = Mount(point="/", fs_type="ext4", is_read_only=False)
    monkeypatch.setattr(doctor_folders, "mount_of", lambda _: disk)
    run("admin", "model", "install", str(known.model), "--state", str(known.state))
    before = sorted(path.name for path in known.state.iterdir())
    words = ("admin", "doctor", "--json", "--state", str(known.state), "--inbox", str(known.inbox))
    record = json.loads(run(*words).out)
    wrong = {one["check"] for one in record["findings"] if one["level"] != "ok"}
    assert wrong <= {"service", "space", "memory", "card speed", "heat"}
    assert (record["verdict"], run(*words).code) == ("advice", 1)  # no service runs here
    assert sorted(path.name for path in known.state.iterdir()) == before


def test_broken_settings_are_a_finding(tmp_path, run, quick_card):
    settings = tmp_path / "config.toml"
    settings.write_text("colour = 1\n")
    words = ("--state", str(tmp_path / "state"), "--config", str(settings))
    ran = run("admin", "doctor", *words)
    assert ran.code == 2
    assert ran.out.startswith("problem  settings") and "unknown key colour" in ran.out


def test_the_doctor_beside_a_running_watch_disturbs_nothing(known, run, quick_card):
    with locked(StateFolder(root=known.state)):
        ran = run("admin", "doctor", "--state", str(known.state))
    assert "another command (edge-gallery, edge-admin) has the state folder in hand" in " ".join(
        ran.out.split()
    )
