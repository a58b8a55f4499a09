"""A run's clusters.csv: where its pictures are, and what makes it unusable."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from edge.clusters import ClusterRow, read_clusters
from edge.detect import Box
from edge.errors import InputError

HEADER = "path,sha256,pseudo_label,similarity_to_centre,burst,x,y,width,height"
SHA = "5" * 64


def write_run(run: Path, data: object, *lines: str, header: str = HEADER) -> Path:
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"data": str(data)}))
    table = run / "clusters.csv"
    table.write_bytes(os.fsencode("\n".join((header, *lines)) + "\n"))
    return table


def test_a_row_is_a_whole_picture_or_a_box_in_it(tmp_path):
    table = write_run(
        tmp_path / "run",
        tmp_path / "data",
        f"a/1.jpg,{SHA},3,0.9,2,,,,",
        f"2.jpg,{SHA},-1,nan,-1,0.0,0.25,0.5,0.1",
    )
    box = Box(x=0.0, y=0.25, width=0.5, height=0.1, relative=True)
    data = tmp_path / "data"
    assert read_clusters(table) == (
        ClusterRow(
            path=data / "a/1.jpg", name="a/1.jpg", sha256=SHA, pseudo_label=3, burst=2, box=None
        ),
        ClusterRow(
            path=data / "2.jpg", name="2.jpg", sha256=SHA, pseudo_label=-1, burst=-1, box=box
        ),
    )


def test_where_the_data_are_a_table_paths_are_relative_to_its_folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "metadata.csv").write_text("path\n1.jpg\n")
    (row,) = read_clusters(
        write_run(tmp_path / "run", data / "metadata.csv", f"1.jpg,{SHA},0,1,-1,,,,")
    )
    assert row.path == data / "1.jpg"


def test_the_path_is_absolute_wherever_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (row,) = read_clusters(write_run(Path("run"), "data", f"1.jpg,{SHA},0,1,-1,,,,"))
    assert row.path == tmp_path / "data" / "1.jpg"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode elsewhere")
def test_a_name_that_is_not_utf_8_leads_to_its_picture(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(b"x")
    (row,) = read_clusters(
        write_run(tmp_path / "run", tmp_path / "data", f"{name},{SHA},0,1,-1,,,,")
    )
    assert row.path.is_file()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"1.jpg,{SHA},x,1,-1,,,,", "line 2 cannot be read"),
        (f"1.jpg,{SHA},0,1,,,,,", "line 2 cannot be read"),
        (f"1.jpg,{SHA},0,1,-1", "line 2 cannot be read"),
        (f"1.jpg,{SHA},0,1,-1,0,0,1,", "line 2 cannot be read"),
        (f"1.jpg,{SHA},0,1,-1,0,0,nan,1", "line 2 cannot be read"),
        ("", "holds no crops"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path, line, told):
    with pytest.raises(InputError, match=told):
        read_clusters(write_run(tmp_path / "run", tmp_path, line))


def test_missing_columns_are_named(tmp_path):
    table = write_run(tmp_path / "run", tmp_path, f"1.jpg,{SHA},0", header="path,sha256,burst")
    with pytest.raises(InputError, match="has no column pseudo_label, x, y, width, height"):
        read_clusters(table)


def test_a_folder_without_a_table_or_without_its_config_is_a_sentence(tmp_path):
    table = write_run(tmp_path / "run", tmp_path)
    table.unlink()
    with pytest.raises(InputError, match=r"cannot read .*clusters\.csv"):
        read_clusters(table)
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"config\.json does not tell where"):
        read_clusters(table)
