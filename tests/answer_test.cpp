// Answers taken apart: calls, thoughts and text of each family, however the pieces are cut.
#include "runnel/answer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace runnel {
namespace {

using Kind = AnswerEvent::Kind;

// The events in one line, pieces of the same kind joined: "think(..) text(..) call0 f({..})".
std::string told(const std::vector<AnswerEvent>& events) {
  std::string out;
  const AnswerEvent* before = nullptr;
  for (const AnswerEvent& event : events) {
    const bool goes_on = before != nullptr && before->kind == event.kind &&
                         event.kind != Kind::kCallBegin && event.kind != Kind::kCallEnd;
    if (before != nullptr && !goes_on &&
        (before->kind == Kind::kText || before->kind == Kind::kReasoning))
      out += ") ";
    switch (event.kind) {
      case Kind::kText:
      case Kind::kReasoning:
        out += (goes_on ? "" : event.kind == Kind::kText ? "text(" : "think(") + event.text;
        break;
      case Kind::kCallBegin:
        out += "call" + std::to_string(event.index) + " " + event.id + event.name + "(";
        break;
      case Kind::kCallArguments:
        out += event.text;
        break;
      case Kind::kCallEnd:
        out += ") ";
        break;
    }
    before = &event;
  }
  if (before != nullptr && (before->kind == Kind::kText || before->kind == Kind::kReasoning))
    out += ")";
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

// "‹name›" in the text stands for a control token.
std::string parsed(const AnswerForm& form, std::string_view text, unsigned seed) {
  AnswerParser parser(form);
  std::vector<AnswerEvent> all;
  std::mt19937 random(seed);
  const auto take = [&](const std::vector<AnswerEvent>& events) {
    all.insert(all.end(), events.begin(), events.end());
  };
  constexpr std::string_view kOpen = "‹", kClose = "›";
  while (!text.empty()) {
    if (text.starts_with(kOpen)) {
      const std::size_t end = text.find(kClose);
      take(parser.push_mark(text.substr(kOpen.size(), end - kOpen.size())));
      text.remove_prefix(end + kClose.size());
      continue;
    }
    const std::size_t most = std::min(text.find(kOpen), text.size());
    const std::size_t n =
        seed == 0 ? most : 1 + random() % std::min<std::size_t>(most, seed % 9 + 1);
    take(parser.push(text.substr(0, n)));
    text.remove_prefix(n);
  }
  take(parser.finish());
  return told(all);
}

struct Case {
  AnswerForm form;
  const char* text;
  const char* wanted;
};

const AnswerForm kTagged = {CallStyle::kTagged, "<think>", "</think>"};
const AnswerForm kThinking = {CallStyle::kTagged, "<think>", "</think>", true};
const AnswerForm kBare = {CallStyle::kBare};
const AnswerForm kListed = {CallStyle::kListed};
const AnswerForm kChannels = {CallStyle::kChannels};

TEST(Answer, IsTakenApartHoweverItIsCut) {
  const Case cases[] = {
      {{}, "Hello <tool_call> {}\n", "text(Hello <tool_call> {}\n)"},
      {kTagged, "Hello  there \n", "text(Hello  there \n)"},
      {kTagged, "a < b <think", "text(a < b <think)"},
      {kTagged, "<think>\nhm, <b>\n</think>\n\nYes.", "think(hm, <b>) text(Yes.)"},
      {kThinking, "so\n</think>\n\nYes.", "think(so) text(Yes.)"},
      {kThinking, "never ends", "think(never ends)"},
      {kTagged,
       "Wait.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"}\\\"\", \"b\": [1, "
       "{}]}}\n</tool_call>",
       "text(Wait.) call0 f({\"a\": \"}\\\"\", \"b\": [1, {}]})"},
      {kTagged,
       "<tool_call>{\"name\":\"f\",\"arguments\":{}}</"
       "tool_call>\n<tool_call>{\"arguments\":{\"x\":1},\"name\":\"g\"}</tool_call>",
       "call0 f({}) call1 g({\"x\":1})"},
      {kTagged, "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}</tool_call>",
       "call0 f({\"a\":1})"},
      {kTagged, "<tool_call>{\"name\":\"f\"}</tool_call>", "call0 f({})"},
      {kTagged, "<tool_call>{\"city\": 3}", "text(<tool_call>{\"city\": 3})"},
      {kTagged, "<tool_call>nonsense", "text(<tool_call>nonsense)"},
      {kTagged, "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":", "call0 f({\"a\":)"},
      {kBare, " {\"name\": \"f\", \"parameters\": {\"x\": 2}}", "call0 f({\"x\": 2})"},
      {kBare,
       "{\"type\":\"function\",\"name\":\"f\",\"parameters\":{}}\n{\"name\":\"g\",\"parameters\":{}"
       "}",
       "call0 f({}) call1 g({})"},
      {kBare, "{\"answer\": 4}", "text({\"answer\": 4})"},
      {kBare, "Text {\"name\": \"f\"}", "text(Text {\"name\": \"f\"})"},
      {kBare, "‹<|python_tag|>›{\"name\":\"f\",\"parameters\":{}}", "call0 f({})"},
      {kListed,
       "‹[TOOL_CALLS]› [{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", "
       "\"arguments\": {}, \"id\": \"123456789\"}]",
       "call0 f({\"a\": 1}) call1 g({})"},
      {kListed, "[TOOL_CALLS][{\"id\":\"x\",\"name\":\"f\",\"arguments\":{}}]", "call0 xf({})"},
      {kListed, "Hm ‹[TOOL_CALLS]›f‹[ARGS]›{\"a\": {\"b\": 1}}‹[TOOL_CALLS]›g[ARGS]{}",
       "text(Hm) call0 f({\"a\": {\"b\": 1}}) call1 g({})"},
      {kListed, "plain [TOOL", "text(plain [TOOL)"},
      {kChannels,
       "‹<|channel|>›analysis‹<|message|>›Let me see "
       "‹<|end|>›‹<|start|>›assistant‹<|channel|>›final‹<|message|>›Hi <|channel|> you",
       "think(Let me see) text(Hi <|channel|> you)"},
      {kChannels,
       "‹<|channel|>›commentary to=functions.f ‹<|constrain|>›json‹<|message|>›{\"a\":1}‹<|call|>›",
       "call0 f({\"a\":1})"},
      {kChannels,
       "‹<|channel|>›commentary‹<|message|>›First.‹<|end|>›‹<|start|>›assistant "
       "to=functions.g‹<|channel|>›commentary json‹<|message|>›{}",
       "text(First.) call0 g({})"},
  };
  for (const Case& c : cases) {
    for (unsigned seed = 0; seed < 30; ++seed) {
      EXPECT_EQ(parsed(c.form, c.text, seed), c.wanted) << c.text << " seed " << seed;
    }
  }
}

TEST(Answer, ArgumentsComeWhileTheyAreWritten) {
  AnswerParser parser(kTagged);
  parser.push("<tool_call>{\"name\": \"f\", ");
  const std::vector<AnswerEvent> events = parser.push("\"arguments\": {\"city\": \"Ro");
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0], (AnswerEvent{.kind = Kind::kCallBegin, .name = "f"}));
  EXPECT_EQ(events[1], (AnswerEvent{.kind = Kind::kCallArguments, .text = "{\"city\": \"Ro"}));
  EXPECT_EQ(parser.calls(), 1);
}

TEST(Answer, AnyBytesComeToAnEnd) {
  std::mt19937 random(5);
  const std::string pieces[] = {"<tool_call>",
                                "</tool_call>",
                                "{",
                                "}",
                                "\"name\":",
                                "\"f\"",
                                ",",
                                "\"arguments\":",
                                "<think>",
                                "</think>",
                                "[TOOL_CALLS]",
                                "[",
                                "]",
                                "[ARGS]",
                                "\\",
                                "\"",
                                "x",
                                " ",
                                "\xFF"};
  for (const AnswerForm& form : {kTagged, kThinking, kBare, kListed, kChannels}) {
    for (int round = 0; round < 400; ++round) {
      AnswerParser parser(form);
      for (int i = 0; i < 40; ++i) {
        const std::string& piece = pieces[random() % std::size(pieces)];
        random() % 5 == 0 ? parser.push_mark(piece) : parser.push(piece);
      }
      parser.finish();
      EXPECT_TRUE(parser.push("").empty());
    }
  }
}

}  // namespace
}  // namespace runnel
