#!/bin/sh
# Fetches Redis from the distribution's packages into TOOLS/redis, without installing it (an installation may start a daemon):
# TOOLS/redis/redis-server and the shared libraries that this machine lacks in TOOLS/redis/lib.
# The runtimes use it from there; the runtime `docker` makes its image from it.
#
# usage: redis.sh TOOLS        (default: target/tools)
set -eu

tools=${1:-target/tools}
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
if [ -x "$tools/redis/redis-server" ]; then
    echo "redis: $tools/redis/redis-server is there"
    exit 0
fi
for tool in apt-get dpkg ldd; do
    command -v "$tool" >/dev/null || {
        echo "redis: \`$tool\` is not there; install redis-server yourself, or give the engine an image \`redis\`" >&2
        exit 3
    }
done

work=$(mktemp -d "$tools/redis.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
mkdir "$work/root" "$work/made" "$work/made/lib"

# The server, and of its dependencies what is not installed: at most four rounds (dependencies of dependencies).
fetch() {
    for package in "$@"; do
        echo "redis: fetching $package"
        (cd "$work" && apt-get download "$package" >/dev/null)
    done
    for file in "$work"/*.deb; do
        dpkg -x "$file" "$work/root"
        rm "$file"
    done
}
fetch redis-server redis-tools

# On Debian redis-server is a link to redis-check-rdb and finds out by its name what it is: follow the link, keep the name.
server=$work/root/usr/bin/redis-server
cp -L "$server" "$work/made/redis-server"

# Where the unpacked packages keep libraries.
unpacked() {
    find "$work/root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd: -
}
missing() {
    LD_LIBRARY_PATH=$(unpacked) ldd "$work/made/redis-server" | awk '/not found/ { print $1 }'
}
# Depends: of the package, one name a line, without versions and alternatives.
dependencies() {
    apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$1" |
        awk '$1 == "Depends:" && $2 !~ /^</ { print $2 }'
}
round=0
todo="redis-tools redis-server"
while [ -n "$(missing)" ] && [ "$round" -lt 4 ]; do
    round=$((round + 1))
    next=
    for package in $todo; do
        for dependency in $(dependencies "$package"); do
            case "$dependency" in
            lib*)
                dpkg -s "$dependency" >/dev/null 2>&1 || {
                    fetch "$dependency"
                    next="$next $dependency"
                }
                ;;
            esac
        done
    done
    todo=$next
done
if [ -n "$(missing)" ]; then
    echo "redis: libraries not found: $(missing | paste -sd' ' -)" >&2
    exit 3
fi
# What the machine has itself is not copied: the loader finds it, and the image takes it from there.
LD_LIBRARY_PATH=$(unpacked) ldd "$work/made/redis-server" | awk '$3 ~ /^\// { print $3 }' | while read -r library; do
    case "$library" in
    "$work"/*) cp -L "$library" "$work/made/lib/" ;;
    esac
done
LD_LIBRARY_PATH="$work/made/lib" "$work/made/redis-server" --version
rm -rf "$tools/redis"
mv "$work/made" "$tools/redis"
echo "redis: $tools/redis/redis-server"
