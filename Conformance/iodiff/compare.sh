#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# compare.sh GOLDENDIR CMD-PREFIX...
# Builds iodiff with the host gcc (KHDR: kernel headers) and runs the profile, seed and steps of
# every golden log as `CMD-PREFIX ./iodiff PROFILE SEED STEPS`.  Exit 1 on any difference.
# ONLY=glob restricts the logs (e.g. ONLY='ioas-*'); KEEP=dir keeps the logs made; LIMIT= seconds per run.
[ $# -ge 1 ] || { echo "usage: compare.sh GOLDENDIR [CMD-PREFIX...]" >&2; exit 2; }
gold=$(realpath "$1") || exit 2
shift
here=$(cd "$(dirname "$0")" && pwd)
: "${KHDR:?set KHDR to the include folder of Linux 7.3 user headers}"
w=$(mktemp -d) || exit 2
trap 'rm -rf "$w"' EXIT
chmod 755 "$w" # the command may change its user
gcc -std=c11 -O2 -isystem "$KHDR" -o "$w/iodiff" "$here/iodiff.c" || exit 2
out=${KEEP:-$w/out}
mkdir -p "$out"
out=$(realpath "$out")
declare -A same total eq lines shown
order=()
pass=0 fail=0
mapfile -t logs < <(find "$gold" -name "${ONLY:-*}.log.gz" | sort -V)
for g in "${logs[@]}"; do
	b=$(basename "$g" .log.gz)
	zcat "$g" > "$w/gold" || exit 2
	read -r _ p s n < "$w/gold"
	p=${p#profile=} s=${s#seed=} n=${n#steps=}
	(cd "$w" && timeout "${LIMIT:-120}" "$@" ./iodiff "$p" "$s" "$n") > "$out/$b.log" 2> "$out/$b.err"
	rc=$?
	[ -n "${total[$p]}" ] || { order+=("$p"); total[$p]=0 same[$p]=0 eq[$p]=0 lines[$p]=0 shown[$p]=; }
	total[$p]=$((total[$p] + 1))
	# equal lines at the same place
	read -r e l < <(awk 'NR==FNR { a[FNR]=$0; n=FNR; next } { if (FNR<=n && a[FNR]==$0) e++ } END { print e+0, n }' "$w/gold" "$out/$b.log")
	eq[$p]=$((eq[$p] + e)) lines[$p]=$((lines[$p] + l))
	if [ $rc = 0 ] && cmp -s "$w/gold" "$out/$b.log"; then
		same[$p]=$((same[$p] + 1)) pass=$((pass + 1))
		continue
	fi
	fail=$((fail + 1))
	if [ "$(grep -c . <<< "${shown[$p]}")" -lt 9 ]; then
		d=$(awk 'NR==FNR { a[FNR]=$0; n=FNR; next } { m=FNR } FNR<=n && a[FNR]!=$0 { print FNR; f=1; exit } END { if (!f && m<n) print m+1 }' "$w/gold" "$out/$b.log")
		: "${d:=1}"
		shown[$p]+="  $b line $d (exit $rc $(head -c 200 "$out/$b.err" | tr '\n' ' '))"$'\n'
		shown[$p]+="    - $(sed -n "${d}p" "$w/gold")"$'\n'
		shown[$p]+="    + $(sed -n "${d}p" "$out/$b.log")"$'\n'
	fi
done
for p in "${order[@]}"; do
	awk -v p="$p" -v s="${same[$p]}" -v t="${total[$p]}" -v e="${eq[$p]}" -v l="${lines[$p]}" \
		'BEGIN { printf "%-8s %d/%d logs identical, %.2f %% of lines equal (%d/%d)\n", p, s, t, l ? 100*e/l : 0, e, l }'
	printf '%s' "${shown[$p]}"
done
echo "$pass passed, $fail failed"
[ "$fail" = 0 ]
