#!/bin/bash
# Boot a whole Debian 12 in emulation and run a command in a clean clone there, as root: Debian's own kernel with AppArmor,
# systemd, cgroup version 2 with the systemd driver. QEMU emulates the processor (no KVM), so it is 5 to 15 times slower.
# usage: vm.sh 'COMMAND'     Exit code: the command's; 124 if it did not end in time.
# What the project installs by itself (docker/packages.sh, make env-dev) is installed outside of the emulation, on the same
# root file system. The machine has no network.
# SECONDS_MAX=1500    how long the machine may run
# MEMORY_MIB=6144     its memory
# LEAVE_OUT=package   take this line out of docker/packages.txt first, to see that the proof notices
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/fresh/root.sh
source "$here/root.sh"

# Beside what the README asks for: what a Debian that boots has in any case.
machine=systemd,systemd-sysv,dbus,udev,kmod
kernel=linux-image-cloud-amd64

inside() { # usage: inside ROOT 'COMMAND'
    mapfile -t settings < <(site_environment)
    # Compiled kernels are to fit the emulated processor too.
    chroot "$1" /usr/bin/env -i HOME=/root DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES= \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${settings[@]}" bash -euc "$2" </dev/null
}

install_kernel() { # usage: install_kernel ROOT
    carry_settings "$1"
    (
        mount -t proc proc "$1/proc"
        trap 'umount "$1/proc"' EXIT
        inside "$1" "apt-get update -qq && apt-get install -y -qq --no-install-recommends $kernel" >"$1.log" 2>&1
    ) || { tail -n 10 "$1.log" >&2; fail "the kernel could not be installed"; }
}

# In a mount namespace of its own: what the project installs, installed by the project.
prepare() {
    local root=$1
    mount --make-rprivate /
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    # This root is made ready under another kernel than it will run on: Debian's own has AppArmor.
    mount -t tmpfs tmpfs "$root/sys"
    mkdir -p "$root/sys/module/apparmor/parameters"
    echo Y >"$root/sys/module/apparmor/parameters/enabled"
    bind_places "$root"
    mkdir -p "$root/root/.cache/pip" "$cache/pip"
    mount --bind "$cache/pip" "$root/root/.cache/pip"
    inside "$root" "cd /root/flareharness; export PYTHON=python3.11; sh docker/packages.sh env engine; make env-dev"
}

# The machine runs the command on its serial line, says how it ended and turns itself off.
set_up_boot() { # usage: set_up_boot ROOT COMMAND
    printf '%s\n' "$2" >"$1/root/command.sh"
    cat >"$1/root/begin.sh" <<'S'
cd /root/flareharness
systemctl is-system-running --wait >/dev/null
echo "machine: $(uname -sr), $(stat -fc %T /sys/fs/cgroup), AppArmor $(cat /sys/module/apparmor/parameters/enabled), up $(cut -d ' ' -f 1 /proc/uptime) s"
bash /root/command.sh
echo "machine: exit $?"
S
    cat >"$1/etc/systemd/system/begin.service" <<'S'
[Unit]
After=docker.service docker.socket
[Service]
Type=idle
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
Environment=HOME=/root LANG=C.UTF-8 TERM=dumb COLUMNS=120 NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES=
ExecStart=/bin/bash /root/begin.sh
ExecStopPost=/bin/systemctl poweroff --force --force
[Install]
WantedBy=multi-user.target
S
    echo '/dev/vda / ext4 defaults 0 1' >"$1/etc/fstab"
    inside "$1" "systemctl enable begin.service; systemctl mask serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer" \
        2>/dev/null
}

if [ "${1:-}" = --prepare ]; then
    prepare "$2"
    exit
fi

[ $# -eq 1 ] || fail "usage: vm.sh 'COMMAND'" 2
[ "$(id -u)" -eq 0 ] || fail "NEEDS ROOT: debootstrap and mounts"
[ "$(uname -m)" = x86_64 ] || fail "NEEDS x86-64: the emulated machine is one"
sh "$checkout/docker/packages.sh" base vm
for program in debootstrap qemu-system-x86_64 mkfs.ext4; do
    command -v "$program" >/dev/null || fail "NO $program: is its package in docker/packages.txt?"
done
packed=$cache/machine-$(echo "$suite $bare $machine $kernel" | sha256sum | cut -c 1-12).tar
packed_root "$packed" "$machine" install_kernel

work=$(mktemp -d "$cache/vm.XXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM
root=$work/root
mkdir "$root"
tar -C "$root" -xf "$packed"
chmod 755 "$root" # a temporary folder is closed to all others
carry_settings "$root"
clone_into "$root/root/flareharness"
leave_out "$root/root/flareharness"
# The disk keeps whole seconds; compiled kernels are looked up by the times of their sources.
find "$root/root/flareharness" -name '*.py' -exec touch --date=2026-01-01 {} +
unshare --mount bash "$here/vm.sh" --prepare "$root" || fail "the project's own targets failed on this root" $?
set_up_boot "$root" "$1"
cp "$(ls "$root"/boot/vmlinuz-* | tail -n 1)" "$work/kernel"
cp "$(ls "$root"/boot/initrd.img-* | tail -n 1)" "$work/initrd"
mkfs.ext4 -q -F -d "$root" "$work/disk" 6G >/dev/null
rm -rf --one-file-system "$root"

echo "fresh: booting after $SECONDS s" >&2
timeout "${SECONDS_MAX:-1500}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m "${MEMORY_MIB:-6144}" \
    -display none -serial stdio -monitor none -no-reboot -nic none -kernel "$work/kernel" -initrd "$work/initrd" \
    -append 'console=ttyS0 root=/dev/vda rw panic=-1 mitigations=off quiet loglevel=1 systemd.show_status=false' \
    -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" </dev/null |
    sed -u 's,\r,,g' | tee "$work/out" | sed -un '/^machine: /,$p' || true
code=$(sed -n 's/^machine: exit \([0-9]*\).*/\1/p' "$work/out" | tail -n 1)
if [ -z "$code" ]; then
    tail -n 5 "$work/out" >&2
    fail "the machine did not end within ${SECONDS_MAX:-1500} s" 124
fi
echo "fresh: done after $SECONDS s" >&2
exit "$code"
