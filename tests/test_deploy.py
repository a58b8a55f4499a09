"""What is shipped to a device: the service, the container, the folder without internet.

The installer is run for real, below a folder of its own, with wheels of a few bytes.
"""

from __future__ import annotations

import ensurepip
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "edge-watch.service"
DROP_INS = sorted((DEPLOY / "drop-ins").glob("*.conf"))
HIGHEST_EXPOSURE = 1.5
COMMANDS = ("edge-watch", "edge-gallery", "edge-report", "edge-admin")
THIS_PYTHON = "{}.{}".format(*sys.version_info[:2])


def _load_wheelhouse() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheelhouse", DEPLOY / "wheelhouse.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wheelhouse = _load_wheelhouse()


def _tool(name: str) -> str:
    """The tool on this machine or beside this Python; the test is skipped where there is none."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, env={**os.environ, **environment}
    )


# --- the service


def _unit_with(drop_in: Path | None, folder: Path) -> Path:
    """The unit as systemd would find it, its program one that is there."""
    unit = folder / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    assert "ExecStart=/opt/fancl/bin/edge-watch " in text
    unit.write_text(text.replace("/opt/fancl/bin/edge-watch", sys.executable), encoding="utf-8")
    if drop_in is not None:
        (folder / f"{unit.name}.d").mkdir()
        shutil.copy(drop_in, folder / f"{unit.name}.d")
    return unit


@pytest.mark.parametrize("drop_in", [None, *DROP_INS], ids=lambda path: path and path.stem)
def test_systemd_understands_every_line_of_the_service(
    drop_in: Path | None, tmp_path: Path
) -> None:
    done = _run(_tool("systemd-analyze"), "verify", _unit_with(drop_in, tmp_path))
    ours = [line for line in done.stderr.splitlines() if UNIT.stem in line]
    assert (done.returncode, ours) == (0, [])


def test_the_service_is_exposed_as_little_as_promised(tmp_path: Path) -> None:
    done = _run(_tool("systemd-analyze"), "security", "--offline=true", UNIT)
    found = re.search(r"exposure level for edge-watch.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found.group(1)) <= HIGHEST_EXPOSURE


def _named_calls(analyze: str) -> dict[str, set[str]]:
    """Which names each @group of systemd holds, groups within it included by name."""
    groups: dict[str, set[str]] = {}
    for line in _run(analyze, "syscall-filter").stdout.splitlines():
        if line.startswith("@"):
            current = groups.setdefault(line.split()[0], set())
        elif line.strip() and not line.lstrip().startswith("#"):
            current.add(line.strip())
    return groups


def _expand(names: list[str], groups: dict[str, set[str]]) -> set[str]:
    calls: set[str] = set()
    for name in names:
        calls |= _expand(sorted(groups[name]), groups) if name.startswith("@") else {name}
    return calls


def test_the_service_may_limit_its_decoders_and_read_the_clock_but_not_touch_the_system() -> None:
    groups = _named_calls(_tool("systemd-analyze"))
    allowed = _expand(["@default"], groups)
    unit = UNIT.read_text(encoding="utf-8")
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit, re.M):
        names = line.removeprefix("~").split()
        calls = _expand(names, groups)
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    if re.search("^ProtectClock=yes", unit, re.M):
        allowed -= _expand(["@clock"], groups)
    needed = {
        "adjtimex",
        "clock_adjtime",
        "setrlimit",
        "prlimit64",
        "prctl",
        "memfd_create",
        "sched_setaffinity",
        "clone3",
    }
    needed |= {"fdatasync", "flock", "inotify_add_watch", "pidfd_open", "kill", "sendmsg"}
    assert needed - allowed == set()
    assert allowed & {"mount", "ptrace", "reboot", "init_module", "settimeofday", "chroot"} == set()


# --- shell and container


def test_the_installer_passes_shellcheck() -> None:
    done = _run(_tool("shellcheck"), DEPLOY / "install.sh")
    assert done.returncode == 0, done.stdout


def test_the_dockerfile_passes_hadolint() -> None:
    done = _run(_tool("hadolint"), DEPLOY / "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_the_container_copies_only_what_the_wheelhouse_holds(small_house: Path) -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [
        line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line
    ]
    assert copied and all((small_house / name).exists() for name in copied)


# --- the folder without internet


def test_a_32_bit_device_is_told_that_it_needs_64_bits() -> None:
    done = _run(sys.executable, DEPLOY / "wheelhouse.py", "armv7l", "3.11")
    assert done.returncode == 1
    assert "64-bit" in done.stderr and "armv7l" in done.stderr


def test_every_platform_takes_wheels_down_to_glibc_2_17() -> None:
    for name in wheelhouse.PLATFORMS:
        tags = wheelhouse.platform_tags(name)
        assert {f"manylinux_2_28_{name}", f"manylinux_2_17_{name}"} <= set(tags)


def test_the_lock_names_each_wheel_with_its_own_hash(small_house: Path) -> None:
    lines = (small_house / "requirements.txt").read_text(encoding="utf-8").splitlines()
    digest = hashlib.sha256((small_house / "wheels" / FANCL).read_bytes()).hexdigest()
    assert f"fancl==9.0.0 --hash=sha256:{digest}" in lines
    assert len(lines) == len(list((small_house / "wheels").iterdir()))


# --- the installer


FANCL = "fancl-9.0.0-py3-none-any.whl"


def _write_wheel(path: Path, module: str, code: str, scripts: tuple[str, ...] = ()) -> None:
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    files = {
        f"{module}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\n"
        + "".join(f"{script} = {module}:main\n" for script in scripts),
    }
    record = "".join(f"{one},,\n" for one in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for one, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(one, text)


def _pip_wheel() -> Path:
    folders = (Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels"))
    found = [wheel for folder in folders for wheel in folder.glob("pip-*.whl")]
    if not found:
        pytest.skip("this Python comes without a wheel of pip")
    return found[0]


def _fill_house(folder: Path, answer: str, runs: bool = True) -> Path:
    """A folder like that of `make wheelhouse`; its commands print `answer`."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in wheelhouse.PLATFORMS:
        pytest.skip("the device's side is for 64-bit Linux")
    (folder / "wheels").mkdir(parents=True)
    shutil.copy(_pip_wheel(), folder / "wheels")
    code = f"def main():\n    print({answer!r})\n    raise SystemExit({0 if runs else 3})\n"
    _write_wheel(folder / "wheels" / FANCL, "tiny_fancl", code, COMMANDS)
    _write_wheel(folder / "wheels" / "onnxruntime-9.0.0-py3-none-any.whl", "onnxruntime", "")
    wheelhouse.fill(folder, machine, THIS_PYTHON)
    return folder


