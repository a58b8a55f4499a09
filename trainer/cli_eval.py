"""The command `fancl-eval`."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated

import typer

from trainer.terminal import Terminal, Version, device_named, parse_size, plain_errors

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def evaluate() -> None:
    _app()


class Protocol(str, enum.Enum):
    by_split = "split"  # str has a method named split
    time_aware = "time-aware"
    encounter_disjoint = "encounter-disjoint"


@_app.command(
    epilog="Examples: fancl-eval runs/first herd/metadata.csv --rerank --open-set 0.3   "
    "Another encoder on the same photos: fancl-eval timm:hf-hub:BVRA/MegaDescriptor-T-224 "
    "herd/metadata.csv"
)
def _evaluate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A run, a checkpoint, a model.onnx, or a published encoder as it is: timm:NAME, "
            "timm:hf-hub:ORG/NAME (MegaDescriptor, MiewID), timm:local-dir:FOLDER, open_clip:NAME.",
        ),
    ],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            readable=False,
            help="A metadata.csv with identity and split columns (rows query and gallery), or "
            "labelled pictures without splits: then each picture is matched with all others.",
        ),
    ],
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="Who is asked about. split: as the table says. time-aware: each animal's later "
            "encounters, with the earlier ones as gallery (needs times). encounter-disjoint: the "
            "same by the table's order (needs encounters). Rows of the train split take no part."
        ),
    ] = Protocol.by_split,
    query_share: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.99, help="Share of an animal's encounters that these two ask about."
        ),
    ] = 0.5,
    exclude_encounter: Annotated[
        bool,
        typer.Option(
            help="Leave out pairs of one animal in one encounter: frames of a burst are too easy."
        ),
    ] = True,
    rerank: Annotated[
        bool,
        typer.Option(
            "--rerank", help="Add a row with k-reciprocal re-ranking (Zhong et al. 2017)."
        ),
    ] = False,
    flip: Annotated[
        bool,
        typer.Option("--flip", help="Add a row with each picture averaged with its mirror image."),
    ] = False,
    open_set: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.99,
            metavar="SHARE",
            help="Hold this share of the animals out of the gallery: BAKS (known animals named "
            "rightly), BAUS (unknown ones rejected), their geometric mean, AUROC.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Who is held out; by default seeds 0 to 4, mean and deviation."),
    ] = None,
    pseudo_labels: Annotated[
        bool,
        typer.Option(
            "--pseudo-labels",
            help="Compare a run's clusters with the animals in DATA's train rows.",
        ),
    ] = False,
    branches: Annotated[
        bool,
        typer.Option(
            "--branches",
            help="Add the clean, noised and fused views of a FANCL run after its last epoch; for "
            "study, since only the encoder of the first row is exported.",
        ),
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|FOLDER|TAG|imagenet|none",
            help="For timm:NAME a safetensors file; for hf-hub names the downloaded folder with "
            "config.json and weights, where there is no network; for open_clip:NAME a file or a "
            "tag of open_clip.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Input size of a published encoder; by default its own."),
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="MegaDetector JSON with the animal boxes.")
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(help="Also evaluate the run's start (frozen) and random weights."),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    per_query: Annotated[
        Path | None, typer.Option(help="Write a CSV with best and runner-up of each query.")
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Write the run's report.html anew, with these retrievals in pictures.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda ...; by default a GPU if any.")] = "auto",
    version: Version = False,
) -> None:
    """How well an encoder finds the same animal again, beside controls.

    mAP: how high an animal's pictures rank among all. rank-k: queries with the animal among the
    first k. mINP: what share of the list is right that must be read to find all its pictures.
    """
    from trainer.allocator import keep_freed_memory
    from trainer.evaluation.evaluate import EvalRequest, evaluate_source
    from trainer.evaluation.openset import SEEDS
    from trainer.evaluation.outcome import write_per_query
    from trainer.evaluation.protocol import Rules
    from trainer.report.again import rewrite_report
    from trainer.rundir import read_config

    with plain_errors("nothing was written"):
        request = EvalRequest(
            source=source,
            data=data,
            boxes=boxes,
            weights=weights,
            size=parse_size(size) if size else None,
            rules=Rules(
                protocol=protocol.value,
                query_share=query_share,
                exclude_encounter=exclude_encounter,
            ),
            controls=controls,
            flip=flip,
            rerank=rerank,
            branches=branches,
            open_set_share=open_set,
            open_set_seeds=SEEDS if seed is None else (seed,),
            pseudo_labels=pseudo_labels,
            device=device_named(device),
        )
        if report:
            read_config(Path(source), "--report")  # refused before anything takes time
        keep_freed_memory()
        with Terminal() as terminal:
            outcome = evaluate_source(request, terminal)
            if report:
                page = rewrite_report(Path(source), outcome.retrieved, terminal)
                terminal.say(f"written: {page}")
        if per_query is not None:
            write_per_query(per_query, outcome)
    print(json.dumps(outcome.to_json()) if as_json else outcome.to_text())
