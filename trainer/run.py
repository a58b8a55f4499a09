"""One training run from pictures to a run directory: what `fancl-train` does."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from edge.detect import BoxesFile
from edge.errors import InputError
from edge.pictures import read_collection
from edge.preprocess import InputSpec
from trainer import checkpoint
from trainer.backbone import NO_WEIGHTS, LoadedBackbone, load_backbone
from trainer.bursts import find_bursts, find_scenes, warm_up, worth_using
from trainer.checkpoint import EncoderFacts, StoredEncoder
from trainer.data import Crops, load_crops
from trainer.encoder import Encoder, Precision, autocast, set_neck_statistics, to_pixels
from trainer.fancl import EpochEnd, EpochReport, FanclConfig, Networks, train_epochs

BurstUse = Literal["auto", "on", "off"]


class Configure(Protocol):
    """Settings for the data at hand, with the user's flags applied."""

    def __call__(self, num_crops: int, use_bursts: bool, random_start: bool) -> FanclConfig: ...


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for, before the data are known."""

    data: Path
    out: Path
    boxes: Path | None
    backbone: str
    weights: str | None
    height: int
    width: int
    bursts: BurstUse
    device: torch.device
    precision: Literal["auto", "fp32", "bf16"]
    configure: Configure


class Narrator(Protocol):
    """What a run says while it goes on; the command line shows it, tests collect it."""

    def say(self, sentence: str) -> None: ...
    def progress(self, what: str, done: int, total: int, note: str = "") -> None: ...


def train(request: RunRequest, narrator: Narrator) -> None:
    """Train, or go on with, the run in `request.out`.

    Raises InputError where the data or the run directory cannot serve, WeightsError where the
    weights cannot.
    """
    spec = InputSpec(height=request.height, width=request.width, resize="squash", pad_value=0)
    _refuse_foreign_folder(request.out)
    loaded = load_backbone(request.backbone, request.weights)
    crops = _load(request, spec, narrator)
    burst_N = find_bursts(crops.facts)
    use_bursts = _use_bursts(request, loaded, burst_N, narrator)
    config = request.configure(len(crops), use_bursts, loaded.weights == NO_WEIGHTS)
    if len(crops) < config.batch_size:
        raise InputError(
            f"{len(crops)} crops are fewer than a batch of {config.batch_size} "
            f"({config.clusters_per_batch} clusters x {config.images_per_cluster} pictures): add "
            "pictures, or make batches smaller with --clusters-per-batch"
        )
    record = _record(request, spec, loaded, crops, config)
    finished = _open_run(request.out, record, narrator)
    if finished:
        return
    encoder = _new_encoder(request, loaded, config.seed)
    precision = _precision(request, encoder, narrator)
    if not (request.out / checkpoint.STATE).is_file():
        facts = _facts(config, loaded, spec, epoch=0)
        _prepare_start(request, encoder, facts, crops, config, burst_N, precision, narrator)
    _train(request, encoder, spec, loaded, crops, burst_N, config, precision, narrator)


def _refuse_foreign_folder(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not (out / checkpoint.CONFIG).is_file():
            raise InputError(f"{out} holds other files; give --out a new folder for this run")


def _load(request: RunRequest, spec: InputSpec, narrator: Narrator) -> Crops:
    collection = read_collection(request.data, split="train")
    boxes = BoxesFile(request.boxes) if request.boxes else None
    crops = load_crops(
        collection,
        spec,
        boxes,
        mapped_file=request.out / "crops.npy",
        progress=lambda done, total: narrator.progress("reading pictures", done, total),
    )
    narrator.say(f"{len(collection.pictures)} pictures, {len(crops)} crops")
    if crops.num_without_animal:
        narrator.say(f"{crops.num_without_animal} pictures show no animal (blank or not in boxes)")
    if crops.skipped:
        name, reason = crops.skipped[0]
        narrator.say(f"{len(crops.skipped)} pictures left out; the first: {name}: {reason}")
    return crops


def _use_bursts(
    request: RunRequest, loaded: LoadedBackbone, burst_N: NDArray[np.int64], narrator: Narrator
) -> bool:
    known = worth_using(burst_N)
    random_start = loaded.weights == NO_WEIGHTS
    if request.bursts == "on" and not known:
        raise InputError(
            "--bursts on, but too few pictures belong to a burst: it takes EXIF times seconds "
            "apart within a folder, or an `encounter` column"
        )
    use = request.bursts == "on" or (request.bursts == "auto" and known and random_start)
    if random_start:
        narrator.say(
            f"{request.backbone} starts from RANDOM weights: no pretrained ones were given"
        )
        if not use:
            narrator.say(
                "without bursts a random start usually collapses: give --weights, or pictures "
                "with EXIF times"
            )
    if use:
        narrator.say(f"{int(burst_N.max()) + 1} bursts: their frames count as the same animal")
    return use


def _record(
    request: RunRequest,
    spec: InputSpec,
    loaded: LoadedBackbone,
    crops: Crops,
    config: FanclConfig,
) -> dict[str, Any]:
    """config.json: equal records mean the same run."""
    return {
        "data": str(request.data.resolve()),
        "boxes": str(request.boxes.resolve()) if request.boxes else None,
        "data_digest": crops.digest,
        "num_crops": len(crops),
        "input": dataclasses.asdict(spec),
        "backbone": dataclasses.asdict(loaded.spec) | {"weights": loaded.weights},
        "settings": dataclasses.asdict(config),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The project's own commit, where it runs from a checkout."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    asked = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or None


def _open_run(out: Path, record: dict[str, Any], narrator: Narrator) -> bool:
    """Makes the run directory, or checks that it holds the same run; True when it is finished."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / checkpoint.CONFIG
    normal = json.loads(json.dumps(record))
    if not path.is_file():
        checkpoint.write_json(path, normal)
        return False
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = sorted(
        key for key in normal if key != "commit" and normal[key] != before.get(key, "absent")
    )
    if changed:
        raise InputError(
            f"{out} holds another run (different: {', '.join(changed)}); "
            "give another --out, or the same settings to go on with it"
        )
    done = len(_read_reports(out))
    total = record["settings"]["epochs"]
    if done >= total:
        narrator.say(f"{out} is finished ({done} epochs); give another --out to train again")
        return True
    narrator.say(f"going on with {out} after epoch {done} of {total}")
    return False


