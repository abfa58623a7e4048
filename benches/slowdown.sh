#!/usr/bin/env bash
# How much slower programs run while they are recorded: benches/slowdown.sh [REPT]
#
# Prints a table of user and system time, recorder included, as multiples of the program's
# own: the fast engine, and valgrind without a tool where there is one; below, the geometric means.
# With truth, single-step and gdb's `record full` would take minutes to hours: they record the
# beginning of the program, and what they would take is computed from the instructions they did.
# The last column is how many the fast engine records with truth in a second of its time.
set -euo pipefail
rept=$(realpath "${1:-target/release/rept}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export LC_ALL=C TIMEFORMAT='%U %S'
SECONDS_OF_GDB=10
STEPS_WITH_TRUTH=5000000

cat > churn.c <<'END'
#include <stdlib.h>
#include <string.h>
int main(void)
{
    static void *kept[4096];
    unsigned seed = 1;
    for (int i = 0; i < 3000000; i++) {
        seed = seed * 1103515245 + 12345;
        unsigned at = seed >> 16 & 4095, size = 16 + (seed >> 8 & 511);
        free(kept[at]);
        kept[at] = malloc(size);
        memset(kept[at], i, 16);
    }
    return 0;
}
END
cc -O2 -o churn churn.c
echo 'local s = 0 for i = 1, 10000000 do s = s + i % 7 end print(s)' > loop.lua
head -c 4000000 "$(realpath /proc/$$/exe)" > data || true
seq 1 300000 | awk '{ print ($1 * 7919) % 1000003, $1 }' > lines
{ echo "P6 1200 1200 255"; head -c 4320000 < <(cat data data data data); } > picture.ppm

# CPU seconds of a command; empty when it fails.
cpu() {
    { time "$@" > out.txt 2> err.txt; } 2> time.txt && awk '{ print $1 + $2 }' time.txt || true
}
times() { awk -v a="$1" -v b="$2" 'BEGIN { print (a == "" || b <= 0 ? "-" : sprintf("%.1f", a / b)) }'; }
# Steps of a run by the step engine, as its summary says.
steps() { tr -d , < out.txt | sed -n 's/^\([0-9]*\) steps of.*/\1/p'; }
# CPU seconds that so many steps take, when `$1` seconds were taken for `$2` of them.
scaled() { awk -v t="$1" -v d="$2" -v s="$3" 'BEGIN { print (d > 0 ? t / d * s : "") }'; }
# Records with gdb for a while; how many instructions are in `out.txt`.
by_gdb() {
    local stop="import threading, os, signal; threading.Timer($SECONDS_OF_GDB, lambda: os.kill(os.getpid(), signal.SIGINT)).start()"
    cpu timeout $((SECONDS_OF_GDB * 4)) gdb -nx -batch -ex 'set confirm off' \
        -ex 'set record full insn-number-max unlimited' -ex 'starti > program.out' \
        -ex 'record full' -ex "python $stop" -ex continue -ex 'info record' --args "$@"
}
logged() { sed -n 's/.*Log contains \([0-9]*\) instructions.*/\1/p' out.txt | tail -1; }

rows=()
echo "| program | native | fast | valgrind | fast, truth | single-step | gdb record full | steps/s with truth |"
echo "|---|---|---|---|---|---|---|---|"
while read -r name line; do
    first=${line%% *}
    command -v "$first" > /dev/null || { echo "| $name | no $first |"; continue; }
    command=(sh -c "exec $line > program.out")
    native=$(cpu "${command[@]}")
    fast=$(cpu "$rept" record --engine fast -o fast -- "${command[@]}")
    # With a large buffer no step is overwritten: all are counted.
    cpu "$rept" record --engine fast --buffer 64M -o whole -- "${command[@]}" > /dev/null
    steps=$(steps)
    none=$(cpu valgrind --tool=none -q --trace-children=yes "${command[@]}")
    truth=$(cpu "$rept" record --engine fast --truth --steps $STEPS_WITH_TRUTH -o truth -- "${command[@]}")
    rate=$(awk -v t="$truth" -v d="$(steps)" 'BEGIN { print (t > 0 ? int(d / t) : "") }')
    truth=$(scaled "$truth" "$(steps)" "$steps")
    rm -rf truth
    # How long a step takes does not depend on the program.
    stepped=$(cpu "$rept" record -o step -- /bin/true)
    stepped=$(scaled "$stepped" "$(steps)" "$steps")
    read -ra words <<< "$line"
    gdb=$(by_gdb "${words[@]}")
    gdb=$(scaled "$gdb" "$(logged)" "$steps")
    row=("$fast" "$none" "$truth" "$stepped" "$gdb")
    for at in "${!row[@]}"; do row[at]=$(times "${row[at]}" "$native"); done
    rows+=("${row[*]} $rate")
    printf '| %s | %s s | %s | %s | %s | %s | %s | %s |\n' "$name" "$native" "${row[@]}" "$rate"
done << END
interpreter(lua5.4) lua5.4 loop.lua
compressor(xz) xz -1 -T1 -k -c data
image(cjpeg) cjpeg -optimize picture.ppm
sort sort --parallel=1 lines
allocator ./churn
END
printf '%s\n' "${rows[@]}" | awk '{
    for (at = 1; at <= NF; at++) if ($at > 0) { sums[at] += log($at); counts[at]++ }
    if (NF > columns) columns = NF
} END {
    printf "| geometric mean | |"
    for (at = 1; at <= columns; at++)
        printf(" %s |", (counts[at] > 0) ? sprintf((at == columns) ? "%.0f" : "%.1f", exp(sums[at] / counts[at])) : "-")
    print ""
}'
