"""Other ways from the same photos to the same answers, each a program of its own, for comparison.

    python benchmarks/rivals.py plain --model resnet50 --gallery known.npy PHOTO ...
    python benchmarks/rivals.py wildlife-tools --model resnet50 --gallery known.npy PHOTO ...

`plain` is what one would write: Pillow, torchvision's transforms, torch as it comes, numpy. The
other is wildlife-tools from PyPI as its README shows it, with batches of 32 (its 128 would leave
nothing to do beside the first batch). Prints JSON; the seconds begin when all is imported and the
network is there, and end with the last answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from speed_models import find_model, torch_encoder
from torchvision import transforms

_STARTED = time.perf_counter()
_WILDLIFE_BATCH = 32

app = typer.Typer(add_completion=False)
ModelName = Annotated[str, typer.Option("--model")]
GalleryFile = Annotated[Path, typer.Option("--gallery")]
PhotoFiles = Annotated[list[Path], typer.Argument()]


@app.command()
def plain(model: ModelName, gallery: GalleryFile, photos: PhotoFiles) -> None:
    """Pillow, torch and numpy."""
    network = torch_encoder(find_model(model))
    prepare = _transform(model)
    known_MD = np.load(gallery)
    began = time.perf_counter()
    nearest = []
    with torch.inference_mode():
        for path in photos:
            image = Image.open(path).convert("RGB")
            emb_D = network(prepare(image)[None])[0].numpy()
            nearest.append(int(np.argmax(known_MD @ emb_D)))
    _tell(began, nearest)


@app.command("wildlife-tools")
def wildlife_tools(model: ModelName, gallery: GalleryFile, photos: PhotoFiles) -> None:
    """WildlifeDataset, DeepFeatures, CosineSimilarity."""
    import pandas as pd
    from wildlife_tools.data import WildlifeDataset
    from wildlife_tools.features import DeepFeatures
    from wildlife_tools.similarity import CosineSimilarity

    network = torch_encoder(find_model(model))
    known_MD = np.load(gallery)
    table = pd.DataFrame({"path": [str(one) for one in photos], "identity": "?"})
    began = time.perf_counter()
    dataset = WildlifeDataset(table, transform=_transform(model))
    found_ND = DeepFeatures(network, batch_size=_WILDLIFE_BATCH)(dataset)
    similarity_NM = CosineSimilarity()(found_ND, known_MD)["cosine"]
    _tell(began, [int(one) for one in similarity_NM.argmax(axis=1)])


def _transform(model: str) -> transforms.Compose:
    chosen = find_model(model)
    spec = torch_encoder(chosen).spec
    return transforms.Compose(
        [
            transforms.Resize((chosen.height, chosen.width)),
            transforms.ToTensor(),
            transforms.Normalize(spec.mean, spec.std),
        ]
    )


def _tell(began: float, nearest: Sequence[int]) -> None:
    now = time.perf_counter()
    print(
        json.dumps(
            {
                "num_photos": len(nearest),
                "seconds": now - began,
                "start_seconds": began - _STARTED,
                "num_different_answers": len(set(nearest)),
            }
        )
    )


if __name__ == "__main__":
    app()
