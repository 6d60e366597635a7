#!/bin/sh
# Follows an execution to its end with nothing but curl: examples/follow-with-curl.sh NAME
# Prints each event as a line of JSON, and last how the stream ended: {} if all went well.
set -eu
server=${TESTGATE_URL:-http://127.0.0.1:50051}
message="{\"names\": [\"$1\"], \"untilDone\": true}"

# A message of a stream has five bytes before it: flags, and its length.
request() {
  printf "\\000\\000\\000\\$(printf %03o $((${#message} / 256)))\\$(printf %03o $((${#message} % 256)))%s" "$message"
}

replies() {
  while length=$(head -c 5 | od -An -tu1 | awk 'NF == 5 { print (($2 * 256 + $3) * 256 + $4) * 256 + $5 }') && [ "$length" ]; do
    head -c "$length"
    echo
  done
}

request | curl --silent --show-error --no-buffer --data-binary @- -H 'Content-Type: application/connect+json' \
  ${TESTGATE_TOKEN:+-H "Authorization: Bearer $TESTGATE_TOKEN"} \
  "$server/testgate.v1.TestExecutionService/WatchExecutions" | replies
