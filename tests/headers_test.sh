#!/usr/bin/env bash
# Every public header compiles alone, as C11, C++11 and C++20, and drags in no other library.
# Usage: headers_test.sh SOURCE_DIR
set -euo pipefail
cd "$1"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

strict="-fsyntax-only -Wall -Wextra -Wconversion -Wshadow -pedantic -Werror"
# What a layer's headers may see.
roots_of() {
    case $1 in
    core) echo core ;;
    proto) echo core proto ;;
    *) echo core proto "$1" ;;
    esac
}

compilers=()
for pair in gcc:g++ clang:clang++; do
    if command -v "${pair%:*}" >/dev/null && command -v "${pair#*:}" >/dev/null; then
        compilers+=("$pair")
    fi
done
[ ${#compilers[@]} -gt 0 ] || { echo "no compiler" >&2; exit 1; }

for layer in core proto stages transports; do
    includes=()
    for root in $(roots_of $layer); do includes+=("-I$root/include"); done
    for header in "$layer"/include/weir/*.h; do
        [ -e "$header" ] || continue
        for pair in "${compilers[@]}"; do
            echo "${pair%:*} -x c -std=c11 -Wstrict-prototypes $strict ${includes[*]} $header"
            echo "${pair#*:} -x c++ -std=c++11 $strict ${includes[*]} $header"
            echo "${pair#*:} -x c++ -std=c++20 $strict ${includes[*]} $header"
        done
        # The files it reads: libc's, the compiler's and weir's own.
        "${compilers[0]%:*}" -x c -std=c11 -M "${includes[@]}" "$header" | tr -s ' \\' '\n\n' |
            grep -E '/(event2?|evhttp|openssl|postgresql|protobuf-c|google)/|/(event|evutil|http_parser|libpq-fe|sqlite3)\.h$' |
            sed "s|^|$header reads |" >>"$scratch/foreign" || true
    done
done >"$scratch/commands"

# Each on its own line, from /dev/null as the main file, so that #pragma once and guards do not
# matter and a header is really the first thing seen.
sed -E 's|^(.*) ([^ ]+)$|\1 -include \2 /dev/null|' "$scratch/commands" >"$scratch/alone"
jobs=$(nproc)
status=0
xargs -P "$jobs" -I{} sh -c '{} || { echo "failed: {}" >&2; exit 1; }' <"$scratch/alone" || status=1
if [ -s "$scratch/foreign" ]; then
    echo "public headers name types of other libraries by forward declaration only:" >&2
    cat "$scratch/foreign" >&2
    status=1
fi
echo "headers: $(wc -l <"$scratch/alone") compilations, ${compilers[*]}"
exit $status
