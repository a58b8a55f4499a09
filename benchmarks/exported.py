"""Exported files: the same as the encoder, what int8 and fp16 cost real animals, how fast.

    python benchmarks/exported.py --data FOLDER --weights FOLDER --out benchmarks/results/export

Three tables that grow by a row and go on where they stopped: parity.csv (seven backbones, 256 real
crops), precision.csv (trained runs: every run of `--runs`, else one short run made here), and
speed.csv (interleaved in one process, one thread: ours, torch's two exporters left raw, torch
itself, int8, and OpenVINO where it is installed). `--full` takes each backbone's own input size
and more rounds.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import torch
import typer
from runs import command, read, weights_file, write

from edge import model
from edge.pictures import read_collection
from edge.preprocess import InputSpec
from export.fidelity import Tolerance
from export.graph import OPSET, DeviceGraph, to_onnx
from export.int8 import to_int8
from export.model_file import ExportRequest, export_model
from trainer.data import load_crops
from trainer.encoder import Encoder, embed, set_neck_statistics
from trainer.evaluation.public import load_published

SET = "opencows"
NUM_CROPS, SMALL = 256, (128, 128)
CPU = torch.device("cpu")
PARITY = ("backbone", "size", "weights", "nodes", "crops", "worst_cosine", "seconds")
PRECISION = (
    "run", "precision", "kept", "mAP_fp32", "mAP", "rank1_fp32", "rank1", "mean_cosine",
    "low_cosine", "megabytes_fp32", "megabytes", "speed_up", "how",
)  # fmt: skip
SPEED = ("backbone", "size", "form", "nodes", "ms", "fastest_ms", "ours_over_this", "rounds")


@dataclass(frozen=True, kw_only=True)
class Case:
    source: str
    size: tuple[int, int] | None  # in the short form; None: its own

    @property
    def label(self) -> str:
        return self.source.partition(":")[2]


CASES = (
    Case(source="timm:resnet50", size=SMALL),
    Case(source="timm:mobilenetv2_100", size=SMALL),
    Case(source="timm:vit_tiny_patch16_224", size=SMALL),
    Case(source="timm:convnext_atto", size=SMALL),
    Case(source="timm:swin_tiny_patch4_window7_224", size=None),
    Case(source="open_clip:ViT-B-16-quickgelu", size=SMALL),
    Case(source="open_clip:RN50-quickgelu", size=SMALL),
)
TIMED = ("timm:resnet50", "timm:vit_tiny_patch16_224", "open_clip:ViT-B-16-quickgelu")


class _Silent:
    def say(self, sentence: str) -> None: ...
    def progress(self, what: str, done: int, total: int, note: str = "") -> None: ...


def main(
    data: Annotated[Path, typer.Option(help="Folder with one folder a set, each a metadata.csv.")],
    weights: Annotated[Path, typer.Option(help="Folder with BACKBONE*.safetensors.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables.")],
    runs: Annotated[
        Path | None, typer.Option(help="Folder of finished runs of real animals.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Own input sizes, more rounds.")] = False,
) -> None:
    """Fill the tables, print them."""
    table = data / SET / "metadata.csv"
    if not table.is_file():
        print(f"{table} is not there: real animals are needed for this benchmark")
        raise typer.Exit(1)
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        size = None if full else case.size
        _row(
            out / "parity.csv", PARITY, case.label,
            partial(_parity, case, size, table, weights),
        )  # fmt: skip
    for run in _runs(runs, out, table, weights):
        for precision in ("int8", "fp16"):
            key = f"{run.name} {precision}"
            _row(
                out / "precision.csv", PRECISION, key,
                partial(_precision, run, precision), ("run", "precision"),
            )  # fmt: skip
    for case in (one for one in CASES if one.source in TIMED):
        _speeds(case, None if full else case.size, table, 40 if full else 15, out / "speed.csv")
    for name in ("parity.csv", "precision.csv", "speed.csv"):
        print(f"\n{_markdown(read(out / name))}")


def _row(
    path: Path,
    columns: tuple[str, ...],
    key: str,
    measure: Callable[[], dict[str, str]],
    keys: tuple[str, ...] = ("backbone",),
) -> None:
    """Adds the row unless it is there."""
    rows = read(path)
    if key in {" ".join(row[one] for one in keys) for row in rows}:
        return
    print(f"{path.stem}: {key}", flush=True)
    write(path, columns, [*rows, measure()])


def _encoder(
    case: Case, size: tuple[int, int] | None, weights: Path | None = None
) -> tuple[Encoder, str]:
    torch.manual_seed(0)
    files = sorted(weights.glob(f"{case.label}.*safetensors")) if weights else []
    loaded = load_published(case.source, str(files[0]) if files else "none", size)
    return Encoder(loaded.spec, loaded.module).eval(), loaded.weights


def _spec(encoder: Encoder) -> InputSpec:
    return InputSpec(
        height=encoder.spec.height, width=encoder.spec.width, resize="squash", pad_value=0
    )


def _crops(table: Path, spec: InputSpec, count: int) -> np.ndarray:
    collection = read_collection(table, "train")
    first = dataclasses.replace(collection, pictures=collection.pictures[:count])
    return load_crops(first, spec, None).images_NHWC


def _session(graph: onnx.ModelProto) -> Callable[[np.ndarray], np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run([model.OUTPUT_NAME], {model.INPUT_NAME: images})[0]


def _parity(case: Case, size: tuple[int, int] | None, table: Path, weights: Path) -> dict[str, str]:
    began = time.monotonic()
    encoder, origin = _encoder(case, size, weights)
    spec = _spec(encoder)
    crops = _crops(table, spec, NUM_CROPS)
    set_neck_statistics(encoder, crops[:64], CPU, "fp32")  # as after training: it magnifies
    graph = to_onnx(encoder, spec)
    run, expected = _session(graph), embed(encoder, crops, CPU)
    worst = 1.0
    for batch, count in ((64, NUM_CROPS), (7, 28), (1, 4)):
        parts = [run(crops[at : at + batch]) for at in range(0, count, batch)]
        cosine = np.sum(np.concatenate(parts) * expected[:count], axis=1)
        worst = min(worst, float(cosine.min()))
    return {
        "backbone": case.label,
        "size": f"{spec.height}x{spec.width}",
        "weights": origin,
        "nodes": str(len(graph.graph.node)),
        "crops": str(len(crops)),
        "worst_cosine": f"{worst:.7f}",
        "seconds": f"{time.monotonic() - began:.0f}",
    }


def _runs(given: Path | None, out: Path, table: Path, weights: Path) -> list[Path]:
    """The finished runs there are, else a short one made here."""
    found = sorted(one.parent for one in given.glob("*/encoder.safetensors")) if given else []
    if found:
        return found
    run = out / f"{SET}-supervised-short"
    if not (run / "report.html").is_file():
        command(
            "fancl-train", table, "--out", run, "--method", "supervised", "--backbone",
            "mobilenetv2_035", "--weights", weights_file(weights, "mobilenetv2_035"),
            "--size", "128x128", "--epochs", 3, "--iterations", 20, "--precision", "fp32",
        )  # fmt: skip
    return [run]


def _precision(run: Path, precision: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        files = {one: Path(folder) / f"{one}.onnx" for one in ("fp32", precision)}
        done = {
            name: export_model(_request(run, path, name), _Silent()) for name, path in files.items()
        }
        images = np.zeros((1, *_height_width(done[precision].manifest), 3), np.uint8)
        forms = {name: _session(onnx.load(path)) for name, path in files.items()}
        times = _interleaved({name: _call(form, images) for name, form in forms.items()}, 60)
    low = done[precision].manifest
    told, found = low.fidelity, low.evaluation
    assert told is not None
    assert found is not None
    return {
        "run": run.name,
        "precision": precision,
        "kept": "no" if told.forced else "yes",
        "mAP_fp32": f"{100 * told.mAP_fp32:.2f}",
        "mAP": f"{100 * found.mAP:.2f}",
        "rank1_fp32": f"{100 * told.rank1_fp32:.2f}",
        "rank1": f"{100 * found.rank1:.2f}",
        "mean_cosine": f"{told.mean_cosine:.4f}",
        "low_cosine": f"{told.low_cosine:.4f}",
        "megabytes_fp32": f"{done['fp32'].num_bytes / 1e6:.2f}",
        "megabytes": f"{done[precision].num_bytes / 1e6:.2f}",
        "speed_up": f"{_ratio(times['fp32'], times[precision]):.2f}",
        "how": done[precision].how,
    }


def _request(run: Path, out: Path, precision: Any) -> ExportRequest:
    """Forced, so that a refusal has its row too; the gate is the default half a point."""
    return ExportRequest(
        source=str(run), out=out, weights=None, size=None, calibrate=None, precision=precision,
        tolerance=Tolerance(mAP_loss=0.005, force=True), name=None, species=None, licence=None,
    )  # fmt: skip


def _height_width(manifest: model.Manifest) -> tuple[int, int]:
    return manifest.input.height, manifest.input.width


def _call(form: Callable[[np.ndarray], Any], images: np.ndarray) -> Callable[[], Any]:
    return lambda: form(images)


def _interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round, A, B, C, A, B, C ...; two rounds of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 2):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number >= 2:
                times[name].append(time.perf_counter() - began)
    return times


def _ratio(slow: list[float], fast: list[float]) -> float:
    """Median over rounds of how many times as fast the second is."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def _speeds(case: Case, size: tuple[int, int] | None, table: Path, rounds: int, path: Path) -> None:
    rows = read(path)
    if any(row["backbone"] == case.label for row in rows):
        return
    print(f"speed: {case.label}", flush=True)
    encoder, _ = _encoder(case, size)
    spec = _spec(encoder)
    crops = _crops(table, spec, 64)
    ours = to_onnx(encoder, spec)
    graphs = {"ours": ours, "raw dynamo": _raw(encoder, spec, True)}
    graphs["raw TorchScript"] = _raw(encoder, spec, False)
    if _has_vnni():
        graphs["ours int8"] = to_int8(ours, crops).model
    else:
        print(f"int8 left out: {platform.processor() or 'this CPU'} has no VNNI")
    one = crops[:1]
    calls = {name: _call(_session(graph), one) for name, graph in graphs.items()}
    calls["torch"] = lambda: embed(encoder, one, CPU)
    openvino = _openvino(ours, spec)
    if openvino is None:
        print("OpenVINO left out: it is not installed")
    else:
        calls["OpenVINO"] = _call(openvino, one)
    times = _interleaved(calls, rounds)
    new = [
        {
            "backbone": case.label,
            "size": f"{spec.height}x{spec.width}",
            "form": name,
            "nodes": str(len(graphs[name].graph.node)) if name in graphs else "",
            "ms": f"{1000 * statistics.median(times[name]):.2f}",
            "fastest_ms": f"{1000 * min(times[name]):.2f}",
            "ours_over_this": f"{_ratio(times[name], times['ours']):.3f}",
            "rounds": str(rounds),
        }
        for name in calls
    ]
    write(path, SPEED, [*rows, *new])


