#!/bin/sh
# Print the first Python of 3.11 or later, or say how to get one.
# PYTHON   the Python to take, if it is new enough
set -eu
for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$candidate"
        exit 0
    fi
done
echo "make: no Python 3.11 or later was found. Install one (Debian 12: apt-get install python3.11 python3.11-venv)," \
    "or name it: make PYTHON=/path/to/python" >&2
exit 3
