#!/bin/sh
# certify-all.sh BINARY [ARGUMENTS]: certifies every deployment that comes with gatecrash, in processes and in
# containers, and ends with a table. All of them run, whatever the first ones say; exit 1 if one is not as declared.
# Where no container engine answers, the half in containers is skipped, and the table says so.
set -u

binary=$1
shift
folder=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
table=$(mktemp)
trap 'rm -f "$table"' EXIT
failed=0
skipped=0

words() {
    case $1 in
        0) echo "as declared" ;;
        1) echo "a claim failed" ;;
        2) echo "inconclusive" ;;
        3) echo "could not be brought up" ;;
        64) echo "bad input" ;;
        70) echo "our own fault" ;;
        130) echo "interrupted" ;;
        *) echo "ended with $1" ;;
    esac
}

row() {
    printf '%-22s %-8s %6s  %s\n' "$1" "$2" "$3" "$4" >>"$table"
}

row deployment runtime wall standing
for runtime in process docker; do
    if [ $runtime = docker ]; then
        # The harness' own answer: the engine's command line may be missing where the engine is not.
        if ! missing=$("$binary" plan flex-managed --runtime docker 2>&1 >/dev/null); then
            echo "certify-all: SKIPPED everything in containers: $missing" >&2
            skipped=1
        fi
    fi
    for deployment in "$folder"/fixtures/deployments/*.yaml; do
        name=$(basename "$deployment" .yaml)
        if [ $runtime = docker ] && [ $skipped = 1 ]; then
            row "$name" $runtime - "SKIPPED: no container engine answers"
            continue
        fi
        echo "== $name in the runtime $runtime"
        began=$(date +%s)
        "$binary" certify "$deployment" --runtime $runtime "$@"
        code=$?
        [ $code = 0 ] || failed=1
        row "$name" $runtime "$(($(date +%s) - began)) s" "$(words $code) (exit $code)"
        # Whoever interrupts one run means all of them.
        [ $code != 130 ] || break 2
    done
done
echo
cat "$table"
exit $failed
