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
if [ -f "$place" ]; then
    echo "faketime: $place is there"
    exit 0
fi
for tool in apt-get dpkg; do
    command -v "$tool" >/dev/null || {
        echo "faketime: \`$tool\` is not there; put $library of libfaketime into $tools/faketime yourself" >&2
        exit 3
    }
done

work=$(mktemp -d "$tools/faketime.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
echo "faketime: fetching libfaketime"
(cd "$work" && apt-get download libfaketime >/dev/null)
for file in "$work"/*.deb; do
    dpkg -x "$file" "$work/root"
done
mkdir "$work/made"
cp -L "$(find "$work/root" -name "$library" | head -n 1)" "$work/made/$library"

# A clock that is a day ahead says another date.
now=$(date +%s)
ahead=$(LD_PRELOAD="$work/made/$library" FAKETIME=+1d date +%s)
[ $((ahead - now)) -ge 86399 ] || {
    echo "faketime: with $library the clock is $((ahead - now)) s ahead, not a day" >&2
    exit 3
}
rm -rf "$tools/faketime"
mv "$work/made" "$tools/faketime"
echo "faketime: $place"
