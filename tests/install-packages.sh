#!/usr/bin/env bash
# Installs the Debian packages of tests/packages.txt that are missing, and says which; and a server that speaks S3, below target/.
# As root, or with sudo; where neither is possible it says what is left out and goes on: the tests skip it.
set -euo pipefail
cd "$(dirname "$0")"

s3rver=3.7.1
tools=../target/tools
if [ "$(cat "$tools/s3rver.version" 2>/dev/null || true)" != "$s3rver" ]; then
    if command -v npm > /dev/null; then
        echo "packages: installing s3rver $s3rver below target/tools"
        mkdir -p "$tools"
        npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tools" "s3rver@$s3rver"
        echo "$s3rver" > "$tools/s3rver.version"
    else
        echo "packages: no npm; tests will skip what needs s3rver" >&2
    fi
fi

missing=()
while read -r package; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done < packages.txt
if [ ${#missing[@]} -eq 0 ]; then
    echo "packages: all $(wc -l < packages.txt) are installed"
    exit 0
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo > /dev/null; then
        echo "packages: neither root nor sudo; tests will skip what needs: ${missing[*]}" >&2
        exit 0
    fi
    as_root=(sudo)
fi
echo "packages: installing ${missing[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
