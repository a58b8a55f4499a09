"""The metrics as a program reads them."""

from __future__ import annotations

import re
from typing import get_args

from edge.errors import MediaReason
from edge.operation.health import MAX_CAMERAS, Health
from edge.operation.metrics import metrics_text

_LABEL = r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"'
_SAMPLE = re.compile(rf"([a-z_]+)(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\S+)")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Samples:
    """Prometheus text by its grammar; a name without TYPE or a sample twice is an error."""
    types: dict[str, str] = {}
    samples: Samples = {}
    assert text.endswith("\n")
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
        elif not line.startswith("# HELP "):
            found = _SAMPLE.fullmatch(line)
            assert found, line
            base = re.sub("_(sum|count)$", "", found[1])
            assert found[1] in types or types[base] == "summary", line
            labels = tuple(sorted(re.findall(_LABEL, found[2] or "")))
            assert (found[1], labels) not in samples, line
            samples[found[1], labels] = float(found[7])
    return samples


def test_what_was_told_can_be_read():
    seconds = [100.0]
    health = Health(lambda: seconds[0])
    health.count({"animal": 3, "quarantined": 1, "frames": 4, "not in boxes": 2})
    health.count_quarantined("truncated")
    health.count_camera("river-bend", 3)
    health.queue(7, 30)
    health.time("embed", 0.25)
    health.time("embed", 0.5)
    health.measured(disk_free_bytes=5 * 10**9, is_clock_trusted=False, temperature_celsius=51.5)
    health.measured(model_name='le"o\n', encoder_id="3fa2", is_database_intact=True)
    health.degrade("disk-full", "the disk is full", "free some space")
    seconds[0] += 10
    samples = parse(metrics_text(health.snapshot()))
    expected = {
        ("edgewatch_frames_total", (("outcome", "animal"),)): 3,
        ("edgewatch_frames_total", (("outcome", "blank"),)): 0,
        ("edgewatch_frames_total", (("outcome", "quarantined"),)): 1,
        ("edgewatch_quarantined_total", (("reason", "truncated"),)): 1,
        ("edgewatch_camera_frames_total", (("camera", "river-bend"),)): 3,
        ("edgewatch_queue_depth", ()): 7,
        ("edgewatch_oldest_pending_seconds", ()): 40,
        ("edgewatch_embed_seconds_sum", ()): 0.75,
        ("edgewatch_embed_seconds_count", ()): 2,
        ("edgewatch_disk_free_bytes", ()): 5e9,
        ("edgewatch_clock_trusted", ()): 0,
        ("edgewatch_db_integrity_ok", ()): 1,
        ("edgewatch_temperature_celsius", ()): 51.5,
        ("edgewatch_restarts_total", ()): 0,
        ("edgewatch_state", (("state", "degraded"),)): 1,
        ("edgewatch_state", (("state", "ok"),)): 0,
        ("edgewatch_reason", (("reason", "disk-full"),)): 1,
        ("edgewatch_model_info", (("sha", "3fa2"), ("version", r"le\"o\\x0a"))): 1,
    }
    assert {key: samples.get(key) for key in expected} == expected


def test_what_is_not_known_is_left_out():
    text = metrics_text(Health(lambda: 0.0).snapshot())
    assert "edgewatch_disk_free_bytes" not in text
    assert "edgewatch_model_info" not in text
    parse(text)


def test_no_camera_names_can_swell_or_break_the_metrics():
    health = Health(lambda: 0.0)
    names = ["a\nb", r"a\x0ab", 'c"} 1', "\\", "\udcff", "x" * 300, "x" * 301]
    names += [f"camera {number}" for number in range(1000)]
    for name in names:
        health.count_camera(name, 1)
    samples = parse(metrics_text(health.snapshot()))
    shown = {key: value for key, value in samples.items() if key[0].endswith("camera_frames_total")}
    assert len(shown) <= MAX_CAMERAS + 1
    assert sum(shown.values()) == len(names)
    assert max(len(labels[0][1]) for _, labels in shown if labels) <= 400


def test_every_reason_of_quarantine_is_a_label_from_the_start():
    text = metrics_text(Health(lambda: 0.0).snapshot())
    assert all(f'reason="{reason}"' in text for reason in get_args(MediaReason))
