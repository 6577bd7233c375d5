"""Label fusion on files: annotations and pseudo labels in, one label map and one sidecar for each case out.

    python -m segkit.partial.fusion --data DIR --organ-labels DIR --tumour-labels DIR --out DIR

For each case OUT gets <case>.nii.gz and <case>.json, which says where each label came from. A case whose
files are there and fit their inputs, by SHA-256, is left alone. No input is ever written to. The rules stand
in `segkit.partial.rules`, the table of annotations in `segkit.partial.annotation`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.cases import LABEL_ENDING
from segkit.log import log
from segkit.partial.annotation import AnnotationTable, Case, lacks_organs, lacks_tumour, read_annotations
from segkit.partial.errors import FusionError
from segkit.partial.rules import FusedLabels, Source, Tally, fuse
from segkit.partial.values import EVERYTHING, LABEL_NAMES, TUMOUR
from segkit.partial.volumes import Grid, file_sha256, read_grid, read_labels, scratch_folder, write_labels
from segkit.program import run_program

__all__ = ["FusedCase", "FusedLabels", "Source", "Tally", "fuse", "fuse_case", "fuse_folder"]

SIDECAR_VERSION = 1
"""Goes up when the rules or the sidecar change; cases fused by another version are fused again."""


@dataclass(frozen=True)
class FusedCase:
    """A case in the output folder.

    Attributes:
        name: The case id.
        labels: The fused labels.
        sidecar: The sidecar's content.
        is_new: False where the case was there already and left alone.
    """

    name: str
    labels: Path
    sidecar: Mapping[str, Any]
    is_new: bool


def fuse_folder(
    table: AnnotationTable,
    out: Path,
    *,
    organ_labels: Path | None,
    tumour_labels: Path | None,
    cases: Collection[str] | None = None,
    on_case: Callable[[FusedCase], None] | None = None,
) -> list[FusedCase]:
    """Fuse case by case; a run that was stopped goes on where it was.

    A pseudo label is asked for, and opened, only where the case lacks a class that it could give.

    Args:
        table: The cases and what they annotate.
        out: A folder of its own for the results.
        organ_labels: Holds <case>.nii.gz with an organ model's predictions; None to go without.
        tumour_labels: Holds <case>.nii.gz with a tumour model's predictions; None to go without.
        cases: Ids of the cases to fuse; by default all of which any source says something.
        on_case: Is called with each case when it is done.

    Raises:
        FusionError: A needed pseudo label is missing (said before anything is written), or `out` is one of
            the input folders or holds labels that were not written here.
        VolumeError: A file cannot be used; the cases before it are done.
        AnnotationError: `cases` names one that is not there.
    """
    folders = (table.data, table.data / "imagesTr", table.data / "labelsTr", organ_labels, tumour_labels)
    refuse_as_output(out, (folder for folder in folders if folder is not None))
    if cases is None:
        chosen = [
            case
            for case in table.cases
            if case.annotated
            or (organ_labels and lacks_organs(case.annotated))
            or (tumour_labels and lacks_tumour(case.annotated))
        ]
    else:
        chosen = [table[name] for name in sorted(set(cases))]
    wanted = [(case, sources_of(case, organ_labels, tumour_labels)) for case in chosen]
    missing = [path for _, sources in wanted for path in sources.values() if not path.is_file()]
    if missing:
        raise FusionError(
            f"{len(missing)} pseudo label(s) are missing, first {missing[0]}; predict these cases first."
        )
    done = []
    for case, sources in wanted:
        done.append(fuse_case(case, sources, out))
        if on_case is not None:
            on_case(done[-1])
    return done


def sources_of(case: Case, organ_labels: Path | None, tumour_labels: Path | None) -> dict[Source, Path]:
    """The label files that have something to say of a case."""
    sources = {}
    # A label file of a case that annotates nothing is looked into too, so that labels in it are told.
    if case.label is not None:
        sources[Source.ANNOTATION] = case.label
    if organ_labels is not None and lacks_organs(case.annotated):
        sources[Source.ORGAN_PSEUDO] = organ_labels / f"{case.name}{LABEL_ENDING}"
    if tumour_labels is not None and lacks_tumour(case.annotated):
        sources[Source.TUMOUR_PSEUDO] = tumour_labels / f"{case.name}{LABEL_ENDING}"
    return sources


def fuse_case(case: Case, sources: Mapping[Source, Path], out: Path) -> FusedCase:
    """Fuse one case, unless that was done before with the same inputs.

    Args:
        case: The case; its CT gives the grid.
        sources: The label file of each source, see `sources_of`.
        out: Gets <case>.nii.gz and <case>.json; must hold none of the inputs.

    Raises:
        FusionError: No source says anything, or `out` holds an input or a label file of another origin.
        VolumeError: A file cannot be used.
    """
    if not case.annotated and sources.keys() <= {Source.ANNOTATION}:
        raise FusionError(
            f"{case.name} annotates nothing and has no pseudo label: an empty map would call everything "
            "background. Leave the case out, or give pseudo labels."
        )
    labels_path, sidecar_path = out / f"{case.name}{LABEL_ENDING}", out / f"{case.name}.json"
    # An input may be a link into another folder.
    for path in (case.image, *sources.values()):
        refuse_as_output(out, (path.parent, path.resolve().parent))
    grid = read_grid(case.image)
    made_from = {
        "sidecar_version": SIDECAR_VERSION,
        "case": case.name,
        "annotated": sorted(case.annotated),
        "grid": grid.as_dict(),
        "inputs": {
            source.title: {"file": f"{path.parent.name}/{path.name}", "sha256": file_sha256(path)}
            for source, path in sorted(sources.items())
        },
    }
    earlier = _sidecar(sidecar_path)
    if labels_path.exists():
        if earlier is None:
            raise FusionError(
                f"{labels_path} was not written here: it has no whole sidecar. Take it away, or give an "
                "output folder of its own."
            )
        if _is_current(earlier, made_from, labels_path):
            return FusedCase(case.name, labels_path, earlier, is_new=False)
    fused = _fuse_files(case, sources, grid)
    out.mkdir(parents=True, exist_ok=True)
    with scratch_folder(out) as scratch:
        write_labels(scratch / labels_path.name, fused.labels, grid)
        sidecar = {
            **made_from,
            **_account(case, sources, fused),
            "output": {"file": labels_path.name, "sha256": file_sha256(scratch / labels_path.name)},
        }
        (scratch / sidecar_path.name).write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")
        # The sidecar first: a label file without one is then always a stranger's, also after a power cut.
        (scratch / sidecar_path.name).replace(sidecar_path)
        (scratch / labels_path.name).replace(labels_path)
    return FusedCase(case.name, labels_path, sidecar, is_new=True)


def refuse_as_output(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output folder that is one of the input folders, under whatever name or link.

    Raises:
        FusionError: It is.
    """
    for folder in inputs:
        if folder.resolve() == out.resolve():
            raise FusionError(
                f"{out} is the input folder {folder}; inputs are never overwritten. Give a folder of its own."
            )