def _new_encoder(request: RunRequest, loaded: LoadedBackbone, seed: int) -> Encoder:
    torch.manual_seed(seed)
    if loaded.weights == NO_WEIGHTS:  # drawn again, so that the seed decides the start
        loaded = load_backbone(request.backbone, NO_WEIGHTS)
    encoder = Encoder(loaded.spec, loaded.module).to(request.device)
    return encoder.to(memory_format=torch.channels_last)


def _prepare_start(
    request: RunRequest,
    encoder: Encoder,
    facts: EncoderFacts,
    crops: Crops,
    config: FanclConfig,
    burst_N: NDArray[np.int64],
    precision: Precision,
    narrator: Narrator,
) -> None:
    """What precedes the first epoch: the neck's statistics, the stored control, the warm-up."""
    set_neck_statistics(encoder, crops.images_NHWC, request.device, "fp32")
    checkpoint.save_encoder(
        request.out / checkpoint.START, StoredEncoder(encoder=encoder, facts=facts)
    )
    if config.warm_up is None:
        return
    steps = config.warm_up.steps
    warm_up(
        encoder,
        crops.images_NHWC,
        burst_N,
        find_scenes(crops.facts, crops.images_NHWC, burst_N),
        config.warm_up,
        config.seed,
        request.device,
        precision,
        lambda step, loss: narrator.progress("warm-up on bursts", step, steps, f"loss {loss:.3f}"),
    )


def _facts(
    config: FanclConfig, loaded: LoadedBackbone, spec: InputSpec, epoch: int
) -> EncoderFacts:
    return EncoderFacts(
        method=config.method,
        backbone=loaded.spec,
        weights=loaded.weights,
        input=spec,
        epoch=epoch,
    )


