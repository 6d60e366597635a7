#!/bin/sh
# A release gate: runs tests of all three systems, waits for their verdicts, writes a JUnit report. Exits as `testgate run`
# does: 0 only if all passed. It needs `testgate` on the PATH and these variables:
#
#   TESTGATE_SERVER      the gateway, as https://gateway.example.com:50051
#   TESTGATE_TOKEN       the token itself, as CI systems keep secrets; or TESTGATE_TOKEN_FILE
#   GATE_TESTS           the tests, one a line: connect-prod/greeting
#   GATE_ID              names this attempt: the same id starts no test twice; made up where left out
#   GATE_TIMEOUT         how long to wait for all of them; 30m where left out
#   GATE_JUNIT           where the report goes; testgate.xml where left out
set -eu

fail() {
  echo "release-gate: $*" >&2
  exit 2
}
command -v testgate >/dev/null || fail 'testgate is not on the PATH'
[ -n "${TESTGATE_SERVER-}" ] || fail 'TESTGATE_SERVER does not say where the gateway is'
[ -n "${GATE_TESTS-}" ] || fail 'GATE_TESTS names no test, so there is nothing to gate on'

# The command line reads the token from a file, where no list of processes shows it.
if [ -n "${TESTGATE_TOKEN-}" ]; then
  umask 077
  TESTGATE_TOKEN_FILE=$(mktemp)
  trap 'rm -f "$TESTGATE_TOKEN_FILE"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  printf '%s\n' "$TESTGATE_TOKEN" >"$TESTGATE_TOKEN_FILE"
  export TESTGATE_TOKEN_FILE
  unset TESTGATE_TOKEN
fi

set -- --timeout "${GATE_TIMEOUT:-30m}" --junit "${GATE_JUNIT:-testgate.xml}"
if [ -n "${GATE_ID-}" ]; then
  set -- "$@" --request-id "$GATE_ID" --label "gate=$GATE_ID"
fi
# Each line is a test's name, spaces and all, and no pattern of files.
set -f
IFS='
'
# shellcheck disable=SC2086
testgate run "$@" -- $GATE_TESTS
