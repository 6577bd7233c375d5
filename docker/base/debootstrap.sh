#!/bin/sh
# Make the root file system of the base image without a registry: Debian bookworm and its Python 3.11.
# usage: debootstrap.sh ROOTFS.tar.gz
# DEBIAN_MIRROR names a mirror where debootstrap's default is not the right one.
set -eu

fail() {
    echo "debootstrap.sh: $1" >&2
    exit 3
}

[ "$#" -eq 1 ] || fail "usage: debootstrap.sh ROOTFS.tar.gz"
target=$1
PATH=$PATH:/usr/sbin:/sbin
[ "$(id -u)" -eq 0 ] || fail "needs root. Run as root, or let a registry provide the base: BASE=registry"
sh "$(dirname "$0")/../packages.sh" base || fail "debootstrap is missing. Install it, or let a registry provide the base: BASE=registry"

mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$(dirname "$target")/debootstrap.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM
root=$work/root
packages=$(cd "$(dirname "$target")" && pwd)/debs
mkdir -p "$packages"

# shellcheck disable=SC2086  # an empty mirror must vanish
debootstrap --variant=minbase --cache-dir="$packages" --include=ca-certificates,python3.11 bookworm "$root" ${DEBIAN_MIRROR:-} >"$work/log" 2>&1 || {
    tail -n 20 "$work/log" "$root/debootstrap/debootstrap.log" >&2 2>/dev/null || true
    fail "debootstrap failed; its last lines are above. Is Debian's mirror reachable? DEBIAN_MIRROR names another"
}

# What apt can fetch again and what nobody reads in a container; licences stay.
find "$root/usr/share/doc" -mindepth 2 ! -name copyright ! -type d -delete
find "$root/usr/share/doc" -mindepth 1 -type d -empty -delete
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/debconf/*-old \
    "$root"/var/log/* "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/* \
    "$root"/usr/share/i18n/locales/* "$root"/tmp/* "$root"/run/*
find "$root" -xdev -name __pycache__ -type d -prune -exec rm -rf {} +
: >"$root/etc/machine-id"
rm -f "$root/etc/resolv.conf" "$root/etc/hostname"

tar --create --gzip --file "$work/rootfs.tar.gz" --directory "$root" --numeric-owner --sort=name \
    --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* .
mv "$work/rootfs.tar.gz" "$target"
