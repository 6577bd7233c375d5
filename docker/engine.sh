#!/bin/sh
# Make sure that a container engine answers: install and start Docker where that is ours to do.
# As root on Debian or Ubuntu it needs nothing but this script; elsewhere it says what to do. Safe to run again.
# usage: engine.sh [--possible]
# --possible      change nothing: print the purposes of packages.txt that an engine and images need here (none if one
#                 answers), or say why there can be no engine (exit 3)
# ENGINE=manual   never install or start anything
# DOCKER_HOST     an engine elsewhere; only asked, never started
# PYTHON          the Python that asks the engine (any version 3)
set -eu

here=$(dirname "$0")
log=/var/log/dockerd.log
pid_file=/var/run/docker.pid
wait_s=60
python=${PYTHON:-python3}

say() { echo "engine: $1" >&2; }

refuse() {
    lacking=$(sh "$here/packages.sh" --missing env engine | sed 's/: / (/; s/$/)/' | tr '\n' ',' | sed 's/,$//; s/,/, /g')
    say "$1${lacking:+ This host lacks $lacking.} Get an engine: as root on Debian or Ubuntu run \`make engine\`; otherwise install\
 Docker or Podman, start it, and join the group docker or set DOCKER_HOST to its socket. Without any engine,\
 \`make evaluate TEAM=name ENGINE=process\` runs the same submission as a plain process: not isolated, and marked so."
    exit 3
}

# Asks the Docker API itself: a host needs no `docker` command.
answers() {
    "$python" "$here/ping.py"
}

# What no engine can do without: the right to mount, and a cgroup of its own.
has_privileges() {
    unshare --mount true 2>/dev/null || return 1
    cgroup=/sys/fs/cgroup
    if [ -d $cgroup/memory ]; then cgroup=$cgroup/memory; fi
    mkdir "$cgroup/flareharness-$$" 2>/dev/null || return 1
    rmdir "$cgroup/flareharness-$$"
}

# A dockerd that was killed leaves its pid behind; another process may have that pid by now, which dockerd would take
# for a running engine.
forget_stale_pid() {
    [ -f "$pid_file" ] || return 0
    pid=$(cat "$pid_file")
    case $(cat "/proc/$pid/comm" 2>/dev/null) in
        dockerd) say "dockerd runs already (process $pid); waiting for it" ;;
        *) rm -f "$pid_file" ;;
    esac
}

started=""
start_engine() {
    if [ -d /run/systemd/system ]; then
        systemctl start docker
        return
    fi
    forget_stale_pid
    if [ ! -f "$pid_file" ]; then
        say "starting dockerd, its log is $log"
        setsid dockerd >"$log" 2>&1 </dev/null &
        started=$!
    fi
}

wait_for_engine() {
    left=$wait_s
    until answers; do
        left=$((left - 1))
        # setsid may have left its place to a child of its own; then dockerd's pid file tells whether it lives.
        if [ -n "$started" ] && ! kill -0 "$started" 2>/dev/null && [ ! -f "$pid_file" ]; then left=0; fi
        if [ "$left" -le 0 ]; then
            [ -f "$log" ] && tail -n 5 "$log" >&2
            say "dockerd does not answer. Its last lines are above; the whole log: $log, or journalctl -u docker.\
 Without any engine, \`make evaluate TEAM=name ENGINE=process\` runs the same submission as a plain process: not isolated,\
 and marked so."
            exit 4
        fi
        sleep 1
    done
}

PATH=$PATH:/usr/sbin:/sbin
command -v "$python" >/dev/null || refuse "there is no $python."
if answers; then
    [ "${1:-}" = --possible ] || say "an engine answers"
    exit 0
fi
[ -z "${DOCKER_HOST:-}" ] || refuse "no engine answers at DOCKER_HOST=$DOCKER_HOST."
[ "${ENGINE:-auto}" != manual ] || refuse "no engine answers, and ENGINE=manual leaves it to you."
[ "$(id -u)" -eq 0 ] || refuse "no engine answers, and starting one needs root."
command -v dockerd >/dev/null || command -v apt-get >/dev/null ||
    refuse "no engine answers, and this is neither Debian nor Ubuntu."
has_privileges || refuse "no engine answers, and none can run here: this root may not mount or make cgroups, as in a plain container."
if [ "${1:-}" = --possible ]; then
    if ! command -v apt-get >/dev/null; then exit 0; fi
    [ "${BASE:-auto}" = registry ] && echo engine || echo engine base
    exit 0
fi
sh "$here/packages.sh" engine
start_engine
wait_for_engine
say "an engine answers"
