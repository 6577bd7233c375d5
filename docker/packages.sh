#!/bin/sh
# Make sure that this host has the packages of some purposes, from the list in packages.txt.
# usage: packages.sh [--missing] PURPOSE...
# As root on Debian or Ubuntu what is missing is installed, in one go; elsewhere one message names all of it (exit 3).
# --missing   install nothing: print `package: what it is for` a line, and nothing if all is there
# PYTHON      the Python that the environments are made with
# ENGINE=manual   never install anything
set -eu

list=$(dirname "$0")/packages.txt
python=${PYTHON:-python3}
PATH=$PATH:/usr/sbin:/sbin
only_list=""
if [ "${1:-}" = --missing ]; then
    only_list=yes
    shift
fi

version() { "$python" -c 'import sys; print("{}.{}".format(*sys.version_info))' 2>/dev/null || echo 3.11; }

is_there() {
    case $1 in
        python:*) "$python" -c "import ${1#python:}" 2>/dev/null ;;
        apparmor:*) ! grep -qs Y /sys/module/apparmor/parameters/enabled || command -v "${1#apparmor:}" >/dev/null ;;
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# Prints the lines `package what it is for` of what this host lacks.
missing() {
    while read -r purpose package sign what; do
        case " $wanted " in
            *" $purpose "*) is_there "$sign" || echo "$package $what" ;;
        esac
    done <"$list" | sed "s/{version}/$(version)/"
}

wanted="$*"
lacking=$(missing)
[ -n "$lacking" ] || exit 0
if [ -n "$only_list" ]; then
    echo "$lacking" | sed 's/ /: /'
    exit 0
fi
names=$(echo "$lacking" | cut -d ' ' -f 1 | tr '\n' ' ')
names=${names% }

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null || [ "${ENGINE:-}" = manual ]; then
    echo "packages: this host lacks $(echo "$lacking" | sed 's/ / (/; s/$/),/' | tr '\n' ' ' | sed 's/, $/./')" \
        "On Debian or Ubuntu, as root: apt-get install $names" >&2
    exit 3
fi

echo "packages: installing $names" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # several names
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $names; } >"$log" 2>&1 </dev/null || {
    tail -n 20 "$log" >&2
    echo "packages: apt-get could not install $names; its last lines are above." \
        "Are the package sources of this host right (apt-get update)?" >&2
    exit 3
}
