"""What importing a module needs: training must work on Windows, the device without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

CONTRACT_MODULES = (
    "model",
    "preprocess",
    "encoder",
    "media",
    "decoding.header",
    "decoding.exif",
    "decoding.container",
    "decoding.clips",
    "decoding.damage",
    "decoding.decoder",
    "detect",
    "events",
    "decide",
    "calibrate",
    "errors",
    "pictures",
    "clusters",
    "model_file.describe",
)
TRAINING_STACK = (
    "torch",
    "torchvision",
    "timm",
    "open_clip",
    "onnx",
    "sklearn",
    "pandas",
    "matplotlib",
)


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", CONTRACT_MODULES)
def test_a_contract_module_imports_where_fcntl_and_resource_do_not_exist(name: str) -> None:
    done = _run(
        f"import sys\nsys.modules['fcntl'] = sys.modules['resource'] = None\nimport edge.{name}\n"
    )
    assert done.returncode == 0, done.stderr


def test_the_device_loads_nothing_of_the_training_stack() -> None:
    done = _run(
        "import importlib, pkgutil, sys\n"
        "import edge\n"
        "for one in pkgutil.walk_packages(edge.__path__, 'edge.'):\n"
        "    importlib.import_module(one.name)\n"
        f"print(*sorted({set(TRAINING_STACK)!r}.intersection(sys.modules)))\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (["edge-watch", "--version"], {"typer", "numpy"}),
        (["edge-watch", "--help"], {"numpy", "cv2", "faiss", "onnxruntime", "apsw"}),
        (["edge-admin", "health", "--help"], {"numpy", "cv2", "faiss", "onnxruntime", "apsw"}),
        (["edge-admin", "model", "info", "--help"], {"faiss", "onnxruntime"}),
    ],
)
def test_a_command_loads_only_what_it_needs(words: list[str], unneeded: set[str]) -> None:
    done = _run(
        "import sys\n"
        "from edge import cli\n"
        f"sys.argv = {words!r}\n"
        "try:\n"
        f"    cli.{words[0].removeprefix('edge-')}()\n"
        "finally:\n"
        f"    print(*sorted({unneeded!r}.intersection(sys.modules)), file=sys.stderr)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == []
