"""Engines that live in memory: the images of Docker's two stores behind the SDK's own calls."""

import hashlib
import io
import json
import tarfile
from types import SimpleNamespace

import requests
from docker.errors import APIError


def sha256(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def not_found(name):
    response = requests.Response()
    response.status_code = 404
    return APIError(f"no such image: {name}", response=response, explanation=f"no such image: {name}")


class FakeApi:
    """The image calls of `docker.APIClient`, over a store that loads and saves what Docker's would.

    Args:
        containerd: Whether the store names images by their manifest, as Docker's containerd store.
    """

    timeout = 60

    def __init__(self, *, containerd=False, architecture="amd64", memory_bytes=8 << 30):
        self.containerd = containerd
        self.architecture = architecture
        self.memory_bytes = memory_bytes
        self.images_by_id = {}
        self.tags = {}
        self.saved = 0

    def info(self):
        status = (
            [["driver-type", "io.containerd.snapshotter.v1"]] if self.containerd else [["Backing", "extfs"]]
        )
        return {"DriverStatus": status, "NCPU": 4, "MemTotal": self.memory_bytes, "DockerRootDir": ""}

    def version(self):
        return {"Os": "linux", "Arch": self.architecture}

    def load_image(self, chunks):
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            files = {each.name: archive.extractfile(each).read() for each in archive}
        (entry,) = json.loads(files["manifest.json"])
        config = files[entry["Config"]]
        layers = [files[name] for name in entry["Layers"]]
        assert [sha256(layer) for layer in layers] == json.loads(config)["rootfs"]["diff_ids"]
        identifier = sha256(config)
        if self.containerd:
            identifier = sha256(json.dumps({"config": sha256(config), "of": "manifest"}).encode())
        self.images_by_id[identifier] = (config, layers)
        for tag in entry["RepoTags"] or ():
            self.tags[tag] = identifier
        return iter(())

    def inspect_image(self, reference):
        identifier = self.tags.get(reference, reference)
        if identifier not in self.images_by_id:
            raise not_found(reference)
        config, layers = self.images_by_id[identifier]
        about = json.loads(config)
        found = {
            "Id": identifier,
            "RepoTags": [tag for tag, owner in self.tags.items() if owner == identifier],
            "Size": sum(map(len, layers)),
            "Os": about.get("os", "linux"),
            "Architecture": about.get("architecture", self.architecture),
            "Config": about.get("config") or {},
            "RootFS": {"Layers": about["rootfs"]["diff_ids"]},
        }
        return found | ({"Descriptor": {"digest": identifier}} if self.containerd else {})

    def get_image(self, reference):
        self.saved += 1
        config, layers = self.images_by_id[self.tags.get(reference, reference)]
        blobs = {f"blobs/sha256/{sha256(data)[7:]}": data for data in (*layers, config)}
        names = [f"blobs/sha256/{sha256(layer)[7:]}" for layer in layers]
        tags = [reference] if reference in self.tags else None
        manifest = [{"Config": f"blobs/sha256/{sha256(config)[7:]}", "RepoTags": tags, "Layers": names}]
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name, data in [*sorted(blobs.items()), ("manifest.json", json.dumps(manifest).encode())]:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        data = file.getvalue()
        return (data[at : at + 1000] for at in range(0, len(data), 1000))

    def images(self):
        return [
            {"Id": identifier, "RepoTags": [tag for tag, owner in self.tags.items() if owner == identifier]}
            for identifier in self.images_by_id
        ]

    def tag(self, reference, repository, version):
        self.tags[f"{repository}:{version}"] = self.tags.get(reference, reference)
        return True

    def remove_image(self, reference, noprune=False):
        if reference not in self.tags:
            raise not_found(reference)
        del self.tags[reference]


def fake_client(**options):
    """Return what looks like a `docker.DockerClient`."""
    return SimpleNamespace(api=FakeApi(**options), close=lambda: None)
