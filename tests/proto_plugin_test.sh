#!/usr/bin/env bash
# protoc-gen-weir as a program: what it makes compiles as strictly as can be asked; what is wrong
# with a request, a .proto or protoc-gen-c it says, and never crashes.
# Usage: proto_plugin_test.sh PLUGIN PROTOC PROTOC_GEN_C SOURCE_DIR GENERATED_DIR
set -euo pipefail
plugin=$1 protoc=$2 protoc_gen_c=$3 source=$4 generated=$5
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export ASAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=exitcode=99 LSAN_OPTIONS=exitcode=99

fail() { echo "plugin: $*" >&2; exit 1; }
run() { # parameters out proto…
    local parameters=$1 out=$2
    shift 2
    mkdir -p "$out"
    "$protoc" -I"$scratch" -I"$source/tests/protos/plugin" -I"$source/proto/protos" \
        --plugin=protoc-gen-weir="$plugin" --weir_opt="$parameters" --weir_out="$out" "$@"
}
must_say() { # words parameters proto…
    local words=$1 parameters=$2
    shift 2
    ! run "$parameters" "$scratch/none" "$@" 2>"$scratch/said" || fail "should have failed: $words"
    grep -qF -e "$words" "$scratch/said" || fail "should say '$words', says: $(cat "$scratch/said")"
    [ -z "$(ls -A "$scratch/none")" ] || fail "made files beside an error: $words"
}

