#!/usr/bin/env bash
# Judges a server of streams.v1 by curl: Connect and gRPC-Web, over HTTP/1.1 and HTTP/2 with prior
# knowledge, or by TLS if WEIR_TLS_CA names the server's certificate. Prints a line for each check; exits
# with 0 if all passed, 1 if one failed, 77 without curl.
# Usage: curl_connect.sh HOST:PORT [SKIPPED_CHECK...]
set -euo pipefail

[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0"; exit 2; }
address=$1
shift
skipped=" $* "
command -v curl >/dev/null || { echo "skipped: curl is not installed"; exit 77; }
curl --version | grep -q HTTP2 || { echo "skipped: this curl has no HTTP/2"; exit 77; }

home=$(mktemp -d "${TMPDIR:-/tmp}/weir-curl-XXXXXX")
trap 'rm -rf "$home"' EXIT
scheme=http tls=() versions=(--http1.1 --http2-prior-knowledge)
[ -z "${WEIR_TLS_CA:-}" ] || { scheme=https; tls=(--cacert "$WEIR_TLS_CA"); versions=(--http1.1 --http2); }
service=$scheme://$address/streams.v1.Streams
failed=0
why=
http=

# Sends a request; what comes back stands in $code, $home/body and $home/head.
ask() { # curl's arguments
    code=$(curl -sS "$http" "${tls[@]}" --max-time 20 -o "$home/body" -D "$home/head" -w '%{http_code}' "$@" 2>"$home/error") ||
        { why="curl: $(cat "$home/error")"; return 1; }
}
post() { # method content-type body-file [curl's arguments]
    ask "$service/$1" -H "content-type: $2" --data-binary "@$3" "${@:4}"
}
json() { # method json [curl's arguments]
    printf '%s' "$2" >"$home/request"
    post "$1" application/json "$home/request" "${@:3}"
}
is() { # what got wanted
    [ "$2" = "$3" ] || { why="$1 is '$2', not '$3'"; return 1; }
}
# Spaces of JSON are the server's choice.
body_is() { is body "$(tr -d ' \n' <"$home/body")" "$1"; }
body_has() { tr -d ' \n' <"$home/body" | grep -qF -- "$1" || { why="body has no '$1': $(head -c 300 "$home/body")"; return 1; }; }
head_has() { tr -d '\r' <"$home/head" | grep -qix -- "$1" || { why="no field '$1' in: $(tr -d '\r' <"$home/head" | paste -sd' ')"; return 1; }; }
hex_of() { od -An -v -tx1 | tr -d ' \n'; }
is_error() { # HTTP's code, Connect's
    is status "$code" "$1" && head_has 'content-type: application/json' && body_has "\"code\":\"$2\""
}
# An envelope as gRPC and Connect's streams have it: flags, length, bytes of a file.
envelope() { # flags file
    printf '%02x%08x' "$1" "$(stat -c %s "$2")" | sed 's/../\\x&/g' | { IFS= read -r bytes || true; printf '%b' "$bytes"; }
    cat "$2"
}
# Field 1, a short text, as protobuf has it.
proto_text() { printf '\x0a'; printf '%b' "\\x$(printf '%02x' "${#1}")"; printf '%s' "$1"; }

check_unary_json() { json Process '{"text":"hello"}' -H 'connect-protocol-version: 1' && is status "$code" 200 &&
    head_has 'content-type: application/json' && body_is '{"text":"hello"}'; }
check_unary_json_of_a_default_answer() { json Process '{}' && is status "$code" 200 &&
    case $(cat "$home/body") in '{}' | '{"text":""}') ;; *) body_is '{}' ;; esac; }
check_unary_proto() {
    proto_text hello >"$home/request"
    post Process application/proto "$home/request" && is status "$code" 200 &&
        head_has 'content-type: application/proto' && is body "$(hex_of <"$home/body")" "$(proto_text hello | hex_of)"
}
check_get_json() {
    ask -G "$service/Process" --data-urlencode 'message={"text":"got"}' -d encoding=json -d connect=v1 &&
        is status "$code" 200 && body_is '{"text":"got"}'
}
check_get_proto_in_base64() {
    local message
    message=$(proto_text got | base64 | tr '+/' '-_' | tr -d '=')
    ask -G "$service/Process" -d "message=$message" -d base64=1 -d encoding=proto -d connect=v1 &&
        is status "$code" 200 && is body "$(hex_of <"$home/body")" "$(proto_text got | hex_of)"
}
check_get_of_a_method_with_effects_is_405() {
    ask -G "$service/Compose" --data-urlencode 'message={}' -d encoding=json -d connect=v1 && is status "$code" 405
}
check_get_without_encoding_is_an_error() {
    ask -G "$service/Process" --data-urlencode 'message={}' -d connect=v1 && is status "${code:0:1}" 4
}
check_errors_have_their_http_codes() {
    local pair number want word
    for pair in 1:499:canceled 2:500:unknown 3:400:invalid_argument 4:504:deadline_exceeded 5:404:not_found \
        6:409:already_exists 7:403:permission_denied 8:429:resource_exhausted 9:400:failed_precondition \
        10:409:aborted 11:400:out_of_range 12:501:unimplemented 13:500:internal 14:503:unavailable \
        15:500:data_loss 16:401:unauthenticated; do
        IFS=: read -r number want word <<<"$pair"
        json Process "{\"text\":\"no$number\",\"failWith\":$number}" && is_error "$want" "$word" &&
            body_has "\"message\":\"no$number\"" || return 1
    done
}
check_field_names_as_in_the_proto_file() {
    json Process '{"text":"no","fail_with":5}' && is_error 404 not_found
}
check_json_that_is_none_is_400() { json Process '{"text":' && is_error 400 invalid_argument; }
check_json_of_a_wrong_type_is_400() { json Process '{"text":7}' && is_error 400 invalid_argument; }
check_proto_that_is_none_is_400() {
    printf '\x0a\xff' >"$home/request"
    post Process application/proto "$home/request" && is_error 400 invalid_argument
}
check_timeout_is_504() {
    json Process '{"delayMs":60000}' -H 'connect-timeout-ms: 100' && is_error 504 deadline_exceeded
}
check_timeout_that_is_none_is_400() { json Process '{}' -H 'connect-timeout-ms: soon' && is_error 400 invalid_argument; }
check_another_version_of_connect_is_400() { json Process '{}' -H 'connect-protocol-version: 9' && is_error 400 invalid_argument; }
check_metadata_comes_back() {
    json Process '{"text":"x"}' -H 'echo-one: some text' -H 'echo-two-bin: AAEC/w' && is status "$code" 200 &&
        head_has '\(trailer-\)\?echo-one: some text' && head_has '\(trailer-\)\?echo-two-bin: AAEC/w\(==\)\?'
}
check_a_request_in_gzip() {
    printf '{"text":"squeezed"}' | gzip >"$home/request"
    post Process application/json "$home/request" -H 'content-encoding: gzip' --compressed && is status "$code" 200 &&
        body_is '{"text":"squeezed"}'
}
check_an_answer_in_gzip() {
    local text
    text=$(printf 'x%.0s' $(seq 5000))
    json Process "{\"text\":\"$text\"}" --compressed && is status "$code" 200 && body_is "{\"text\":\"$text\"}" &&
        head_has 'content-encoding: gzip'
}
check_an_unknown_compression_is_501() { json Process '{}' -H 'content-encoding: x-none' && is_error 501 unimplemented; }
check_a_message_over_4_mib_is_429() {
    { printf '{"text":"'; head -c 4194304 /dev/zero | tr '\0' x; printf '"}'; } >"$home/request"
    post Process application/json "$home/request" -H 'expect:' && is_error 429 resource_exhausted
}
check_a_stream_of_connect() {
    printf '{"count":3,"payloadBytes":1}' >"$home/message"
    envelope 0 "$home/message" >"$home/request"
    post StreamData application/connect+json "$home/request" && is status "$code" 200 &&
        head_has 'content-type: application/connect+json' || return 1
    is 'number of messages' "$(grep -ao '"payload"' "$home/body" | wc -l)" 3 || return 1
    local end
    end=$(tail -c 7 "$home/body" | hex_of)
    is 'end of the stream' "$end" 02000000027b7d
}
check_a_stream_in_proto() {
    printf '\x08\x02\x10\x01' >"$home/message" # count 2, payload_bytes 1
    envelope 0 "$home/message" >"$home/request"
    post StreamData application/connect+proto "$home/request" && is status "$code" 200 &&
        is 'end of the stream' "$(tail -c 7 "$home/body" | hex_of)" 02000000027b7d
}
check_an_error_of_a_stream_is_in_its_end() {
    printf '{"count":' >"$home/message"
    envelope 0 "$home/message" >"$home/request"
    post StreamData application/connect+json "$home/request" && is status "$code" 200 &&
        is 'flags of the end' "$(head -c 1 "$home/body" | hex_of)" 02 && body_has '"code":"invalid_argument"'
}
web_ok() { # what stands in $home/answer: a message and the trailers
    local text
    proto_text hello >"$home/message"
    text=$(envelope 0 "$home/message" | hex_of)
    is message "$(head -c 12 "$home/answer" | hex_of)" "$text" &&
        is 'flags of the trailers' "$(tail -c +13 "$home/answer" | head -c 1 | hex_of)" 80 || return 1
    tail -c +18 "$home/answer" | tr -d '\r' | grep -aqi '^grpc-status: *0$' || { why="no grpc-status: 0"; return 1; }
}
check_grpc_web() {
    proto_text hello >"$home/message"
    envelope 0 "$home/message" >"$home/request"
    post Process application/grpc-web+proto "$home/request" -H 'x-grpc-web: 1' && is status "$code" 200 &&
        head_has 'content-type: application/grpc-web+proto' && cp "$home/body" "$home/answer" && web_ok
}
check_grpc_web_text() {
    proto_text hello >"$home/message"
    envelope 0 "$home/message" | base64 -w 0 >"$home/request"
    post Process application/grpc-web-text "$home/request" -H 'x-grpc-web: 1' && is status "$code" 200 &&
        head_has 'content-type: application/grpc-web-text.*' || return 1
    # Padding may stand in the middle, where a piece ends.
    sed 's/=\{1,2\}/&\n/g' "$home/body" | while IFS= read -r piece || [ -n "$piece" ]; do
        printf '%s' "$piece" | base64 -d
    done >"$home/answer" && web_ok
}
check_an_error_of_grpc_web() {
    { proto_text no; printf '\x18\x05'; } >"$home/message" # fail_with 5
    envelope 0 "$home/message" >"$home/request"
    post Process application/grpc-web+proto "$home/request" && is status "$code" 200 || return 1
    { tr -d '\r' <"$home/head"; tail -c +6 "$home/body" | tr -d '\r'; } >"$home/answer"
    grep -aqi '^grpc-status: *5$' "$home/answer" && grep -aqi '^grpc-message: *no$' "$home/answer" ||
        { why="no grpc-status: 5 with its message"; return 1; }
}
check_an_unknown_path_is_404() { ask "$scheme://$address/nowhere" && is status "$code" 404; }
check_an_unknown_method_is_404_or_501() {
    json Missing '{}' && case $code in 404 | 501) ;; *) is status "$code" 404 ;; esac
}
check_a_wrong_content_type_is_415() {
    printf 'hello' >"$home/request"
    post Process text/plain "$home/request" && is status "$code" 415
}
check_a_wrong_http_method_is_405() { json Process '{}' -X PUT && is status "$code" 405; }
check_a_hundred_calls_on_one_connection() {
    [ "$http" = --http1.1 ] || return 0 # the curl of Debian 12 greets twice when it goes on with HTTP/2
    local urls=()
    for _ in $(seq 100); do urls+=("$service/Process" -o /dev/null); done
    printf '{"text":"again"}' >"$home/request"
    local codes
    codes=$(curl -sS "$http" "${tls[@]}" --max-time 20 -H 'content-type: application/json' --data-binary "@$home/request" \
        -w '%{http_code} %{num_connects}\n' "${urls[@]}" | sort -r | uniq -c | tr -s ' ' | paste -sd,)
    is 'codes and connections' "$codes" ' 1 200 1, 99 200 0'
}

for http in "${versions[@]}"; do
    for check in $(declare -F | sed -n 's/^declare -f check_//p'); do
        name="${http#--}: ${check//_/ }"
        case $skipped in *" $check "*) echo "skip $name"; continue ;; esac
        why=
        if "check_$check"; then
            echo "ok   $name"
        else
            echo "FAIL $name: $why"
            failed=$((failed + 1))
        fi
    done
done
[ "$failed" -eq 0 ] && echo "curl: all passed" || { echo "curl: $failed failed"; exit 1; }
