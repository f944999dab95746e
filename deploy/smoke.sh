#!/bin/sh
# Tests the gateway at URL with one request of each kind. It needs only curl.
#
# Prints one line for each check. Stops at the first failure, shows the answer, and exits with 1.
set -u

usage() {
    cat >&2 <<USAGE
usage: $0 URL KEY [MODEL]

  URL    where callers reach the gateway
  KEY    an API key of a caller
  MODEL  a model to ask; without it the first that /v1/models lists

example: $0 http://127.0.0.1:8000 dev-key mock
USAGE
    exit 2
}

case $# in 2 | 3) ;; *) usage ;; esac
url=${1%/} key=$2 model=${3:-}
if [ -z "$url" ] || [ -z "$key" ]; then usage; fi
command -v curl >/dev/null || { echo "$0 needs curl, which is not installed" >&2; exit 2; }

# Every user of the machine can read a command line, so curl gets the key in a file. Only we can read the
# folder that mktemp makes.
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
printf 'Authorization: Bearer %s\n' "$key" >"$work/right"
printf 'Authorization: Bearer not-%s\n' "$key" >"$work/wrong"
printf 'Accept: */*\n' >"$work/none"

ok() {
    printf 'ok   %s\n' "$1"
}

# fail CHECK EXPECTED
fail() {
    printf 'FAIL %s\n     expected: %s\n     seen: ' "$1" "$2"
    if [ "$status" = 000 ]; then
        cat "$work/problem"
    else
        printf 'status %s\n' "$status"
        cat "$work/head" "$work/body" | tr -d '\r' | sed 's/^/     | /' | head -n 40
    fi
    exit 1
}

# ask CREDENTIALS PATH [JSON]: a GET, or with JSON a POST. Leaves $status, the head and the body.
ask() {
    : >"$work/head"
    : >"$work/body"
    credentials=$work/$1 target=$url$2
    if [ $# -eq 3 ]; then
        printf '%s' "$3" >"$work/sent"
        set -- --header 'Content-Type: application/json' --data-binary "@$work/sent"
    else
        set --
    fi
    status=$(curl --disable --silent --show-error --no-buffer --connect-timeout 5 --max-time 120 \
        --header "@$credentials" --dump-header "$work/head" --output "$work/body" \
        --write-out '%{http_code}' "$@" "$target" 2>"$work/problem")
}

body_has() {
    grep -q -e "$1" "$work/body"
}

# header NAME: prints the value of a header; empty if it is missing.
header() {
    tr -d '\r' <"$work/head" | awk -F: -v name="$1" '
        tolower($1) == name { value = substr($0, length(name) + 2); sub(/^ */, "", value) }
        END { print value }'
}

# chat STREAM: the body of a chat completion.
chat() {
    printf '{"model":"%s","stream":%s,"max_tokens":16,"messages":[{"role":"user","content":"Say hello."}]}' \
        "$(printf '%s' "$model" | sed 's/[\\"]/\\&/g')" "$1"
}

check_health() {
    ask none /health
    [ "$status" = 200 ] || fail health 'status 200 from /health, without a key'
    ok health
}

check_refusal() {
    for given in none wrong; do
        ask "$given" /v1/models
        if [ "$status" != 401 ] || ! body_has '"invalid_api_key"'; then
            fail "refusal ($given key)" 'status 401 and the code invalid_api_key'
        fi
    done
    ok 'refusal of a missing and of a wrong key'
}

check_models() {
    ask right /v1/models
    [ "$status" = 200 ] || fail models 'status 200 from /v1/models; is KEY right?'
    first=$(tr , '\n' <"$work/body" | sed -n 's/.*"id" *: *"\([^"]*\)".*/\1/p' | head -n 1)
    [ -n "$first" ] || fail models 'at least one model in the list'
    model=${model:-$first}
    ok "models (asking $model from here on)"
}

check_completion() {
    ask right /v1/chat/completions "$(chat false)"
    [ "$status" = 200 ] || fail completion 'status 200'
    if ! body_has '"choices"' || ! body_has '"finish_reason"'; then
        fail completion 'a JSON body with choices that are finished'
    fi
    [ -n "$(header x-request-id)" ] || fail completion 'the header x-request-id'
    ok "completion (upstream $(header x-gateway-upstream))"
}

# Call it after a completion. A key without a limit gets none of these headers, any other key gets all.
check_limits() {
    limit=$(header x-ratelimit-limit-requests)
    remaining=$(header x-ratelimit-remaining-requests)
    reset=$(header x-ratelimit-reset-requests)
    if [ -z "$limit$remaining$reset" ]; then
        ok 'limit headers: none, so this key is not limited'
        return
    fi
    if [ -z "$limit" ] || [ -z "$remaining" ] || [ -z "$reset" ]; then
        fail 'limit headers' 'x-ratelimit-limit-requests, -remaining-requests and -reset-requests'
    fi
    ok "limit headers ($remaining of $limit left)"
}

check_stream() {
    ask right /v1/chat/completions "$(chat true)"
    [ "$status" = 200 ] || fail stream 'status 200'
    case $(header content-type) in
        text/event-stream*) ;;
        *) fail stream 'the content type text/event-stream' ;;
    esac
    last=$(tr -d '\r' <"$work/body" | sed '/^$/d' | tail -n 1)
    [ "$last" = 'data: [DONE]' ] || fail stream 'data: [DONE] at the end'
    ok "stream ($(grep -c '^data:' "$work/body") events)"
}

check_breakers() {
    ask right /v1/circuit-breakers
    [ "$status" = 200 ] || fail breakers 'status 200 from /v1/circuit-breakers'
    body_has '"state"' || fail breakers 'the state of at least one upstream'
    ok 'breakers'
}

check_health
check_refusal
check_models
check_completion
check_limits
check_stream
check_breakers
