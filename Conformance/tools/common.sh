# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Shared by the scripts of this folder; sourced, never run.

conformance=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
repository=$(dirname "$conformance")
cache=${VIADUCT_CACHE:-$HOME/.cache/viaduct}
linux=$cache/linux-7.3  # sources and headers, made by obtain
built=$cache/built      # programs, made by build
logs=$cache/logs        # outputs, made by run and all
multiarch=$(gcc -print-multiarch 2>/dev/null || true)

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 2
}

say() { printf '%s\n' "$*" >&2; }

# Prints the viaduct to test: $VIADUCT, else the release build, else the debug build.
find_viaduct() {
  local candidate
  for candidate in "${VIADUCT:-}" "$repository/.build/release/viaduct" \
    "$repository/.build/debug/viaduct"; do
    if [[ -n $candidate && -x $candidate ]]; then
      realpath "$candidate"
      return
    fi
  done
  die "no viaduct found: build it (swift build -c release) or set VIADUCT"
}
