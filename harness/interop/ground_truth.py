"""A data set's references as one archive, the same bytes for the same files."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

from harness.data.dataset import Dataset
from harness.data.names import LABEL_ENDINGS
from harness.errors import ConfigurationError
from harness.files import whole_file

_LEVEL = 1  # label volumes are compressed already


def write_ground_truth(dataset: Dataset, path: Path) -> None:
    """Write every case's reference, named after the case, into a .tar.gz.

    Raises:
        ConfigurationError: a case has no reference.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        whole_file(path) as unfinished,
        unfinished.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=_LEVEL, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, label in reference_files(dataset):
            info = archive.gettarinfo(label, arcname=name)
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = ""
            info.mode = 0o644
            info.type, info.linkname, info.size = tarfile.REGTYPE, "", label.stat().st_size
            with label.open("rb") as content:
                archive.addfile(info, content)


def reference_files(dataset: Dataset) -> list[tuple[str, Path]]:
    """Return name and path of each case's reference.

    Raises:
        ConfigurationError: a case has none.
    """
    files = []
    for case in dataset.cases:
        if case.label is None:
            raise ConfigurationError(
                f"case {case.id} has no label",
                where=dataset.folder,
                mend="A platform scores with references.",
            )
        ending = next(suffix for suffix in LABEL_ENDINGS if case.label.name.lower().endswith(suffix))
        files.append((f"{case.id}{ending}", case.label))
    return files
