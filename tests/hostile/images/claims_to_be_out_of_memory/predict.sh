echo "Out of memory: Killed process 1" >&2
kill -9 $$