def _fuse_files(case: Case, sources: Mapping[Source, Path], grid: Grid) -> FusedLabels:
    allowed = {
        Source.ANNOTATION: case.annotated,
        # A model of organs and tumour will do; the rules drop its tumour.
        Source.ORGAN_PSEUDO: EVERYTHING,
        # 0 and 1 as a model of the tumour alone writes them, or the tumour's own value.
        Source.TUMOUR_PSEUDO: frozenset({1, TUMOUR}),
    }
    mends = {
        Source.ANNOTATION: f"the table says that {case.name} annotates no other; mend the table or the file",
        Source.ORGAN_PSEUDO: "give the folder of an organ model's predictions",
        Source.TUMOUR_PSEUDO: "give the folder of a tumour model's predictions",
    }
    arrays = {
        source: read_labels(path, grid, allowed[source], mends[source]) for source, path in sources.items()
    }
    return fuse(
        grid.shape,
        arrays.get(Source.ANNOTATION),
        case.annotated,
        arrays.get(Source.ORGAN_PSEUDO),
        arrays.get(Source.TUMOUR_PSEUDO),
    )


def _account(case: Case, sources: Mapping[Source, Path], fused: FusedLabels) -> dict[str, Any]:
    """The sidecar's account of where each label came from."""
    labels = {}
    for value, name in LABEL_NAMES.items():
        decided_by = _decided_by(value, case.annotated, sources)
        voxels = {
            source.title: tally.used[value]
            for source, tally in sorted(fused.tallies.items())
            if value in tally.used
        }
        labels[str(value)] = {
            "name": name,
            "decided_by": decided_by.title if decided_by else None,
            "voxels": voxels,
        }
    return {
        "fusion": _fusion(case.annotated),
        "labels": labels,
        "removed_voxels": {source.title: _keyed(tally.removed) for source, tally in fused.tallies.items()},
        "covered_voxels": {source.title: _keyed(tally.covered) for source, tally in fused.tallies.items()},
    }


def _decided_by(value: int, annotated: Collection[int], sources: Collection[Source]) -> Source | None:
    """The source whose word on a class is taken; None where nobody said anything of it."""
    if value in annotated:
        return Source.ANNOTATION
    pseudo = Source.TUMOUR_PSEUDO if value == TUMOUR else Source.ORGAN_PSEUDO
    return pseudo if pseudo in sources else None


def _fusion(annotated: frozenset[int]) -> str:
    if not annotated:
        return "B: nothing annotated"
    return "none: everything annotated" if annotated >= EVERYTHING else "A: partly annotated"


def _keyed(counts: Mapping[int, int]) -> dict[str, int]:
    return {str(value): count for value, count in counts.items()}


def _sidecar(path: Path) -> dict[str, Any] | None:
    """A sidecar that was written earlier; None where there is none, or none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "sidecar_version" in content else None


def _is_current(earlier: Mapping[str, Any], made_from: Mapping[str, Any], labels: Path) -> bool:
    if any(earlier.get(key) != value for key, value in made_from.items()):
        return False
    output = earlier.get("output")
    return isinstance(output, dict) and output.get("sha256") == file_sha256(labels)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m segkit.partial.fusion", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with imagesTr, labelsTr, dataset.json"
    )
    parser.add_argument("--organ-labels", type=Path, help="organ pseudo labels; leave out to go without")
    parser.add_argument("--tumour-labels", type=Path, help="tumour pseudo labels; leave out to go without")
    parser.add_argument("--out", type=Path, required=True, help="a folder of its own for the fused labels")
    parser.add_argument("--annotated", type=Path, help="table of annotations, .json or .csv")
    parser.add_argument(
        "--complete", action="store_true", help="every case with a label file annotates every class"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = _parse(arguments)

    def work() -> None:
        table = read_annotations(options.data, options.annotated, complete=options.complete)
        try:
            done = fuse_folder(
                table,
                options.out,
                organ_labels=options.organ_labels,
                tumour_labels=options.tumour_labels,
                on_case=lambda case: log.info(f"{case.name}: {'fused' if case.is_new else 'there already'}"),
            )
        except OSError as error:
            raise FusionError(f"{error}; is the output folder writable, the disk full?") from error
        log.info(f"{len(done)} of {len(table.cases)} cases in {options.out}")

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
