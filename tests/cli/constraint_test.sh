#!/usr/bin/env bash
# --json-schema and --json-object: what is written is JSON of the form, and ends there.
source tests/cli/support.sh

cat >"$WORK/person.json" <<'EOF'
{"type": "object",
 "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
                "tags": {"type": "array", "items": {"enum": ["old", "new"]}, "maxItems": 3}},
 "required": ["name", "age"]}
EOF
is_person='(.name | type == "string" and length <= 12) and (.age | . >= 0 and . <= 150) and (keys - ["name", "age", "tags"] == [])'
for seed in 1 2 3; do
  expect_exit 0 "$RUNNEL" generate "$MODEL" -p "A person:" --json-schema "$WORK/person.json" --seed $seed -n 400 --quiet
  jq -e "$is_person" "$WORK/out" >"$WORK/judged" || fail "no person: $(cat "$WORK/out")"
done

# The schema itself; what is written is the same in JSON lines.
expect_exit 0 "$RUNNEL" generate "$MODEL" -p "A word:" --json-schema '{"enum": ["yes", "no"]}' --seed 5 --quiet
jq -e '. == "yes" or . == "no"' "$WORK/out" >"$WORK/judged" || fail "neither yes nor no: $(cat "$WORK/out")"
expect_exit 0 "$RUNNEL" generate "$MODEL" -p "A word:" --json-schema '{"enum": ["yes", "no"]}' --seed 5 --json
jq -es 'map(.text // "") | add | fromjson | . == "yes" or . == "no"' "$WORK/out" >"$WORK/judged" || fail "lines differ"
jq -es '.[-1].summary.stopped_by == "end of generation"' "$WORK/out" >"$WORK/judged" || fail "went on behind the end"

# Every answer of a dialogue begins anew.
printf 'One.\nTwo.\n' >"$WORK/turns"
"$RUNNEL" chat "$MODEL" --chat-template zephyr --json-schema '{"enum": ["yes", "no"]}' <"$WORK/turns" >"$WORK/out"
[[ $(jq -s 'map(select(. == "yes" or . == "no")) | length' "$WORK/out") == 2 ]] || fail "want two answers: $(cat "$WORK/out")"
printf 'One.\n' >"$WORK/turns"
"$RUNNEL" chat "$MODEL" --chat-template zephyr --json --seed 4 -n 100 <"$WORK/turns" >"$WORK/out"
[[ $(head -c 1 "$WORK/out") == "{" ]] || fail "no object: $(cat "$WORK/out")"

# What is not supported is refused by name, with the file's; so are other things that are no schema.
echo '{"type": "string", "pattern": "^a"}' >"$WORK/pattern.json"
expect_exit 1 "$RUNNEL" generate "$MODEL" -p a --json-schema "$WORK/pattern.json"
expect_text "$WORK/err" "pattern.json: .*pattern"
echo 'no JSON' >"$WORK/text.json"
expect_exit 1 "$RUNNEL" chat "$MODEL" --chat-template zephyr --json-schema "$WORK/text.json"
expect_text "$WORK/err" "text.json: "
expect_exit 1 "$RUNNEL" generate "$MODEL" -p a --json-schema "$WORK/no-such.json"
expect_text "$WORK/err" "no-such.json"
expect_exit 2 "$RUNNEL" generate "$MODEL" -p a --json-schema "$WORK/person.json" --json-object

# A document that -n cut is no result.
expect_exit 1 "$RUNNEL" generate "$MODEL" -p a --json-schema "$WORK/person.json" -n 2
expect_text "$WORK/err" "not finished after 2 tokens"
