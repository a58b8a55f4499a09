"""CLIP models of open_clip's own classes, small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VIT: dict[str, Any] = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 32, "layers": 3, "width": 48, "head_width": 24, "patch_size": 8,
    },
    "text_cfg": TEXT,
}  # fmt: skip
RN50: dict[str, Any] = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None,
                   "head_width": 32},
    "text_cfg": TEXT,
}  # fmt: skip
TIMM: dict[str, Any] = {
    "embed_dim": 20,
    "vision_cfg": {
        "timm_model_name": "mobilenetv2_035", "timm_model_pretrained": False, "timm_pool": "avg",
        "timm_proj": "linear", "image_size": 64,
    },
    "text_cfg": TEXT,
}  # fmt: skip


def written(folder: Path, config: dict[str, Any]) -> str:
    """The model as a backbone's name: its description in a file."""
    path = folder / "tiny.json"
    path.write_text(json.dumps(config))
    return f"open_clip:{path}"
