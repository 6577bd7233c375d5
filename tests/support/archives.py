"""Image archives in memory, as the usual writers make them, for the tests of the intake."""

import gzip
import hashlib
import io
import json
import tarfile


def sha(data):
    return hashlib.sha256(data).hexdigest()


def member(name, kind=tarfile.REGTYPE, target="", content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar(*members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def files_tar(files, *more):
    return tar(*(member(name, content=data) for name, data in files.items()), *more)


def unpack(archive, folder):
    """Unpack a tar that is open, as Pythons without and with filters do it."""
    archive.extraction_filter = getattr(tarfile, "data_filter", lambda info, path: info)
    archive.extractall(folder)


def layer(*names):
    return tar(*(member(name, content=b"x") for name in names))


def config_of(*layers, **more):
    return json.dumps(
        {"os": "linux", "rootfs": {"diff_ids": [f"sha256:{sha(data)}" for data in layers]}, **more}
    ).encode()


def docker_files(*layers, stored=None, config=None, tags=("python:3.11",)):
    """Return the files of a `docker save` archive as Docker before 25 writes it."""
    config = config_of(*layers) if config is None else config
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": f"{sha(config)}.json", "RepoTags": tags and list(tags), "Layers": names}]
    files = {f"{sha(config)}.json": config, "manifest.json": json.dumps(manifest).encode()}
    return files | dict(zip(names, stored or layers, strict=True))


def oci_files(*layers, compress=gzip.compress, platform=None, extra=(), config=None, names=("",)):
    """Return the files of an OCI layout, with an entry of its index per name."""
    blobs = {}

    def put(data):
        blobs[f"blobs/sha256/{sha(data)}"] = data
        return {"digest": f"sha256:{sha(data)}", "size": len(data)}

    config = config_of(*layers) if config is None else config
    manifest = {"config": put(config), "layers": [put(compress(data)) for data in layers]}
    entry = put(json.dumps(manifest).encode()) | ({"platform": platform} if platform else {})
    entries = [
        entry | ({"annotations": {"org.opencontainers.image.ref.name": name}} if name else {})
        for name in names
    ]
    index = {"manifests": [*entries, *extra]}
    return {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps(index).encode(),
        **blobs,
    }
