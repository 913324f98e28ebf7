# runnel serve from the outside: starting, keys, TLS, abuse, stopping. The protocols are tested in tests/python.
source tests/cli/support.sh
command -v curl >/dev/null || { echo "SKIPPED: curl is not there"; exit 0; }

# start OPTION...: a server on a free port; sets PID and URL.
start() {
  "$RUNNEL" serve "$MODEL" --port 0 --threads 1 "$@" 2>"$WORK/log" &
  PID=$!
  for _ in $(seq 600); do
    URL=$(grep -oE 'https?://[^ :]+:[0-9]+' "$WORK/log" | head -1) || true
    [[ -n $URL ]] && return
    kill -0 $PID 2>/dev/null || fail "the server ended: $(cat "$WORK/log")"
    sleep 0.1
  done
  fail "the server did not start: $(cat "$WORK/log")"
}
stop() {
  kill -TERM $PID
  local code=0
  wait $PID || code=$?
  expect_same $code 0
}
trap 'kill -9 ${PID:-} 2>/dev/null || true; rm -rf "$WORK"' EXIT
status() { curl -sk -o "$WORK/body" -w '%{http_code}' -m 60 "$@"; }

expect_exit 2 "$RUNNEL" serve "$MODEL" --port 70000
expect_exit 2 "$RUNNEL" serve "$MODEL" --tls-cert cert.pem
expect_exit 1 "$RUNNEL" serve "$MODEL" --port 0 --key-file /dev/null
expect_exit 1 "$RUNNEL" serve "$MODEL" --port 0 --host 203.0.113.1

start --window 64 --model-id novel --max-body 1 --state "$WORK/state/deep"
expect_same "$(status "$URL/health")" 200
expect_same "$(status "$URL/ready")" 200
expect_same "$(status "$URL/v1/models")" 200
expect_text "$WORK/body" '"id":"novel"'
expect_text "$WORK/body" '"window":64'
expect_exit 1 "$RUNNEL" serve "$MODEL" --port "${URL##*:}"  # taken

# What comes in from the world.
expect_same "$(status "$URL/nowhere")" 404
expect_same "$(status -X PUT "$URL/v1/models")" 405
expect_same "$(status "$URL/%zz")" 400
expect_same "$(status "$URL/v1/completions" -d '{"prompt": "x", "max_tokens"')" 400
expect_text "$WORK/body" 'not JSON'
expect_same "$(status "$URL/v1/completions" -d '[1, 2]')" 400
expect_same "$(status "$URL/v1/completions" -d "{\"prompt\": $(printf '[%.0s' {1..100})$(printf ']%.0s' {1..100})}")" 400
expect_text "$WORK/body" 'nested'
printf '{"prompt": "\xff\xfe"}' >"$WORK/invalid"
expect_same "$(status "$URL/v1/completions" --data-binary "@$WORK/invalid")" 400
head -c 2000000 /dev/zero >"$WORK/large"
expect_same "$(status "$URL/v1/completions" --data-binary "@$WORK/large")" 413
expect_same "$(status -H "X-Long: $(head -c 60000 /dev/zero | tr '\0' a)" "$URL/health")" 431
printf 'nonsense\r\n\r\n' | timeout 10 bash -c "cat >/dev/tcp/127.0.0.1/${URL##*:}" || true
exec 9<>"/dev/tcp/127.0.0.1/${URL##*:}"  # a client that begins a request and stays silent
printf 'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{' >&9
timeout 1 curl -sN "$URL/v1/completions" -d '{"prompt": "On", "stream": true, "max_tokens": 100000}' >/dev/null || true
expect_same "$(status "$URL/v1/completions" -d '{"prompt": "Once", "max_tokens": 3}')" 200
exec 9>&-
expect_same "$(status "$URL/tokenize" -d '{"content": "Once upon"}')" 200
tokens=$(grep -o '"tokens":\[[^]]*\]' "$WORK/body")
expect_same "$(status "$URL/detokenize" -d "{$tokens}")" 200
expect_text "$WORK/body" 'Once upon'
for _ in $(seq 100); do  # those whose client has left are cancelled
  curl -s "$URL/metrics" | grep -q '^runnel_answers 0$' && break
  sleep 0.1
done
expect_same "$(curl -s "$URL/metrics" | grep -c '^runnel_answers 0$')" 1
stop
[[ -f $WORK/state/deep/runnel.sqlite ]] || fail "no store in the folder of the state"

# Keys, and lines as JSON.
printf 'first-key\n\nsecond-key\n' >"$WORK/keys"
start --key-file "$WORK/keys" --log-format json
expect_text "$WORK/log" '"level":"info"'
expect_same "$(status "$URL/health")" 200
expect_same "$(status "$URL/v1/models")" 401
expect_same "$(status -H 'Authorization: Bearer wrong-key1' "$URL/v1/models")" 401
expect_same "$(status -H 'Authorization: Bearer second-key' "$URL/v1/models")" 200
expect_same "$(status -H 'X-Api-Key: first-key' "$URL/v1/models")" 200
stop

# TLS.
if command -v openssl >/dev/null; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 2 \
    -keyout "$WORK/key.pem" -out "$WORK/cert.pem" 2>/dev/null
  start --tls-cert "$WORK/cert.pem" --tls-key "$WORK/key.pem"
  expect_same "$(status "$URL/v1/completions" -d '{"prompt": "Once", "max_tokens": 3}')" 200
  stop
fi
