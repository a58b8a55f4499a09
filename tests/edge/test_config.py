from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from edge.config import After, Settings, _settings, override, read_settings
from edge.errors import ConfigError

from .conftest import draw, save


def test_a_flag_beats_the_file_which_beats_the_default(tmp_path):
    file = tmp_path / "edge.toml"
    file.write_text('after = "move"\nsettle_seconds = 5\nmodel = "m.onnx"\n')
    settings = override(read_settings(file), after=After.delete, boxes=None)
    assert settings == Settings(
        after=After.delete, settle_seconds=5.0, model=tmp_path / "m.onnx", rescan_seconds=60.0
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("settle_second = 2", "unknown key settle_second; the keys are after, archive_days"),
        ("after = 'burn'", 'must be one of "keep", "move", "delete"'),
        ("settle_seconds = 'long'", "settle_seconds = 'long' must be a number from 0 to 3600"),
        ("settle_seconds = -1", "must be a number from 0 to 3600"),
        ("settle_seconds = true", "must be a number from 0 to 3600"),
        ("settle_seconds = nan", "settle_seconds = nan must be a number from 0 to 3600"),
        ("event_gap_seconds = inf", "event_gap_seconds = inf must be a number from 0 to 86400"),
        ("rescan_seconds = 1e300", "must be a number from 0 to 86400"),
        ("min_confidence = 7", "min_confidence = 7 must be a number from 0 to 1"),
        ("num_threads = 100000", "must be a whole number from 0 to 1024"),
        ("num_threads = 1.5", "must be a whole number"),
        ("model = 3", "must be a file's name in quotes"),
        ("this is not toml", "is not a TOML file"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, text, told):
    file = tmp_path / "edge.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_settings(file)


def test_every_number_has_its_range():
    numbers = {one.name for one in fields(Settings) if isinstance(one.default, (int, float))}
    for key in numbers:
        with pytest.raises(ConfigError, match=f"{key} = inf must be a .*number from 0 to"):
            _settings({key: float("inf")}, Path("edge.toml"))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the settings"):
        read_settings(tmp_path / "none.toml")


def test_the_settings_reach_the_watch(known, tmp_path):
    file = tmp_path / "edge.toml"
    file.write_text('event_gap_seconds = 5\nafter = "delete"\n')
    first = save(known.inbox / "1.jpg", draw("A", shot=1), "2026-05-01 06:30:00")
    second = save(known.inbox / "2.jpg", draw("A", shot=2), "2026-05-01 06:30:20")
    known.watch("--config", str(file), "--after", "keep")
    assert first.exists() and second.exists()
    assert len(known.rows("event")) == 2
