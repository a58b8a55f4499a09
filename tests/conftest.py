"""What tests of several packages share; imports nothing of the trainer until a test asks for it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SHARED.is_dir():
        return
    skip = pytest.mark.skip(reason="the shared data sets do not lie beside the project")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(skip)


@pytest.fixture
def shared() -> Path:
    """The folder with real animals, camera-trap files and weights; only for `data` tests."""
    return SHARED


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny drawn camera-trap world."""
    from trainer.synthetic import draw_world, tiny_plan

    root = tmp_path_factory.mktemp("drawn") / "world"
    draw_world(root, seed=7, plan=tiny_plan())
    return root


@pytest.fixture
def labelled(world: Path, tmp_path: Path) -> Path:
    """The drawn training pictures as a table with identities and all three splits."""
    with (world / "truth.csv").open(newline="", encoding="utf-8") as file:
        rows = [one for one in csv.DictReader(file) if one["part"] == "train" and one["identity"]]
    splits = ("train", "train", "query", "gallery")
    lines = [
        f"{world / 'train' / row['path']},{row['identity']},{splits[index % 4]}"
        for index, row in enumerate(rows)
    ]
    table = tmp_path / "metadata.csv"
    table.write_text("\n".join(["path,identity,split", *lines]) + "\n")
    return table


@pytest.fixture(scope="session")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seconds on the tiny world."""
    from trainer.run import train

    from .tiny_run import Quiet, request_for

    out = tmp_path_factory.mktemp("runs") / "tiny"
    train(request_for(world, out), Quiet())
    return out


@pytest.fixture(scope="session")
def model_file(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file of the tiny run."""
    from export.model_file import export_model

    from .tiny_run import Quiet, export_request

    out = tmp_path_factory.mktemp("models") / "model.onnx"
    export_model(export_request(trained, out, name="tiny"), Quiet())
    return out
