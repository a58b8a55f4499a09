"""Collects everything that a device without internet needs into one folder.

    python deploy/wheelhouse.py aarch64 3.11 --wheel dist/fancl-0.1.0-py3-none-any.whl --out dist

The folder holds binary wheels for that platform and Python only, a requirements.txt with the hash
of each, install.sh with what it puts in place, and SHA256SUMS over all of it. uv finds out which
versions fit, as if it ran on the device; pip fetches them. Does not build the wheel of fancl.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
PLATFORMS = ("aarch64", "x86_64")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
NEWEST_GLIBC = 28  # manylinux_2_28: what onnxruntime and faiss ask for; Debian 12 has 2.36
BESIDE = (
    "install.sh",
    "edge-watch.service",
    "edge.example.toml",
    "README.md",
    "Dockerfile",
    "ftp",
    "drop-ins",
)


class WheelhouseError(Exception):
    """What cannot be collected, and what to do; a sentence for the user."""


def check_target(platform: str, python_version: str) -> None:
    if platform not in PLATFORMS:
        raise WheelhouseError(
            f"PLATFORM={platform!r} is not one of {', '.join(PLATFORMS)}: the device must run a "
            "64-bit system, for 32-bit ones such as armv7l there is no onnxruntime and no faiss; "
            "ask the device with `uname -m`"
        )
    if python_version not in PYTHONS:
        raise WheelhouseError(
            f"PYTHON_VERSION={python_version!r} is not one of {', '.join(PYTHONS)}; "
            "ask the device with `python3 --version`"
        )


def platform_tags(platform: str) -> list[str]:
    """Every platform tag whose wheels run there, the newest first."""
    tags = [f"manylinux_2_{minor}_{platform}" for minor in range(NEWEST_GLIBC, 16, -1)]
    tags.append(f"manylinux2014_{platform}")
    if platform == "x86_64":
        tags += [f"manylinux_2_12_{platform}", f"manylinux2010_{platform}"]
        tags += [f"manylinux_2_5_{platform}", f"manylinux1_{platform}"]
    return tags


def lock_lines(wheels: list[Path]) -> list[str]:
    """A line of requirements.txt for each wheel, with the hash of exactly that file."""
    lines = []
    for wheel in sorted(wheels):
        name, version = wheel.name.split("-")[:2]
        distribution = re.sub(r"[-_.]+", "-", name).lower()
        lines.append(f"{distribution}=={version} --hash=sha256:{_sha256(wheel)}")
    return lines


def write_sums(folder: Path) -> None:
    """SHA256SUMS over every file of the folder, as sha256sum --check reads it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def collect(platform: str, python_version: str, wheel: Path, out: Path) -> Path:
    """The finished folder; it takes the place of an older one of the same name."""
    target = out / f"wheelhouse-{platform}-py{python_version}"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".wheelhouse-") as scratch:
        lock, folder = Path(scratch) / "lock.txt", Path(scratch) / "new"
        _resolve(platform, python_version, lock)
        _download(platform, python_version, lock, folder / "wheels")
        shutil.copy(wheel, folder / "wheels")
        fill(folder, platform, python_version)
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    return target


def fill(folder: Path, platform: str, python_version: str) -> None:
    """Puts everything beside the wheels that are already in `folder`/wheels."""
    lines = lock_lines(list((folder / "wheels").glob("*.whl")))
    (folder / "requirements.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    (folder / "TARGET").write_text(f"{platform} {python_version}\n", encoding="utf-8")
    for name in BESIDE:
        if (DEPLOY / name).is_dir():
            shutil.copytree(DEPLOY / name, folder / name)
        else:
            shutil.copy(DEPLOY / name, folder)
    write_sums(folder)


def _resolve(platform: str, python_version: str, lock: Path) -> None:
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    command = [str(uv), "pip", "compile", "--quiet", "--generate-hashes"]
    command += ["--only-binary", ":all:", "--python-version", python_version]
    command += ["--python-platform", f"{platform}-manylinux_2_{NEWEST_GLIBC}"]
    command += ["--extra", "edge", "--output-file", str(lock)]
    command += [str(DEPLOY.parent / "pyproject.toml"), "-"]
    _run(
        command,
        told="pip\n",  # the device's Python may come without it
        failing=f"no set of binary wheels fits Python {python_version} on {platform}",
    )


def _download(platform: str, python_version: str, lock: Path, folder: Path) -> None:
    abi = "cp" + python_version.replace(".", "")
    tags = [word for tag in platform_tags(platform) for word in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--implementation", "cp"]
    command += ["--python-version", python_version, *tags]
    command += ["--abi", abi, "--abi", "abi3", "--abi", "none"]
    command += ["--dest", str(folder), "--requirement", str(lock)]
    _run(
        command,
        told="",
        failing="the wheels could not be fetched",
    )


def _run(command: list[str], told: str, failing: str) -> None:
    try:
        done = subprocess.run(command, input=told, text=True, check=False)
    except FileNotFoundError as error:
        raise WheelhouseError(
            f"{command[0]} is missing; call this by `make wheelhouse`, which installs it"
        ) from error
    if done.returncode:
        raise WheelhouseError(f"{failing}; the lines above say why")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("platform", help="of the device: " + ", ".join(PLATFORMS))
    parser.add_argument("python_version", help="of the device, as 3.11")
    parser.add_argument("--wheel", type=Path, help="of fancl; without it, only checks the target")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="where the folder goes")
    given = parser.parse_args()
    try:
        check_target(given.platform, given.python_version)
        if given.wheel:
            folder = collect(given.platform, given.python_version, given.wheel, given.out)
            wheels = list((folder / "wheels").iterdir())
            megabytes = sum(path.stat().st_size for path in wheels) / 1e6
            print(f"{folder}: {len(wheels)} wheels, {megabytes:.0f} MB; bring it to the device,")
            print("then: sudo sh install.sh")
    except WheelhouseError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
