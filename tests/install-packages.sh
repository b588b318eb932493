#!/usr/bin/env bash
# Installs the Debian packages of tests/packages.txt that are missing, and says which; and below target/ a server that speaks S3 and
# the client of docker. As root, or with sudo; where neither is possible it says what is left out and goes on: the tests skip it.
set -euo pipefail
cd "$(dirname "$0")"

tools=../target/tools
mkdir -p "$tools"

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
can_be_root() { [ "$(id -u)" = 0 ] || command -v sudo > /dev/null; }

install_packages() {
    local missing=() package state
    while read -r package; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || missing+=("$package")
    done < packages.txt
    if [ ${#missing[@]} -eq 0 ]; then
        echo "packages: all $(wc -l < packages.txt) are installed"
    elif can_be_root; then
        echo "packages: installing ${missing[*]}"
        "${as_root[@]}" apt-get update -q
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
    else
        echo "packages: neither root nor sudo; tests will skip what needs: ${missing[*]}" >&2
    fi
}

install_s3rver() {
    local version=3.7.1
    if [ "$(cat "$tools/s3rver.version" 2>/dev/null || true)" = "$version" ]; then
        return
    elif command -v npm > /dev/null; then
        echo "packages: installing s3rver $version below target/tools"
        npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tools" "s3rver@$version"
        echo "$version" > "$tools/s3rver.version"
    else
        echo "packages: no npm; tests will skip what needs s3rver" >&2
    fi
}

# Only the client: to install the package would start its daemon.
install_docker() {
    local folder archive
    [ ! -x "$tools/docker" ] || return 0
    folder=$(mktemp -d)
    if ! download_docker "$folder" && can_be_root; then
        "${as_root[@]}" apt-get update -q
        download_docker "$folder" || true
    fi
    for archive in "$folder"/*.deb; do
        if dpkg-deb --fsys-tarfile "$archive" 2>/dev/null | tar -xO ./usr/bin/docker > "$folder/docker" 2>/dev/null; then
            echo "packages: taking the client of docker from ${archive##*/}"
            install -m 0755 "$folder/docker" "$tools/docker"
        fi
    done
    rm -rf "$folder"
    [ -x "$tools/docker" ] || echo "packages: no client of docker; tests will skip what needs it" >&2
}

# Newer releases have the client in a package of its own.
download_docker() {
    (cd "$1" && (apt-get download -q docker-cli || apt-get download -q docker.io) 2>/dev/null)
}

install_packages
install_s3rver
install_docker