@pytest.fixture(scope="module")
def small_house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _fill_house(tmp_path_factory.mktemp("house") / "first", "the first program")


@pytest.fixture(scope="module")
def installed(small_house: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("device")
    done = _install(small_house, root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def machine(installed: Path, tmp_path: Path) -> Path:
    """A device on which the first program is installed and a systemd says it runs."""
    root = tmp_path / "device"
    shutil.copytree(installed, root, symlinks=True)
    for script in root.glob("opt/fancl.a/bin/edge-*"):
        text = script.read_text(encoding="utf-8")
        script.write_text(text.replace(str(installed), str(root)), encoding="utf-8")
    (root / "run" / "systemd" / "system").mkdir(parents=True)
    return root


def _install(house: Path, root: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return _run(
        *("sh", house / "install.sh", "--root", root, *words),
        PYTHON=sys.executable,
        **env,
    )


def _fake_systemctl(folder: Path, *, failing_starts: int = 0) -> str:
    """A PATH with a systemctl that writes down what it is asked, and fails the first starts."""
    folder.mkdir()
    (folder / "left").write_text("x" * failing_starts)
    script = folder / "systemctl"
    script.write_text(
        f'#!/bin/sh\ncd {folder}\necho "$*" >> calls\n'
        "case $1 in\n    is-active) echo active ;;\n"
        '    start) [ ! -s left ] || { printf %s "$(cut -c2- left)" > left; exit 1; } ;;\nesac\n'
    )
    script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def _answer(root: Path) -> str:
    return _run(root / "opt/fancl/bin/edge-watch", "--version").stdout.strip()


def test_a_fresh_install_has_all_commands_the_service_and_the_settings(installed: Path) -> None:
    assert _answer(installed) == "the first program"
    for command in COMMANDS:
        assert (
            str((installed / "usr/local/bin" / command).readlink()) == f"/opt/fancl/bin/{command}"
        )
    unit = installed / "etc/systemd/system/edge-watch.service"
    assert unit.read_bytes() == UNIT.read_bytes()
    settings = installed / "etc/edge-watch/config.toml"
    assert settings.read_bytes() == (DEPLOY / "edge.example.toml").read_bytes()
    assert (installed / "camera/inbox").is_dir() and (installed / "var/lib/edge-watch").is_dir()
    assert (installed / "opt/fancl/share/README.md").is_file()


def test_an_update_keeps_settings_and_stops_the_service_meanwhile_and_rolls_back(
    machine: Path, tmp_path: Path
) -> None:
    (machine / "etc/edge-watch/config.toml").write_text("settle_seconds = 5.0\n")
    second = _fill_house(tmp_path / "second", "the second program")
    path = _fake_systemctl(tmp_path / "bin")

    done = _install(second, machine, PATH=path)

    assert done.returncode == 0, done.stderr
    assert _answer(machine) == "the second program"
    assert (machine / "etc/edge-watch/config.toml").read_text() == "settle_seconds = 5.0\n"
    calls = (tmp_path / "bin/calls").read_text().splitlines()
    steps = [call for call in calls if call.split()[0] in {"stop", "start", "daemon-reload"}]
    assert steps == ["stop edge-watch", "daemon-reload", "start edge-watch"]

    assert _install(second, machine, "--rollback", PATH=path).returncode == 0
    assert _answer(machine) == "the first program"


@pytest.mark.slow
def test_a_program_that_does_not_answer_never_takes_the_place_of_one_that_does(
    machine: Path, tmp_path: Path
) -> None:
    broken = _fill_house(tmp_path / "broken", "", runs=False)
    path = _fake_systemctl(tmp_path / "bin")
    done = _install(broken, machine, PATH=path)
    assert done.returncode == 1 and "nothing was changed" in done.stderr
    assert _answer(machine) == "the first program"
    assert not (tmp_path / "bin/calls").exists()
    assert "no program before" in _install(broken, machine, "--rollback", PATH=path).stderr


def test_where_the_service_does_not_start_with_a_program_the_one_before_runs_again(
    machine: Path, tmp_path: Path
) -> None:
    shutil.copytree(machine / "opt/fancl.a", machine / "opt/fancl.b", symlinks=True)
    path = _fake_systemctl(tmp_path / "bin", failing_starts=1)
    done = _run("sh", DEPLOY / "install.sh", "--root", machine, "--rollback", PATH=path)
    assert done.returncode == 1 and "taken back" in done.stderr
    assert str((machine / "opt/fancl").readlink()) == "fancl.a"
    assert not (machine / "opt/fancl.b/complete").exists()
    assert (tmp_path / "bin/calls").read_text().splitlines()[-1] == "start edge-watch"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("wheels/" + FANCL, b"another", "damaged or missing"),
        ("TARGET", b"riscv64 3.11\n", "this folder is for riscv64"),
        ("TARGET", f"{platform.machine()} 3.9\n".encode(), "this folder is for Python 3.9"),
    ],
)
def test_a_folder_that_is_damaged_or_of_another_machine_changes_nothing(
    file: str, content: bytes, said: str, small_house: Path, tmp_path: Path
) -> None:
    house = tmp_path / "house"
    shutil.copytree(small_house, house)
    (house / file).write_bytes(content)
    done = _install(house, tmp_path / "device")
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert list((tmp_path / "device").rglob("fancl*")) == []


def test_uninstalling_leaves_what_the_device_knows(
    machine: Path, small_house: Path, tmp_path: Path
) -> None:
    (machine / "var/lib/edge-watch/edge.db").write_bytes(b"a season")
    path = _fake_systemctl(tmp_path / "bin")
    assert _install(small_house, machine, "--uninstall", PATH=path).returncode == 0
    assert list(machine.glob("opt/*")) == list(machine.glob("usr/local/bin/*")) == []
    assert not (machine / "etc/systemd/system/edge-watch.service").exists()
    assert (machine / "var/lib/edge-watch/edge.db").read_bytes() == b"a season"
    assert (machine / "etc/edge-watch/config.toml").exists()
    assert "disable --now edge-watch" in (tmp_path / "bin/calls").read_text()