class _Told:
    """Turns what the training loop says into progress and sentences."""

    def __init__(self, narrator: Narrator, epochs: int) -> None:
        self._narrator, self._epochs = narrator, epochs

    def on_steps(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        done, total = (epoch - 1) * num_steps + step, self._epochs * num_steps
        note = f"epoch {epoch} of {self._epochs}, loss {loss:.3f}"
        self._narrator.progress("training", done, total, note)

    def on_trouble(self, sentence: str) -> None:
        self._narrator.say(sentence)


def _train(
    request: RunRequest,
    encoder: Encoder,
    spec: InputSpec,
    loaded: LoadedBackbone,
    crops: Crops,
    burst_N: NDArray[np.int64],
    config: FanclConfig,
    precision: Precision,
    narrator: Narrator,
) -> None:
    torch.manual_seed(config.seed)
    networks = Networks(encoder, config.method).to(request.device)
    networks = networks.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(
        [one for one in networks.parameters() if one.requires_grad],
        config.learning_rate,
        weight_decay=config.weight_decay,
    )
    state = request.out / checkpoint.STATE
    done = checkpoint.load_state(state, networks, optimiser) if state.is_file() else 0
    if done == 0:
        checkpoint.save_state(state, networks, optimiser, 0)  # keeps the warm-up
    reports = _read_reports(request.out)[:done]
    for end in train_epochs(
        networks, optimiser, crops.images_NHWC, burst_N, config, done + 1, request.device,
        precision, _Told(narrator, config.epochs),
    ):  # fmt: skip
        epoch = end.report.epoch
        facts = _facts(config, loaded, spec, epoch)
        checkpoint.save_encoder(
            request.out / checkpoint.ENCODER, StoredEncoder(encoder=encoder, facts=facts)
        )
        _write_clusters(request.out, crops, burst_N, end)
        reports.append([_text(value) for value in dataclasses.astuple(end.report)])
        checkpoint.write_rows(request.out / checkpoint.METRICS, _REPORT_COLUMNS, reports)
        checkpoint.save_state(state, networks, optimiser, epoch)
        narrator.say(_epoch_sentence(end.report, config.epochs))


_REPORT_COLUMNS = [field.name for field in dataclasses.fields(EpochReport)]


def _read_reports(out: Path) -> list[list[str]]:
    path = out / checkpoint.METRICS
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [line.split(",") for line in lines if line]


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _epoch_sentence(report: EpochReport, epochs: int) -> str:
    loss = "skipped" if report.loss is None else f"loss {report.loss:.3f}"
    return (
        f"epoch {report.epoch}/{epochs}: {loss}, {report.num_clusters} clusters "
        f"(largest {report.largest_share:.0%}), {report.num_outliers} crops left out, "
        f"{report.seconds:.0f} s"
    )


def _write_clusters(out: Path, crops: Crops, burst_N: NDArray[np.int64], end: EpochEnd) -> None:
    rows = []
    for index, fact in enumerate(crops.facts):
        box = fact.box.to_relative(1, 1) if fact.box and fact.box.relative else fact.box
        rows.append(
            [
                fact.picture.name,
                fact.sha256,
                int(end.pseudo_labels.label_N[index]),
                _text(float(end.similarity_N[index])),
                int(burst_N[index]),
                *((box.x, box.y, box.width, box.height, box.relative) if box else ("",) * 5),
            ]
        )
    checkpoint.write_rows(out / checkpoint.CLUSTERS, CLUSTER_COLUMNS, rows)


CLUSTER_COLUMNS = (
    "path", "sha256", "pseudo_label", "similarity_to_centre", "burst",
    "x", "y", "width", "height", "relative",
)  # fmt: skip


def _precision(request: RunRequest, encoder: Encoder, narrator: Narrator) -> Precision:
    """bf16 where this machine trains faster with it, told aloud; or as the user said."""
    if request.precision != "auto":
        return request.precision
    seconds = {
        name: _time_steps(encoder, request, name) for name in ("fp32", "bf16")
    }  # a few steps each; the better of two rounds
    best: Precision = "bf16" if seconds["bf16"] < 0.9 * seconds["fp32"] else "fp32"
    narrator.say(
        f"training in {best}: a step takes {seconds['fp32']:.2f} s in fp32, "
        f"{seconds['bf16']:.2f} s in bf16"
    )
    return best


def _time_steps(encoder: Encoder, request: RunRequest, precision: Precision) -> float:
    pixels = torch.zeros((32, request.height, request.width, 3), dtype=torch.uint8)
    images = encoder.normalise(to_pixels(pixels.to(request.device)))
    images = images.contiguous(memory_format=torch.channels_last)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.train()
    took = []
    for _ in range(3):
        began = time.monotonic()
        with autocast(request.device, precision):
            emb_ND = encoder(images)
        emb_ND.float().sum().backward()
        if request.device.type == "cuda":
            torch.cuda.synchronize()
        took.append(time.monotonic() - began)
    encoder.zero_grad(set_to_none=True)
    encoder.load_state_dict(before)  # the trial has moved the BN statistics
    return min(took)
