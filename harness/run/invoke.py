"""Algorithms of grand-challenge.org that serve HTTP: started, and called once, inside of their container.

An image with the label `org.grand-challenge.api-method="invoke"` listens on port 4743. The platform asks
`/health` until it answers 200, then posts to `/invoke`, which answers 201 when the output is written
(https://github.com/DIAGNijmegen/demo-challenge-pack). A case's container has no network but its own loopback,
so the caller runs beside the server, on the image's own Python.
"""

from __future__ import annotations

from harness.challenge import Contract
from harness.engine.base import ImageInfo

LABEL = "org.grand-challenge.api-method"
INVOKE = "invoke"

_SHELL = """\
python=$(command -v python3 || command -v python) || {
    echo 'the image has no Python to call its server with' >&2
    exit 127
}
caller=$1
shift
"$@" &
server=$!
"$python" -I -c "$caller" "$server"
code=$?
if [ "$code" -eq 3 ]; then
    wait "$server"
    code=$?
    [ "$code" -ne 0 ] || code=1
else
    kill "$server" 2>/dev/null
fi
exit "$code"
"""

_CALLER = """\
import sys, time, urllib.error, urllib.request

def is_alive():
    try:
        with open("/proc/" + sys.argv[1] + "/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

def status(path, data=None):
    try:
        with opener.open("http://127.0.0.1:4743" + path, data=data) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
while status("/health") != 200:
    if not is_alive():
        sys.stderr.write("the server ended before it was healthy\\n")
        sys.exit(3)
    time.sleep(0.1)
code = status("/invoke", data=b"")
if code != 201:
    sys.stderr.write("/invoke answered %d, not 201\\n" % code)
    sys.exit(1 if is_alive() else 3)
"""


def server_of(image: ImageInfo, contract: Contract) -> tuple[str, ...]:
    """Return the argv of the server that an image is; empty for an image that runs once and ends."""
    if contract.grand_challenge is None or image.labels.get(LABEL) != INVOKE:
        return ()
    return (*image.entrypoint, *image.command)


def calling(server: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return entrypoint and command of a container that starts a server, calls it once and ends."""
    return ("/bin/sh", "-c", _SHELL, "sh"), (_CALLER, *server)
