#!/bin/sh
# Make sure that a container engine answers: install and start Docker where that is ours to do.
# As root on Debian or Ubuntu it needs nothing but this script; elsewhere it says what to do. Safe to run again.
# ENGINE=manual   never install or start anything
# DOCKER_HOST     an engine elsewhere; only asked, never started
# PYTHON          the Python that asks the engine (any version 3)
set -eu

log=/var/log/dockerd.log
pid_file=/var/run/docker.pid
wait_s=60
python=${PYTHON:-python3}

say() { echo "engine: $1" >&2; }

refuse() {
    say "$1 Get an engine: as root on Debian or Ubuntu run \`make engine\`; otherwise install Docker or Podman, start it," \
        "and join the group docker or set DOCKER_HOST to its socket."
    exit 3
}

# Asks the Docker API itself: a host needs no `docker` command.
answers() {
    "$python" "$(dirname "$0")/ping.py"
}

install_engine() {
    say "installing docker.io (this can take a minute)"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends docker.io iptables >/dev/null </dev/null
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

start_engine() {
    if [ -d /run/systemd/system ]; then
        systemctl start docker
        return
    fi
    forget_stale_pid
    if [ ! -f "$pid_file" ]; then
        say "starting dockerd, its log is $log"
        setsid dockerd >"$log" 2>&1 </dev/null &
    fi
}

wait_for_engine() {
    left=$wait_s
    until answers; do
        left=$((left - 1))
        if [ "$left" -le 0 ]; then
            [ -f "$log" ] && tail -n 20 "$log" >&2
            say "dockerd did not answer within $wait_s s. Its last lines are above; the whole log: $log, or journalctl -u docker"
            exit 4
        fi
        sleep 1
    done
}

command -v "$python" >/dev/null || refuse "there is no $python."
if answers; then
    say "an engine answers"
    exit 0
fi
[ -z "${DOCKER_HOST:-}" ] || refuse "no engine answers at DOCKER_HOST=$DOCKER_HOST."
[ "${ENGINE:-auto}" != manual ] || refuse "no engine answers, and ENGINE=manual leaves it to you."
[ "$(id -u)" -eq 0 ] || refuse "no engine answers, and starting one needs root."
PATH=$PATH:/usr/sbin:/sbin
if ! command -v dockerd >/dev/null; then
    command -v apt-get >/dev/null || refuse "no engine answers, and this is neither Debian nor Ubuntu."
    install_engine
fi
start_engine
wait_for_engine
say "an engine answers"
