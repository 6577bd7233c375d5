#!/bin/bash
# Run a command in a clean clone on a bare Debian 12 of its own, as root:
# own root file system, processes, cgroups and engine. Packages that this host has by hand are not there.
# usage: machine.sh 'COMMAND'
# The network is the host's; wheels and Debian's files that were downloaded before are used again. Exit code: the command's.
# LEAVE_OUT=package   take this line out of docker/packages.txt first, to see that the test notices
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/fresh/root.sh
source "$here/root.sh"

# In the new mount and process namespaces: build the machine's file systems around its root, and enter it.
enter() {
    local root=$1 command=$2 controllers
    mount --make-rprivate /
    mount --bind "$root" "$root"
    bind_places "$root"
    mkdir -p "$root/root/.cache/flareharness" "$root/root/.cache/pip"
    for folder in wheels debs; do
        mkdir -p "$downloads/$folder" "$root/root/.cache/flareharness/$folder"
        mount --bind "$downloads/$folder" "$root/root/.cache/flareharness/$folder"
    done
    mkdir -p "$cache/pip"
    mount --bind "$cache/pip" "$root/root/.cache/pip"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
        umount "$root/sys/fs/cgroup"
        mount -t cgroup2 cgroup "$root/sys/fs/cgroup"
        # Controllers can be handed down only by a cgroup that has no processes of its own.
        mkdir "$root/sys/fs/cgroup/init"
        while read -r pid; do echo "$pid" >"$root/sys/fs/cgroup/init/cgroup.procs" 2>/dev/null || true; done \
            <"$root/sys/fs/cgroup/cgroup.procs"
        sed 's/\(^\| \)/ +/g' "$root/sys/fs/cgroup/cgroup.controllers" >"$root/sys/fs/cgroup/cgroup.subtree_control"
    else
        while IFS=: read -r _ controllers _; do
            [ -n "$controllers" ] || continue
            mkdir -p "$root/sys/fs/cgroup/${controllers#name=}"
            case $controllers in name=*) controllers=none,$controllers ;; esac
            mount -t cgroup -o "$controllers" cgroup "$root/sys/fs/cgroup/${controllers#none,name=}"
        done </proc/self/cgroup
    fi
    mkdir -p "$root/host"
    cd "$root"
    pivot_root . host
    cd /root/flareharness
    umount --lazy /host
    mapfile -t settings < <(cat /root/site)
    exec env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "${settings[@]}" bash -c "$command"
}

# A cgroup of the machine's own in every hierarchy; this process moves into it, and what it starts follows.
# On version 2 it lies at the top, because only there can a group with processes hand controllers down.
cgroup_places() {
    local controllers path
    if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
        echo /sys/fs/cgroup
        return
    fi
    while IFS=: read -r _ controllers path; do
        [ -z "$controllers" ] || echo "/sys/fs/cgroup/${controllers#name=}${path%/}"
    done </proc/self/cgroup
}

move_into_cgroups() {
    local place controller file
    for place in "${places[@]}"; do
        for controller in cpu cpuset io memory pids; do
            { echo "+$controller" >"$place/cgroup.subtree_control"; } 2>/dev/null || true
        done
        mkdir -p "$place/$name"
        for file in cpuset.cpus cpuset.mems; do
            if [ -f "$place/cpuset.cpu_exclusive" ]; then cat "$place/$file" >"$place/$name/$file"; fi
        done
        if [ -f "$place/$name/cgroup.controllers" ]; then
            grep -q memory "$place/$name/cgroup.controllers" || fail "this cgroup may not limit memory: run on the host itself"
        fi
        echo "$machine_pid" >"$place/$name/cgroup.procs"
    done
}

# Prints the CPU seconds of everything that ran in the machine, its containers included.
cpu_s() {
    local place
    for place in "${places[@]}"; do
        if [ -f "$place/$name/cpuacct.usage" ]; then
            echo $(($(cat "$place/$name/cpuacct.usage") / 1000000000))
        elif [ -f "$place/$name/cpu.stat" ]; then
            awk '$1 == "usage_usec" { print int($2 / 1e6) }' "$place/$name/cpu.stat"
        fi
    done | head -n 1
}

clean_up() {
    local place
    for place in "${places[@]}"; do
        find "$place/$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
    rm -rf --one-file-system "$work"
}

if [ "${1:-}" = --enter ]; then
    enter "$2" "$3"
fi

[ $# -eq 1 ] || fail "usage: machine.sh 'COMMAND'" 2
[ "$(id -u)" -eq 0 ] || fail "NEEDS ROOT: debootstrap and namespaces"
sh "$checkout/docker/packages.sh" base
packed=$cache/bare-$(echo "$suite $bare" | sha256sum | cut -c 1-12).tar
packed_root "$packed" "" true

work=$(mktemp -d "$cache/machine.XXXX")
name=flareharness-${work##*.}
mapfile -t places < <(cgroup_places)
trap clean_up EXIT
trap 'exit 130' INT TERM
root=$work/root
mkdir "$root"
tar -C "$root" -xf "$packed"
chmod 755 "$root" # a temporary folder is closed to all others
carry_settings "$root"
site_environment >"$root/root/site"
clone_into "$root/root/flareharness"
# Two engines share the network and its bridge, which one that wants none would remove; the packet filter is the other's.
# No container here has a network.
mkdir -p "$root/etc/docker"
echo '{"iptables": false, "ip6tables": false}' >"$root/etc/docker/daemon.json"
leave_out "$root/root/flareharness"

status=0
began=$SECONDS
(
    machine_pid=$BASHPID
    move_into_cgroups
    exec unshare --mount --pid --cgroup --ipc --uts --fork --kill-child -- bash "$here/machine.sh" --enter "$root" "$1"
) </dev/null || status=$?
echo "fresh: exit code $status after $((SECONDS - began)) s, with $(cpu_s) s of CPU time" >&2
exit "$status"
