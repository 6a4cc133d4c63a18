#!/bin/sh
# Fetches libfaketime from the distribution's package into TOOLS/faketime, without installing it. It puts the clock of one process off, so that
# claims about clocks can be judged of gateways that we did not write.
#
# usage: faketime.sh TOOLS        (default: target/tools)
set -eu

tools=${1:-target/tools}
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
# The one for programs with threads.
library=libfaketimeMT.so.1
place=$tools/faketime/$library

fail() {
    echo "faketime: $1" >&2
    exit 3
}

# Whether a clock that is a day ahead says another date with this library.
works() {
    now=$(date +%s)
    # From its folder: the loader splits what it is told at spaces.
    ahead=$(cd "$(dirname "$1")" && LD_PRELOAD="./$library" FAKETIME=+1d date +%s 2>/dev/null) && [ $((ahead - now)) -ge 86399 ]
}

if [ -f "$place" ] && works "$place"; then
    echo "faketime: $place is there"
    exit 0
fi
for tool in apt-get dpkg; do
    command -v "$tool" >/dev/null || fail "\`$tool\` is not there; put $library of libfaketime into $tools/faketime yourself"
done

work=$(mktemp -d "$tools/faketime.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
echo "faketime: fetching libfaketime"
(cd "$work" && apt-get download libfaketime >/dev/null) || fail "apt-get could not fetch libfaketime (are its lists there? \`apt-get update\`)"
for file in "$work"/*.deb; do
    dpkg -x "$file" "$work/root"
done
found=$(find "$work/root" -name "$library" | head -n 1)
[ -n "$found" ] || fail "there is no $library in the package libfaketime"
mkdir "$work/made"
cp -L "$found" "$work/made/$library"
works "$work/made/$library" || fail "with $library a clock that should be a day ahead is not"
rm -rf "$tools/faketime"
mv "$work/made" "$tools/faketime"
echo "faketime: $place"
