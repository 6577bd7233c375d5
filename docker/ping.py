"""Ask whether a container engine answers at DOCKER_HOST or at Docker's usual socket; exit 0 if one does."""

import os
import socket
import sys
from urllib.parse import urlsplit

TIMEOUT_S = 5

host = urlsplit(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
try:
    if host.scheme == "unix":
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(TIMEOUT_S)
        link.connect(host.path)
    else:
        link = socket.create_connection((host.hostname, host.port or 2375), timeout=TIMEOUT_S)
    link.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
    answer = link.recv(64)
except OSError:
    sys.exit(1)
sys.exit(0 if b" 200 " in answer else 1)
