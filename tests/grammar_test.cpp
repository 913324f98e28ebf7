// Constraints: which tokens may come, compared with trying each; numbers within bounds; what is
// refused. That texts fit their schemas is tests/python/test_schema.py.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "grammar/constraint.h"
#include "grammar/json_schema.h"
#include "runnel/error.h"
#include "runnel/runnel.h"
#include "support/paths.h"

namespace runnel {
namespace {

std::shared_ptr<const Grammar> grammar_of(std::string_view schema) {
  auto grammar = std::make_shared<Grammar>();
  grammar->set_start(json_schema_rule(*grammar, schema));
  return grammar;
}

bool accepts(const Grammar& grammar, std::string_view text) {
  Matcher matcher(grammar);
  int state = matcher.start();
  for (const char c : text) state = matcher.step(state, static_cast<unsigned char>(c));
  return state != Matcher::kDead && matcher.is_complete(state);
}

bool fits(std::string_view schema, std::string_view text) {
  return accepts(*grammar_of(schema), text);
}

std::string error_of(std::string_view schema) {
  try {
    grammar_of(schema);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing thrown";
}

TEST(JsonSchema, AcceptsWhatItDescribes) {
  constexpr const char* kObject =
      R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"},"c":{"enum":[1,"x",null]}},"required":["b"]})";
  for (const char* text : {R"({"b":""})", R"({"a": -12, "b": "é\n\u00e9"})",
                           "{\n  \"b\": \"x\",\n  \"c\": null\n}", R"({"b":"\ud83d\ude42"})"})
    EXPECT_TRUE(fits(kObject, text)) << text;
  for (const char* text :
       {"{}", R"({"a":1})", R"({"b":"", "a":1})", R"({"b":"","z":1})", R"({"a":01,"b":""})",
        R"({"b":"\ud83d"})", R"({"b":""},)", "{\"b\":\"\n\"}", "{\"b\":\"\xFF\"}",
        "{\"b\":\"\xC0\x80\"}", R"({"b":"",})"})
    EXPECT_FALSE(fits(kObject, text)) << text;
  EXPECT_TRUE(fits(R"({"type":["string","null"]})", "null"));
  EXPECT_TRUE(fits(R"({"type":"array","items":{"type":"boolean"},"minItems":2,"maxItems":3})",
                   "[true, false]"));
  EXPECT_FALSE(
      fits(R"({"type":"array","items":{"type":"boolean"},"minItems":2,"maxItems":3})", "[true]"));
  EXPECT_FALSE(fits(R"({"type":"array","items":{"type":"boolean"},"maxItems":1})", "[true,true]"));
  EXPECT_TRUE(fits(R"({"type":"string","minLength":2,"maxLength":3})", "\"é日\""));
  EXPECT_FALSE(fits(R"({"type":"string","minLength":2,"maxLength":3})", "\"abcd\""));
  EXPECT_TRUE(fits(
      R"({"$defs":{"n":{"type":"object","properties":{"n":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["n"]}},"$ref":"#/$defs/n"})",
      R"({"n":{"n":{"n":null}}})"));
  EXPECT_TRUE(fits("{}", R"([1.5e-3, {"a": [true, null]}, "x"])"));
  EXPECT_FALSE(fits("{}", "[1.5e-3, ]"));
  EXPECT_TRUE(fits(R"({"format":"date"})", "\"2024-02-28\""));
}

TEST(JsonSchema, WholeNumbersKeepToTheirBounds) {
  const std::pair<int, int> bounds[] = {{0, 9},       {-3, 12}, {7, 7},   {95, 1204},
                                        {-1000, -99}, {-5, 0},  {10, 10}, {101, 199}};
  for (const auto& [low, high] : bounds) {
    const auto grammar = grammar_of("{\"type\":\"integer\",\"minimum\":" + std::to_string(low) +
                                    ",\"maximum\":" + std::to_string(high) + "}");
    for (int i = -1300; i <= 1300; ++i) {
      EXPECT_EQ(accepts(*grammar, std::to_string(i)), i >= low && i <= high)
          << low << " " << high << " " << i;
    }
    EXPECT_FALSE(accepts(*grammar, "-0"));
    EXPECT_FALSE(accepts(*grammar, "007"));
  }
  EXPECT_TRUE(fits(R"({"type":"integer","exclusiveMinimum":2.5})", "3"));
  EXPECT_FALSE(fits(R"({"type":"integer","exclusiveMinimum":3})", "3"));
  EXPECT_TRUE(fits(R"({"type":"integer","exclusiveMaximum":3.5})", "3"));
}

TEST(JsonSchema, RefusesByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"type":"string","pattern":"a+"})", "#: pattern"},
      {R"({"properties":{"a":{"multipleOf":3}}})", "#/properties/a: multipleOf"},
      {R"({"type":"array","uniqueItems":true})", "uniqueItems"},
      {R"({"not":{}})", "not is not supported"},
      {R"({"type":"number","minimum":1})", "minimum"},
      {R"({"oneOf":[{"type":"string"},{"enum":["a"]}]})", "oneOf"},
      {R"({"anyOf":[{"type":"string"}],"properties":{}})", "beside anyOf"},
      {R"({"$ref":"http://x/y"})", "within the schema"},
      {R"({"$ref":"#/$defs/a"})", "nothing is at"},
      {R"({"type":"thing"})", "type"},
      {R"({"format":"email"})", "email"},
      {R"({"required":["a"],"properties":{}})", "not among"},
      {"false", "false"},
      {"{", "JSON schema"},
      {R"({"type":"integer","minimum":3,"maximum":2})", "no whole number"},
      {R"({"type":"string","maxLength":99999999})", "maxLength"}};
  for (const auto& [schema, wanted] : cases) {
    EXPECT_NE(error_of(schema).find(wanted), std::string::npos)
        << schema << ": " << error_of(schema);
  }
  EXPECT_NE(error_of(std::string(100'000, '[')), "nothing thrown");
  EXPECT_EQ(error_of(R"({"oneOf":[{"type":"string"},{"type":"integer"}]})"), "nothing thrown");
  EXPECT_EQ(error_of(R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})"), "nothing thrown");
}

TEST(Constraint, AllowsExactlyTheTokensThatGoOn) {
  std::vector<std::string> texts = {"", ""};
  std::mt19937 random(1);
  for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  const std::string letters = "{}[]\":, \\ntruefals019.-eé日";
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (unsigned n = random() % 6 + 2; n > 0; --n) text += letters[random() % letters.size()];
    texts.push_back(text);
  }
  const TokenOrder tokens(texts, {1});
  const auto grammar =
      grammar_of(R"({"type":"object","properties":{"a":{"type":"array"},"é":{"type":"string"}}})");
  for (int round = 0; round < 20; ++round) {
    GrammarConstraint constraint(grammar, tokens);
    Matcher matcher(*grammar);
    int state = matcher.start();
    for (int step = 0; step < 40; ++step) {
      const std::span<const std::uint64_t> mask = constraint.allowed();
      std::vector<Token> allowed;
      for (std::size_t t = 0; t < texts.size(); ++t) {
        int next = texts[t].empty() ? Matcher::kDead : state;
        for (const char c : texts[t]) next = matcher.step(next, static_cast<unsigned char>(c));
        const bool may = t == 1 ? matcher.is_complete(state) : next != Matcher::kDead;
        ASSERT_EQ((mask[t / 64] >> (t % 64) & 1) != 0, may) << texts[t];
        if (may && t != 1) allowed.push_back(static_cast<Token>(t));
      }
      if (allowed.empty()) break;
      const Token token = allowed[random() % allowed.size()];
      constraint.accept(token);
      for (const char c : texts[static_cast<std::size_t>(token)])
        state = matcher.step(state, static_cast<unsigned char>(c));
      EXPECT_EQ(constraint.is_complete(), matcher.is_complete(state));
      if (step % 7 == 3) state = matcher.forget_others(state);
    }
    EXPECT_THROW(constraint.accept(0), Error);
  }
}

class ConstrainedStream : public testing::Test {
 protected:
  Model model_ = Model::load(test::bundled_model(), {.threads = 1});
  Constraints forms_{model_};
};

constexpr const char* kSchema =
    R"({"type":"object","properties":{"name":{"type":"string","maxLength":12},"age":{"type":"integer","minimum":0,"maximum":120},"tags":{"type":"array","items":{"enum":["a","b"]},"maxItems":3}},"required":["name","age","tags"]})";

TEST_F(ConstrainedStream, WritesATextOfTheFormAndThenItsEnd) {
  const auto grammar = grammar_of(kSchema);
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    Stream stream = model_.open({.sampling = {.temperature = 1.5f, .top_k = 0, .seed = seed}});
    stream.feed("Once upon a time");
    stream.set_constraint(forms_.json_schema(kSchema));
    std::string text;
    Stream::Step step;
    for (int n = 0; n < 300 && !step.end_of_generation; ++n) {
      step = stream.next();
      text += step.text;
    }
    EXPECT_TRUE(step.end_of_generation) << text;
    EXPECT_TRUE(accepts(*grammar, text)) << text;
  }
}

TEST_F(ConstrainedStream, ForksReplaysAndDraftsGoTheSameWay) {
  const auto write = [](Stream& stream) {
    std::vector<Token> tokens;
    for (int n = 0; n < 200; ++n) {
      tokens.push_back(stream.next().token);
    }
    return tokens;
  };
  constexpr const char* kEndless = R"({"type":"array","items":{"type":"string"}})";
  Stream stream = model_.open({.sampling = {.seed = 4}});
  stream.feed("Once");
  stream.set_constraint(forms_.json_schema(kEndless));
  std::vector<Token> begun;
  for (int n = 0; n < 9; ++n) begun.push_back(stream.next().token);
  Stream fork = stream.fork();
  Stream replayed = stream.fork();
  auto constraint = forms_.json_schema(kEndless);
  for (const Token token : begun) constraint->accept(token);
  replayed.set_constraint(std::move(constraint));
  const std::vector<Token> wanted = write(stream);
  EXPECT_EQ(write(fork), wanted);
  EXPECT_EQ(write(replayed), wanted);
  Stream drafting = model_.open({.draft = 8, .sampling = {.seed = 4}});
  drafting.feed("Once");
  drafting.set_constraint(forms_.json_schema(kEndless));
  for (const Token token : begun) EXPECT_EQ(drafting.next().token, token);
  EXPECT_EQ(write(drafting), wanted);
}

TEST_F(ConstrainedStream, PushedTokensMustFit) {
  Stream stream = model_.open({});
  stream.feed("Once");
  stream.set_constraint(forms_.json_between("<call>", kSchema, "</call>"));
  const std::int64_t position = stream.position();
  EXPECT_THROW(stream.push(model_.tokenize("x", false).back()), Error);
  EXPECT_EQ(stream.position(), position);
  std::string text;
  for (int n = 0; n < 6; ++n) text += stream.next().text;
  EXPECT_TRUE(text.starts_with("<call>") || std::string("<call>").starts_with(text)) << text;
  stream.set_constraint(nullptr);
  EXPECT_NO_THROW(stream.push(model_.tokenize("x", false).back()));
}

TEST_F(ConstrainedStream, CallsAToolWhereItMust) {
  constexpr const char* kTools =
      R"([{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}}},{"type":"function","function":{"name":"g"}}])";
  const AnswerForm tagged = {.calls = CallStyle::kTagged};
  Stream stream = model_.open({.sampling = {.seed = 2}});
  stream.feed("Once");
  stream.set_constraint(forms_.tool_call(tagged, kTools, "f"));
  AnswerParser parser(tagged);
  std::vector<AnswerEvent> events;
  for (int n = 0; n < 200; ++n) {
    const Stream::Step step = stream.next();
    for (AnswerEvent& event : parser.push(step.text)) events.push_back(std::move(event));
    if (step.end_of_generation) break;
  }
  ASSERT_GE(events.size(), 3u);
  EXPECT_EQ(events.front().name, "f");
  EXPECT_EQ(events.back().kind, AnswerEvent::Kind::kCallEnd);
  EXPECT_THROW(forms_.tool_call(tagged, kTools, "h"), Error);
  EXPECT_THROW(forms_.tool_call({.calls = CallStyle::kNone}, kTools), Error);
  EXPECT_THROW(forms_.tool_call(tagged, "[]"), Error);
}

}  // namespace
}  // namespace runnel
