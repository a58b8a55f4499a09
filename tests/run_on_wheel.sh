#!/bin/sh
# Runs the device's tests in an environment that has only the built wheel and the test tools,
# from a folder where the source packages cannot be imported.
#   sh tests/run_on_wheel.sh .venv-edge
set -eu

environment=$(cd "$1" && pwd)
project=$(cd "$(dirname "$0")/.." && pwd)
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT

mkdir "$away/tests"
cp "$project/pyproject.toml" "$away/"
for part in edge test_imports.py media_files.py conftest.py; do
    if [ -e "$project/tests/$part" ]; then
        cp -R "$project/tests/$part" "$away/tests/"
    fi
done
cd "$away"

"$environment/bin/python" - <<'PYTHON'
import importlib.util
import sys

import edge

if "site-packages" not in str(edge.__file__):
    sys.exit(f"the tests would run on {edge.__file__}, not on the installed wheel")
for name in ("torch", "torchvision", "timm", "onnx", "sklearn", "pandas", "matplotlib"):
    if importlib.util.find_spec(name) is not None:
        sys.exit(f"{name} is installed in the device's environment; look at the dependencies")
PYTHON
"$environment/bin/edge-watch" --help > help.txt
grep -q INBOX help.txt
"$environment/bin/pytest" -q
