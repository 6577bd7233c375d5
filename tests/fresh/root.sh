# Makes the root file system of a bare Debian 12 that belongs to this site. Sourced by machine.sh and vm.sh.
# "Bare" is what the README asks for, and nothing else: make, git, certificates and Python 3.11.

suite=bookworm
bare=make,git,ca-certificates,python3.11
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
downloads=${FLAREHARNESS_CACHE:-$HOME/.cache/flareharness}
cache=$downloads/fresh
PATH=$PATH:/usr/sbin:/sbin

fail() { echo "fresh: $1" >&2; exit "${2:-3}"; }

# usage: packed_root FILE MORE-PACKAGES PREPARE   (packages separated by commas; PREPARE is called with the new root)
# Makes FILE, a tar of the root, unless it is there.
packed_root() {
    local file=$1 root
    [ ! -f "$file" ] || return 0
    mkdir -p "$cache" "$downloads/debs"
    root=$(mktemp -d "$cache/making.XXXX")
    echo "fresh: making a bare Debian with debootstrap (once)" >&2
    flock "$downloads/debs" debootstrap --variant=minbase --cache-dir="$downloads/debs" --include="$bare${2:+,$2}" "$suite" "$root" \
        ${DEBIAN_MIRROR:-} >"$root.log" 2>&1 || { tail -n 10 "$root.log" >&2; fail "debootstrap failed"; }
    "$3" "$root"
    tar -C "$root" -cf "$file.part" .
    mv "$file.part" "$file"
    rm -rf --one-file-system "$root" "$root.log"
}

# Prints the settings in the environment that pip, apt, git and Python obey, as NAME=VALUE.
site_environment() {
    env | grep -E '^(PIP_[A-Z_]+|[A-Za-z]+_(proxy|PROXY)|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|GIT_SSL_CAINFO|TORCH_INDEX_URL|DEBIAN_MIRROR)=' || true
}

# Prints pip's settings files of this host, the same that pip reads.
pip_files() {
    local file
    for file in /etc/pip.conf /etc/xdg/pip/* "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf" "${PIP_CONFIG_FILE:-}"; do
        if [ -f "$file" ]; then echo "$file"; fi
    done
}

# Prints the files and folders of this host that those settings name. An index made of files links to a folder beside it.
named_places() {
    local text place
    text=$(site_environment; pip_files | xargs -r cat)
    {
        grep -oE 'file://[^ "]+' <<<"$text" | sed 's,file://,,; s,/*$,,' | while read -r place; do
            [ "$(dirname "$(dirname "$place")")" = / ] && echo "$place" || dirname "$place"
        done
        sed 's,file://[^ "]*,,g' <<<"$text" | grep -oE '(^|[ =:])/[^ :"]+' | grep -oE '/.*'
    } | sort -u | while read -r place; do
        case $place in /etc/ssl/*) ;; *) if [ -e "$place" ]; then echo "$place"; fi ;; esac
    done
}

# usage: carry_settings ROOT    what this site's machines have: package sources, certificates, names, pip's settings
carry_settings() {
    local root=$1 file
    rm -rf "$root/etc/apt" "$root/etc/ssl/certs"
    mkdir -p "$root/etc/ssl" "$root/usr/local/share/ca-certificates" "$root/usr/share/keyrings" "$root/usr/share/ca-certificates"
    cp -a /etc/apt "$root/etc/apt"
    cp -aL /etc/ssl/certs "$root/etc/ssl/certs"
    cp -a /usr/share/keyrings/. "$root/usr/share/keyrings/" 2>/dev/null || true
    cp -a /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
    cp -L /etc/hosts "$root/etc/hosts"
    cat /etc/resolv.conf >"$root/etc/resolv.conf"
    pip_files | while read -r file; do
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done
}

# usage: bind_places ROOT       shows the named places of this host in it, to be read only
bind_places() {
    local root=$1 place
    named_places | while read -r place; do
        [ ! -e "$root$place" ] || continue
        if [ -d "$place" ]; then mkdir -p "$root$place"; else mkdir -p "$root$(dirname "$place")"; : >"$root$place"; fi
        mount --bind -o ro "$place" "$root$place"
    done
}

# usage: clone_into FOLDER      a clean clone of the checkout's HEAD; what is not committed does not count
clone_into() {
    [ -z "$(git -C "$checkout" status --porcelain --untracked-files=no)" ] ||
        echo "fresh: NOT COMMITTED CHANGES ARE LEFT OUT" >&2
    git clone --quiet --no-local "$checkout" "$1"
}

# usage: leave_out FOLDER       takes the package LEAVE_OUT, if one is named, out of a clone's list
leave_out() {
    local list=$1/docker/packages.txt
    [ -n "${LEAVE_OUT:-}" ] || return 0
    grep -qE "^\w+ +$LEAVE_OUT( |\$)" "$list" || fail "no package $LEAVE_OUT in the list" 2
    sed -i -E "/^\w+ +$LEAVE_OUT( |\$)/d" "$list"
}
