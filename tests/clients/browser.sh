#!/usr/bin/env bash
# Starts the streams service, and has a page of another origin call it from headless Chromium: Connect and
# gRPC-Web, by fetch. Prints a line for each check; exits with 0 if all passed, 1 if one failed, 77 without
# Chromium or node (or, with --tls, openssl). By TLS the browser speaks HTTP/2, otherwise HTTP/1.1.
# Usage: browser.sh [--tls] STREAMS
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tls=()
[ "${1:-}" != --tls ] || { tls=(yes); shift; }
[ $# -eq 1 ] || { sed -n '2,5s/^# //p' "$0"; exit 2; }
for tool in chromium node ${tls:+openssl}; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
home=$(mktemp -d "${TMPDIR:-/tmp}/weir-browser-XXXXXX")
if [ ${#tls[@]} -gt 0 ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=IP:127.0.0.1 -keyout "$home/key" -out "$home/cert" 2>/dev/null
    tls=("$home/cert" "$home/key")
fi
exec node "$here/browser_judge.js" "$1" "$home" "${tls[@]}"
