#!/usr/bin/env bash
# Judges a server of streams.v1, with health and reflection, by grpcurl. Prints a line for each check;
# exits with 0 if all passed, 1 if one failed, 77 if there is no grpcurl and no Go to build it with. It is
# kept in WEIR_TOOLS, or else in the user's cache. By TLS if WEIR_TLS_CA names the server's certificate.
# Usage: grpcurl.sh HOST:PORT [SKIPPED_CHECK...]
set -euo pipefail

[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0"; exit 2; }
address=$1
shift
skipped=" $* "
tools=${WEIR_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/weir-tools}
version=v1.9.4

grpcurl=$(command -v grpcurl || echo "$tools/grpcurl")
if [ ! -x "$grpcurl" ]; then
    PATH=$PATH:/usr/local/go/bin
    command -v go >/dev/null || { echo "skipped: neither grpcurl nor Go is installed"; exit 77; }
    GOBIN=$tools GOFLAGS=-buildvcs=false go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$version" \
        >"${TMPDIR:-/tmp}/grpcurl-$$.log" 2>&1 ||
        { echo "skipped: grpcurl cannot be built: $(tail -n 1 "${TMPDIR:-/tmp}/grpcurl-$$.log")"; rm -f "${TMPDIR:-/tmp}/grpcurl-$$.log"; exit 77; }
    rm -f "${TMPDIR:-/tmp}/grpcurl-$$.log"
fi

failed=0
out=
how=(-plaintext)
[ -z "${WEIR_TLS_CA:-}" ] || how=(-cacert "$WEIR_TLS_CA")
# Runs grpcurl; what it prints, errors too, stands in $out. Its exit code is 64 and the status of the call.
ask() { # expected exit code, arguments
    local wanted=$1 code=0
    shift
    out=$("$grpcurl" "${how[@]}" -max-time 20 "$@" 2>&1) || code=$?
    [ "$code" -eq "$wanted" ] || { out="exit $code instead of $wanted: $out"; return 1; }
}
has() {
    local text
    for text; do
        [[ $(tr -d ' \n' <<<"$out") == *"$(tr -d ' \n' <<<"$text")"* ]] || { out="no '$text' in: $out"; return 1; }
    done
}

check_list_services() {
    ask 0 "$address" list && has streams.v1.Streams grpc.health.v1.Health grpc.reflection.v1
}
check_list_methods() {
    ask 0 "$address" list streams.v1.Streams && has streams.v1.Streams.Collect streams.v1.Streams.Compose \
        streams.v1.Streams.Echo streams.v1.Streams.Process streams.v1.Streams.StreamData
}
check_describe_service() {
    ask 0 "$address" describe streams.v1.Streams &&
        has 'rpc Echo ( stream .streams.v1.Data ) returns ( stream .streams.v1.Data );' \
            'option idempotency_level = NO_SIDE_EFFECTS;'
}
check_describe_message() {
    ask 0 "$address" describe streams.v1.ComposeRequest && has '.streams.v1.ProcessRequest a = 1;'
}
check_describe_what_is_not_there() { ask 1 "$address" describe streams.v1.Nothing && has 'not found'; }
check_call() { ask 0 -d '{"text":"hello"}' "$address" streams.v1.Streams/Process && has '"text": "hello"'; }
check_call_that_fails() {
    ask 69 -d '{"text":"bad","failWith":5}' "$address" streams.v1.Streams/Process && has 'Code: NotFound' 'Message: bad'
}
check_server_stream() {
    ask 0 -d '{"count":3,"payloadBytes":1}' "$address" streams.v1.Streams/StreamData || return 1
    [ "$(grep -c '"payload"' <<<"$out")" -eq 3 ] || { out="not 3 messages: $out"; return 1; }
}
check_client_stream() {
    ask 0 -d '{"sequence":"7"}{"payload":"eHg="}' "$address" streams.v1.Streams/Collect &&
        has '"messages": "2"' '"bytes": "2"'
}
check_bidi_stream() {
    ask 0 -d '{"sequence":"7"}{"payload":"eHg="}' "$address" streams.v1.Streams/Echo &&
        has '{ "sequence": "7" }' '{ "payload": "eHg=" }'
}
check_health() { ask 0 "$address" grpc.health.v1.Health/Check && has '"status": "SERVING"'; }
check_health_of_a_service() {
    ask 0 -d '{"service":"streams.v1.Streams"}' "$address" grpc.health.v1.Health/Check && has '"status": "SERVING"'
}
check_health_of_an_unknown_service() {
    ask 69 -d '{"service":"nowhere.v1.Nothing"}' "$address" grpc.health.v1.Health/Check && has 'Code: NotFound'
}

for check in $(declare -F | sed -n 's/^declare -f check_//p'); do
    name=${check//_/ }
    case $skipped in *" $check "*) echo "skip $name"; continue ;; esac
    if "check_$check"; then
        echo "ok   $name"
    else
        echo "FAIL $name: $out"
        failed=$((failed + 1))
    fi
done
[ "$failed" -eq 0 ] && echo "grpcurl: all passed" || { echo "grpcurl: $failed failed"; exit 1; }
