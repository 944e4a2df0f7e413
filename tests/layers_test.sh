#!/usr/bin/env bash
# Layers include only what they may: core <- proto <- {stages, transports} <- programs, tests, bench.
# Usage: layers_test.sh SOURCE_DIR
set -euo pipefail
cd "$1"
status=0
wrong() { echo "layers: $*" >&2; status=1; }

layer_of_header() { # weir/name.h
    local layer
    for layer in core proto stages transports; do
        if [ -e "$layer/include/$1" ]; then echo $layer; return; fi
    done
    echo nowhere
}
allowed() { # from to
    case "$1 $2" in
    "core core" | "proto core" | "proto proto") return 0 ;;
    "stages core" | "stages proto" | "stages stages") return 0 ;;
    "transports core" | "transports proto" | "transports transports") return 0 ;;
    "programs core" | "programs proto" | "programs stages" | "programs transports") return 0 ;;
    esac
    return 1
}

checked=0
while IFS=: read -r file included; do
    checked=$((checked + 1))
    layer=${file%%/*}
    case $file in transports/programs/*) layer=programs ;; esac
    case $included in
    "<weir/weir.h>") [ $layer = programs ] || wrong "$file includes the umbrella" ;;
    "<weir/"*)
        header=${included#<} header=${header%>}
        target=$(layer_of_header "$header")
        allowed $layer "$target" || wrong "$file ($layer) includes <$header> ($target)"
        ;;
    '"'*)
        # A private header: of the same folder or its layer's, so that no layer looks inside another.
        # Or of proto's, what is made of a .proto file.
        name=${included//\"/}
        case $name in
        google/*.pb-c.h | google/*.weir.h | grpc/*.pb-c.h | grpc/*.weir.h)
            allowed $layer proto || wrong "$file ($layer) includes $included (proto)"
            continue
            ;;
        esac
        { [ -e "$(dirname "$file")/$name" ] || [ -e "${file%%/*}/$name" ]; } &&
            [ "$name" = "${name##*/}" ] ||
            wrong "$file includes $included, which is neither beside it nor its layer's"
        ;;
    "<event2/"* | "<event.h>")
        case $layer in
        transports | programs) ;;
        core) case ${file##*/} in loop* | run*) ;; *) wrong "$file includes $included; in core only the loop does" ;; esac ;;
        *) wrong "$file ($layer) includes $included" ;;
        esac
        ;;
    "<openssl/"* | "<libpq"* | "<sqlite3"*)
        case $layer in transports | programs) ;; *) wrong "$file ($layer) includes $included" ;; esac
        ;;
    "<http_parser.h>") [ $layer = proto ] || wrong "$file ($layer) includes $included" ;;
    esac
done < <(find core proto stages transports \( -name '*.c' -o -name '*.h' \) -print0 |
    xargs -0 grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"][^>"]*[>"]' |
    sed -E 's/:[[:space:]]*#[[:space:]]*include[[:space:]]*/:/')

# What stands above uses only what a user has: no name that core keeps to itself.
names() { grep -hoE '\b(wi|WI)_[A-Za-z0-9_]+' "$@" | sort -u; }
for layer in proto stages transports; do
    taken=$(comm -12 <(names core/*.[ch]) <(names $layer/*.[ch])) || true
    [ -z "$taken" ] || wrong "$layer uses internal names of core:" $taken
done
[ $checked -gt 100 ] || wrong "only $checked includes found: is $1 the source tree?"
echo "layers: $checked includes looked at"
exit $status
