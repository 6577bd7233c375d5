sleep 100000 &
kill -9 1
kill -9 -1
kill -9 $$
