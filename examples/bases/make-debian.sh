#!/usr/bin/env bash
# Makes `debian:bookworm`, the base of the examples, from Debian's own packages and puts it into kiln's store.
#
#   examples/bases/make-debian.sh [TARBALL]
#
# With TARBALL it only writes the root filesystem there. Needs mmdebstrap. The package mirror is the one that this
# machine uses; MIRROR=… names another.
set -euo pipefail

suite=bookworm
tarball=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

root=${tarball:-$work/debian.tar}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-315532800}
mmdebstrap --variant=minbase --include=ca-certificates \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "$root" ${MIRROR:+"$MIRROR"}

if [ -z "$tarball" ]; then
    kiln import -c 'CMD ["bash"]' "$root" "debian:$suite"
fi
