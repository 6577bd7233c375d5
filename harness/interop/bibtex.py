"""BibTeX entries of what a leaderboard rests on: challenge, metrics, statistics, and the methods."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness import __version__
from harness.files import write_whole
from harness.leaderboard import Division, Leaderboard
from harness.text import printable

_Entry = tuple[str, Mapping[str, str]]

_WORKS: Mapping[str, _Entry] = {
    "dice1945": (
        "article",
        {
            "author": "Dice, Lee R.",
            "title": "Measures of the Amount of Ecologic Association Between Species",
            "journal": "Ecology",
            "volume": "26",
            "number": "3",
            "pages": "297--302",
            "year": "1945",
            "doi": "10.2307/1932409",
        },
    ),
    "nikolov2021": (
        "article",
        {
            "author": "Nikolov, Stanislav and Blackwell, Sam and Zverovitch, Alexei and others",
            "title": "Clinically Applicable Segmentation of Head and Neck Anatomy for Radiotherapy: Deep "
            "Learning Algorithm Development and Validation Study",
            "journal": "Journal of Medical Internet Research",
            "volume": "23",
            "number": "7",
            "pages": "e26151",
            "year": "2021",
            "doi": "10.2196/26151",
        },
    ),
    "huttenlocher1993": (
        "article",
        {
            "author": "Huttenlocher, Daniel P. and Klanderman, Gregory A. and Rucklidge, William J.",
            "title": "Comparing Images Using the Hausdorff Distance",
            "journal": "IEEE Transactions on Pattern Analysis and Machine Intelligence",
            "volume": "15",
            "number": "9",
            "pages": "850--863",
            "year": "1993",
            "doi": "10.1109/34.232073",
        },
    ),
    "shit2021": (
        "inproceedings",
        {
            "author": "Shit, Suprosanna and Paetzold, Johannes C. and Sekuboyina, Anjany and others",
            "title": "clDice: A Novel Topology-Preserving Loss Function for Tubular Structure Segmentation",
            "booktitle": "IEEE/CVF Conference on Computer Vision and Pattern Recognition",
            "pages": "16555--16564",
            "year": "2021",
            "doi": "10.1109/CVPR46437.2021.01629",
        },
    ),
    "kirillov2019": (
        "inproceedings",
        {
            "author": "Kirillov, Alexander and He, Kaiming and Girshick, Ross and Rother, Carsten and "
            "Doll{\\'a}r, Piotr",
            "title": "Panoptic Segmentation",
            "booktitle": "IEEE/CVF Conference on Computer Vision and Pattern Recognition",
            "pages": "9404--9413",
            "year": "2019",
            "doi": "10.1109/CVPR.2019.00963",
        },
    ),
    "wiesenfarth2021": (
        "article",
        {
            "author": "Wiesenfarth, Manuel and Reinke, Annika and Landman, Bennett A. and others",
            "title": "Methods and open-source toolkit for analyzing and visualizing challenge results",
            "journal": "Scientific Reports",
            "volume": "11",
            "pages": "2369",
            "year": "2021",
            "doi": "10.1038/s41598-021-82017-6",
        },
    ),
    "efron1987": (
        "article",
        {
            "author": "Efron, Bradley",
            "title": "Better Bootstrap Confidence Intervals",
            "journal": "Journal of the American Statistical Association",
            "volume": "82",
            "number": "397",
            "pages": "171--185",
            "year": "1987",
            "doi": "10.1080/01621459.1987.10478410",
        },
    ),
    "wilcoxon1945": (
        "article",
        {
            "author": "Wilcoxon, Frank",
            "title": "Individual Comparisons by Ranking Methods",
            "journal": "Biometrics Bulletin",
            "volume": "1",
            "number": "6",
            "pages": "80--83",
            "year": "1945",
            "doi": "10.2307/3001968",
        },
    ),
    "holm1979": (
        "article",
        {
            "author": "Holm, Sture",
            "title": "A Simple Sequentially Rejective Multiple Test Procedure",
            "journal": "Scandinavian Journal of Statistics",
            "volume": "6",
            "number": "2",
            "pages": "65--70",
            "year": "1979",
        },
    ),
    "ma2022": (
        "article",
        {
            "author": "Ma, Jun and Zhang, Yao and Gu, Song and others",
            "title": "Fast and Low-GPU-memory abdomen CT organ segmentation: The FLARE challenge",
            "journal": "Medical Image Analysis",
            "volume": "82",
            "pages": "102616",
            "year": "2022",
            "doi": "10.1016/j.media.2022.102616",
        },
    ),
    "ma2024": (
        "article",
        {
            "author": "Ma, Jun and Zhang, Yao and Gu, Song and others",
            "title": "Unleashing the strengths of unlabelled data in deep learning-assisted pan-cancer "
            "abdominal organ quantification: the {FLARE22} challenge",
            "journal": "The Lancet Digital Health",
            "volume": "6",
            "number": "11",
            "pages": "e815--e826",
            "year": "2024",
            "doi": "10.1016/S2589-7500(24)00154-7",
        },
    ),
}

_OF_METRIC = {
    "dsc": "dice1945",
    "nsd": "nikolov2021",
    "hd": "huttenlocher1993",
    "cldice": "shit2021",
    "pq": "kirillov2019",
    "sq": "kirillov2019",
}
_OF_CHALLENGE = {"flare21": "ma2022", "flare22": "ma2024"}


def write_bibtex(board: Leaderboard, division: Division, folder: Path) -> list[Path]:
    """Write `references.bib`: the works behind what was computed, and an entry per row.

    Args:
        board: The leaderboard: its challenge and whether intervals were made.
        division: The rows.
        folder: Made if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "references.bib"
    entries = [_bibtex(key, *_WORKS[key]) for key in works_of(board, division)]
    entries += [_bibtex("flareharness", "software", {"title": "flareharness", "version": __version__})]
    entries += [_bibtex(key, "misc", fields) for key, fields in _methods(division)]
    write_whole(path, "\n".join(entries))
    return [path]


