"""What is believed of the system's clock."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import pytest

from edge.operation import clock
from edge.operation.clock import Clock, read_clock

SYNCED, UNSYNCED, FORBIDDEN = (0, 0, 0), (5, 0x40, 0), (-1, 0, 1)


@pytest.fixture
def synced(monkeypatch):
    monkeypatch.setattr(clock, "_adjtimex", lambda: SYNCED)


def at(monkeypatch, year: int) -> None:
    moment = datetime(year, 6, 1, tzinfo=timezone.utc).timestamp()
    monkeypatch.setattr(time, "time", lambda: moment)


def test_this_systems_clock_can_be_read():
    state = read_clock()
    assert state.trusted is (state.doubt is None)
    assert state.boot_id is None or len(state.boot_id) == 36


def test_a_clock_that_is_set_is_trusted(synced, monkeypatch):
    at(monkeypatch, 2027)
    assert read_clock().trusted


@pytest.mark.parametrize("year", [1970, 2016, 2025, 2098])
def test_a_year_that_cannot_be_is_doubted(synced, monkeypatch, year):
    at(monkeypatch, year)
    state = read_clock()
    assert not state.trusted
    assert f"says {year}" in state.doubt


def test_a_clock_nobody_set_is_doubted(monkeypatch):
    monkeypatch.setattr(clock, "_adjtimex", lambda: UNSYNCED)
    at(monkeypatch, 2027)
    assert "not set by any time server" in read_clock().doubt


def test_where_the_kernel_may_not_be_asked_the_time_service_is(monkeypatch, tmp_path):
    monkeypatch.setattr(clock, "_adjtimex", lambda: FORBIDDEN)
    monkeypatch.setattr(clock, "_SYNCHRONISED", tmp_path / "synchronized")
    at(monkeypatch, 2027)
    assert "does not tell" in read_clock().doubt
    (tmp_path / "synchronized").touch()
    assert read_clock().trusted


def test_without_proc_the_start_has_no_name(monkeypatch, tmp_path):
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "boot_id")
    assert read_clock().boot_id is None


@pytest.mark.parametrize("step", [-86400 * 3650, -30, 30, 86400 * 365])
def test_a_jump_between_two_looks_is_doubted_once(synced, monkeypatch, step):
    start = datetime(2037, 1, 1, tzinfo=timezone.utc).timestamp()
    monkeypatch.setattr(time, "time", lambda: start)
    watch = Clock()
    assert watch.read().trusted
    monkeypatch.setattr(time, "time", lambda: start + step)
    assert f"jumped by {step:+.0f} s" in watch.read().doubt
    assert watch.read().trusted
