#!/usr/bin/env bash
# An outside project finds the installed library, by CMake and by pkg-config, and runs a pipeline.
# Usage: install_test.sh BUILD_DIR CMAKE CC CXX
set -euo pipefail
build=$1 cmake=$2 cc=$3 cxx=$4
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { echo "install: $*"; }
fail() { say "$*" >&2; exit 1; }
# Runs a program, which must say that it counted right; with `shared` or `archive` it must be so.
must_run() { # program kind
    "$1" | grep -q '^weir [0-9.]*: 499500$' || fail "$1 did not count to 499500"
    if [ "$2" = shared ]; then
        readelf -d "$1" | grep -q 'NEEDED.*\[libweir\.so\.[0-9.]*\]' || fail "$1 needs no libweir.so"
    elif readelf -d "$1" | grep -q 'NEEDED.*libweir'; then
        fail "$1 needs libweir.so, and should hold the archive"
    fi
    say "ok: ${1##*/} ($2)"
}

"$cmake" --install "$build" --prefix "$scratch/first" >"$scratch/install.log"
mv "$scratch/first" "$scratch/moved here" # what is found must not depend on where it was put
prefix="$scratch/moved here"

for file in include/weir/weir.h include/weir/version.h include/weir/pipeline.h \
    share/man/man7/weir.7; do
    [ -s "$prefix/$file" ] || fail "not installed: $file"
done
lib=$(dirname "$(find "$prefix" -name libweir.a)")
version=$(sed -n 's/#define WEIR_VERSION  *"\(.*\)"/\1/p' "$prefix/include/weir/version.h")
soname=$(readelf -d "$lib/libweir.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ "$soname" = "libweir.so.${version%.*}" ] || fail "SONAME is '$soname', the version $version"
[ -e "$lib/$soname" ] || fail "no $soname"
# Hidden visibility: the shared library offers its public names and no others.
# Beside weir_: the standard messages and services, by their packages.
foreign=$(nm -D --defined-only "$lib/libweir.so" |
    awk '$2 ~ /[A-Z]/ && $3 !~ /^(weir|google__?protobuf|google__?rpc|grpc__?(health|reflection))_/ { print $3 }')
[ -z "$foreign" ] || fail "exports what is not weir_: $foreign"

cp -r "$here/install" "$scratch/source"
"$cmake" -S "$scratch/source" -B "$scratch/by-cmake" -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" -DWEIR_VERSION_WANTED="${version%.*}" \
    >"$scratch/configure.log" 2>&1 || { cat "$scratch/configure.log"; fail "find_package(weir)"; }
"$cmake" --build "$scratch/by-cmake" >"$scratch/build.log" 2>&1 ||
    { cat "$scratch/build.log"; fail "building with find_package"; }
for language in c cc; do
    must_run "$scratch/by-cmake/outside_${language}_shared" shared
    must_run "$scratch/by-cmake/outside_${language}_static" archive
done
if [ -x "$prefix/bin/protoc-gen-weir" ]; then
    for file in google/rpc/status.proto google/protobuf/any.pb-c.h google/rpc/error_details.weir.h \
        grpc/health/v1/health.weir.h grpc/reflection/v1/reflection.proto; do
        [ -s "$prefix/include/weir/protos/$file" ] || fail "not installed: $file"
    done
    must_run "$scratch/by-cmake/outside_proto_shared" shared
    must_run "$scratch/by-cmake/outside_proto_static" archive
    # What is edited, or what it imports, is made again.
    sed -i 's/"outside"/"elsewhere"/' "$scratch/source/protos/outside/v1/parts.proto"
    "$cmake" --build "$scratch/by-cmake" >"$scratch/build.log" 2>&1 || { cat "$scratch/build.log"; fail "building again"; }
    grep -q elsewhere "$scratch/by-cmake/shared/outside/v1/parts.pb-c.c" || fail "an edited .proto is not made again"
fi

# pkg-config cannot quote a space in every place, so from here on a plain path.
mv "$prefix" "$scratch/plain"
lib=${lib/"$prefix"/"$scratch/plain"}
export PKG_CONFIG_PATH="$lib/pkgconfig"
[ "$(pkg-config --modversion weir)" = "$version" ] || fail "weir.pc has another version"
flags() { pkg-config "$@" weir; }
mkdir "$scratch/by-pc"
# shellcheck disable=SC2046 # words are what is wanted
{
    "$cc" -std=c11 "$here/install/outside.c" -o "$scratch/by-pc/c_shared" \
        $(flags --cflags --libs) "-Wl,-rpath,$lib"
    "$cxx" -std=c++11 "$here/install/outside.cc" -o "$scratch/by-pc/cc_shared" \
        $(flags --cflags --libs) "-Wl,-rpath,$lib"
    "$cc" -std=c11 "$here/install/outside.c" -o "$scratch/by-pc/c_static" \
        $(flags --static --cflags --libs | sed 's/-lweir\>/-l:libweir.a/g')
    "$cxx" -std=c++11 "$here/install/outside.cc" -o "$scratch/by-pc/cc_static" \
        $(flags --static --cflags --libs | sed 's/-lweir\>/-l:libweir.a/g')
}
for language in c cc; do
    must_run "$scratch/by-pc/${language}_shared" shared
    must_run "$scratch/by-pc/${language}_static" archive
done