def works_of(board: Leaderboard, division: Division) -> list[str]:
    """Return the keys of the works that the leaderboard of a division rests on, each once."""
    challenge = board.challenge
    keys = [_OF_CHALLENGE[challenge.name]] if challenge.name in _OF_CHALLENGE else []
    for metric in challenge.computed_metrics:
        name = "hd" if re.fullmatch(r"hd\d*(\.\d+)?", metric) else metric
        keys += [_OF_METRIC[name]] if name in _OF_METRIC else []
    if division.analysis is not None and len(division.ranked) > 1:
        keys += ["wiesenfarth2021", "wilcoxon1945", "holm1979"]
    if board.bootstrap_samples:
        keys.append("efron1987")
    return list(dict.fromkeys(keys))


def _methods(division: Division) -> Iterator[tuple[str, dict[str, str]]]:
    for run in division.values:
        record = run.record
        how = {
            "container": f"image {record.image.identity or record.image.digest}"
            if record.image
            else "container",
            "predictions": "predictions made elsewhere",
            "imported": "imported from others' tables",
        }[record.source]
        note = f"submission {record.team}, run {record.run}, {how}"
        year = str(record.created_at.year)
        yield _key(record.team), {"title": record.title or record.team, "note": note, "year": year}


def _key(team: str) -> str:
    return "team-" + (re.sub(r"[^A-Za-z0-9_.-]+", "-", team).strip("-") or "unnamed")


def _bibtex(key: str, kind: str, fields: Mapping[str, str]) -> str:
    foreign = kind == "misc"
    lines = [f"  {name} = {{{_escaped(value) if foreign else value}}}" for name, value in fields.items()]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}\n"


def _escaped(text: str) -> str:
    """Return foreign text that BibTeX and LaTeX print as it is."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(sign, f"\\{sign}" if sign in "{}$&%#_" else sign) for sign in printable(text))
