dd if=/dev/zero of=/tmp/big bs=1M count=100000
