"""Files of a published encoder from the Hugging Face hub, downloaded once and kept by its client.

Only two files of a repository are fetched, and no code from it is run.
"""

from __future__ import annotations

import logging
from pathlib import Path

from edge.errors import WeightsError

CONFIG = "config.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # the second, where there is no first


def fetch(model_id: str) -> Path:
    """The folder with config.json and weights of ORG/NAME, or ORG/NAME@REVISION.

    Asks the hub once and, where that fails, looks at what an earlier download has left.
    Raises WeightsError, within seconds, where neither has them.
    """
    repository, _, revision = model_id.partition("@")
    for name in WEIGHT_FILES:
        folder = _download(repository, revision or None, [CONFIG, name])
        if (folder / name).is_file():
            return folder
    raise WeightsError(
        f"{repository} on the Hugging Face hub has none of {', '.join(WEIGHT_FILES)}; download "
        "its weights by hand and give --weights FILE, with the model's config.json beside it"
    )


def _download(repository: str, revision: str | None, names: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what went wrong is told below
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=names))
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"cannot reach the Hugging Face hub for {repository} ({_first_line(error)}), and no "
            "earlier download is on this computer. Where there is internet, download its "
            f"{CONFIG} and {' or '.join(WEIGHT_FILES)} into one folder; bring it and give "
            "--weights FOLDER"
        ) from error
    except (OSError, ValueError, EntryNotFoundError) as error:  # no answer, or not the one wanted
        raise WeightsError(
            f"cannot get {repository} from the Hugging Face hub ({_first_line(error)}); check "
            "that it is written ORG/NAME and that it is public, or download it by hand and give "
            "--weights FOLDER"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