def _raw(encoder: Encoder, spec: InputSpec, dynamo: bool) -> onnx.ModelProto:
    """What torch's exporter gives by itself."""
    graph = DeviceGraph(encoder, half=False).eval()
    example = (torch.zeros((2, spec.height, spec.width, 3), dtype=torch.uint8),)
    names: dict[str, Any] = {
        "input_names": [model.INPUT_NAME],
        "output_names": [model.OUTPUT_NAME],
        "opset_version": OPSET,
    }
    torch.backends.mha.set_fastpath_enabled(False)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "raw.onnx"
        if dynamo:
            batch = {"images": {0: torch.export.Dim("n", min=1)}}
            torch.onnx.export(
                graph, example, path, dynamo=True, dynamic_shapes=batch, external_data=False,
                verbose=False, **names,
            )  # fmt: skip
        else:
            axes = {model.INPUT_NAME: {0: "n"}, model.OUTPUT_NAME: {0: "n"}}
            torch.onnx.export(graph, example, path, dynamo=False, dynamic_axes=axes, **names)
        return onnx.load(path)


def _has_vnni() -> bool:
    facts = Path("/proc/cpuinfo")
    return facts.is_file() and "vnni" in facts.read_text(encoding="utf-8")


def _openvino(graph: onnx.ModelProto, spec: InputSpec) -> Callable[[np.ndarray], Any] | None:
    if importlib.util.find_spec("openvino") is None:
        return None
    import openvino

    core = openvino.Core()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ours.onnx"
        onnx.save(graph, path)
        read_in = core.read_model(path)
        read_in.reshape([-1, spec.height, spec.width, 3])
        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(read_in, "CPU", settings)
    return lambda images: compiled([images])[0]


def _markdown(rows: list[dict[str, str]]) -> str:
    if not rows:
        return ""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([row[one] for one in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    typer.run(main)