# ---- What it makes ----
mapfile -t protos < <(cd "$source/tests/protos/plugin" && find . -name '*.proto' | sed 's|^\./||')
[ ${#protos[@]} -ge 7 ] || fail "only ${#protos[@]} .proto files"
run "protoc_gen_c=$protoc_gen_c" "$scratch/made" "${protos[@]}"
strict="-fsyntax-only -Wall -Wextra -Wconversion -Wshadow -Werror -I$scratch/made -I$generated"
for layer in core proto transports; do strict+=" -I$source/$layer/include"; done
compiled=0
for pair in gcc:g++ clang:clang++; do
    command -v "${pair%:*}" >/dev/null && command -v "${pair#*:}" >/dev/null || continue
    for file in $(find "$scratch/made" -name '*.c'); do
        "${pair%:*}" -std=c11 -Wstrict-prototypes -Wmissing-prototypes $strict "$file"
        compiled=$((compiled + 1))
    done
    for file in $(find "$scratch/made" -name '*.weir.h'); do
        "${pair%:*}" -x c -std=c11 $strict -include "$file" /dev/null
        for standard in c++11 c++20; do
            "${pair#*:}" -x c++ -std=$standard $strict -include "$file" /dev/null
        done
    done
done
[ $compiled -gt 0 ] || fail "no compiler"

# Parameters leave out what they say, and the rest still compiles.
run "c=off,client=off,server=off" "$scratch/bare" nasty.proto
[ ! -e "$scratch/bare/nasty.pb-c.c" ] || fail "c=off makes messages"
! grep -q 'weir_rpc_ask\|_server \*server\|rpc_client' "$scratch/bare"/nasty.weir.[ch] ||
    fail "client=off,server=off leaves some of it"
grep -q 'http_thing2_service;' "$scratch/bare/nasty.weir.h" || fail "client=off takes the tables away"
for parameter in client=off server=off; do
    run "protoc_gen_c=$protoc_gen_c,$parameter" "$scratch/$parameter" "${protos[@]}"
    ${CC:-cc} -std=c11 ${strict//$scratch\/made/$scratch\/$parameter} "$scratch/$parameter/nasty.weir.c"
done
# The comments come along.
grep -q 'Indented, and with an empty line above' "$scratch/made/nasty.weir.h" || fail "no comments"

# ---- What it says ----
echo 'syntax = "proto2"; message A { optional group B = 1 {} }' >"$scratch/group.proto"
echo 'syntax = "proto2"; message A { optional float f = 1 [default = -inf]; }' >"$scratch/inf.proto"
echo 'syntax = "proto3"; message A {}' >"$scratch/a-b.proto"
echo 'syntax = "proto3"; message B {}' >"$scratch/a_b.proto"
cat >"$scratch/crash" <<'END'
#!/bin/sh
kill -SEGV $$
END
cat >"$scratch/refuse" <<'END'
#!/bin/sh
printf '\n\006not me'
END
chmod +x "$scratch/crash" "$scratch/refuse"
must_say "group.proto: field b: protoc-gen-c cannot make groups" "" group.proto
must_say "inf.proto: field f: protoc-gen-c cannot make the default -inf" "" inf.proto
must_say "would share their names in C" "" a-b.proto a_b.proto
must_say 'unknown parameter "wrong"' wrong=1 nopackage.proto
must_say 'parameter c: "maybe" is neither on nor off' c=maybe nopackage.proto
must_say "cannot run $scratch/none/at-all: No such file" "protoc_gen_c=$scratch/none/at-all" nopackage.proto
must_say "failed with exit code 1" protoc_gen_c=false nopackage.proto
must_say "was ended by signal 11" "protoc_gen_c=$scratch/crash" nopackage.proto
must_say "what it says is no CodeGeneratorResponse" protoc_gen_c=echo nopackage.proto
must_say "$scratch/refuse: not me" "protoc_gen_c=$scratch/refuse" nopackage.proto
must_say "true made no nopackage.pb-c.h" protoc_gen_c=true nopackage.proto
# More than pipes hold, both ways at once, or unread.
{
    echo 'syntax = "proto3";'
    for ((i = 0; i < 3000; i++)); do echo "message LongNamedMessage$i { int32 long_named_field = 1; }"; done
} >"$scratch/big.proto"
must_say "cat: big.proto" protoc_gen_c=cat big.proto
must_say "true made no big.pb-c.h" protoc_gen_c=true big.proto
run "protoc_gen_c=$protoc_gen_c" "$scratch/big" big.proto
grep -q 'longnamed_message2999\|long_named_message2999' "$scratch/big/big.weir.c" || fail "big.proto lost messages"
"$plugin" --help | grep -q 'protoc_gen_c=' || fail "--help"
"$plugin" --version | grep -q '^protoc-gen-weir [0-9]' || fail "--version"
! "$plugin" --wrong 2>"$scratch/said" || fail "--wrong was taken"
PATH=/nonexistent "$plugin" --version >/dev/null || fail "needs PATH"

# ---- What it is told ----
cat >"$scratch/save" <<END
#!/bin/sh
cat >$scratch/request
printf '\\020\\001' # proto3 optional is fine
END
chmod +x "$scratch/save"
echo 'syntax = "proto3"; package p; message A { message B { optional int32 n = 1; } }
service S { rpc Go(A.B) returns (stream A); }' >"$scratch/small.proto"
"$protoc" -I"$scratch" --plugin=protoc-gen-save="$scratch/save" --save_opt=c=off \
    --save_out="$scratch" small.proto
n=$(stat -c %s "$scratch/request")
[ "$n" -gt 200 ] || fail "a request of $n bytes?"
told() { # a request on standard input; says `ok`, `error` or `crash CODE`
    local code=0
    "$plugin" >"$scratch/response" 2>>"$scratch/errors" || code=$?
    if [ $code -gt 1 ]; then
        echo "crash $code"
    elif [ $code -eq 1 ] || [ "$(head -c1 "$scratch/response" | od -An -tx1)" = " 0a" ]; then
        echo error
    else
        echo ok
    fi
}
[ "$(told <"$scratch/request")" = ok ] || fail "the request itself is refused"
for ((i = 0; i < n; i++)); do
    said=$(head -c "$i" "$scratch/request" | told)
    [ "$said" = error ] || fail "cut after $i of $n bytes: $said: $(tail -5 "$scratch/errors")"
done
# Any byte may be another: refused or not, but no crash.
for ((i = 0; i < n; i++)); do
    said=$({ head -c "$i" "$scratch/request"; printf '\377'; tail -c +$((i + 2)) "$scratch/request"; } | told)
    case $said in crash*) fail "byte $i of $n changed: $said: $(tail -5 "$scratch/errors")" ;; esac
done
# Messages within messages, deeper than any stack.
python3 - >"$scratch/deep" <<'END'
import sys
def field(number, content):
    n, tag, length = len(content), number << 3 | 2, b""
    while n > 127:
        length += bytes([n & 127 | 128]); n >>= 7
    return bytes([tag]) + length + bytes([n]) + content
deep = b""
for _ in range(20000):
    deep = field(3, deep)
sys.stdout.buffer.write(field(1, b"d.proto") + field(15, field(1, b"d.proto") + field(4, deep)))
END
[ "$(told <"$scratch/deep")" = error ] || fail "nested too deep, and taken"
echo "plugin: $compiled files compiled, a request of $n bytes cut and changed at each"
