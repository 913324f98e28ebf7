#include "tokenizer/chat_format.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>

namespace runnel {

// The template's own text around the system prompt, the user's text and the answer.
struct FormatText {
  std::string_view name;
  std::string_view begin = {};  // before everything
  std::string_view system_begin = {}, system_end = {};
  std::string_view user = {};                                   // before the user's text
  std::optional<std::string_view> after_system = std::nullopt;  // instead, right after the prompt
  std::optional<std::string_view> later_user = std::nullopt;    // instead, after an answer
  std::string_view answer = {};  // from the user's text to the answer
  std::string_view answer_end = {};
  std::array<std::string_view, 2> stops = {};
};

namespace {

// The model may think aloud in another channel first; its header here asks for the answer itself.
constexpr std::string_view kHarmonyAnswer = "<|end|><|start|>assistant<|channel|>final<|message|>";
constexpr std::string_view kHarmonySystem =
    "<|start|>system<|message|>You are a helpful assistant.\n\nReasoning: low\n\n# Valid channels: "
    "analysis, commentary, final. Channel must be included for every message.<|end|>";
// A space after a control token is left out where the SentencePiece tokenizer puts it in by itself
// (Mistral); so are the line ends that Phi's tokenizer strips after its marks.
constexpr std::array kFormats = {
    FormatText{.name = "llama2",
               .system_begin = "[INST] <<SYS>>\n",
               .system_end = "\n<</SYS>>\n\n",
               .user = "[INST] ",
               .after_system = "",
               .later_user = "<s>[INST] ",
               .answer = " [/INST]",
               .answer_end = "</s>"},
    FormatText{.name = "llama3",
               .system_begin = "<|start_header_id|>system<|end_header_id|>\n\n",
               .system_end = "<|eot_id|>",
               .user = "<|start_header_id|>user<|end_header_id|>\n\n",
               .answer = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
               .answer_end = "<|eot_id|>"},
    FormatText{.name = "chatml",
               .system_begin = "<|im_start|>system\n",
               .system_end = "<|im_end|>\n",
               .user = "<|im_start|>user\n",
               .answer = "<|im_end|>\n<|im_start|>assistant\n",
               .answer_end = "<|im_end|>\n",
               .stops = {"<|im_end|>"}},
    FormatText{.name = "mistral",
               .system_begin = "[INST]",
               .system_end = "\n\n",
               .user = "[INST]",
               .after_system = "",
               .answer = "[/INST]",
               .answer_end = "</s>"},
    FormatText{.name = "mistral-v1",
               .system_begin = "[INST] ",
               .system_end = "\n\n",
               .user = "[INST] ",
               .after_system = "",
               .answer = " [/INST]",
               .answer_end = "</s>"},
    FormatText{.name = "mistral-v7",
               .system_begin = "[SYSTEM_PROMPT]",
               .system_end = "[/SYSTEM_PROMPT]",
               .user = "[INST]",
               .answer = "[/INST]",
               .answer_end = "</s>"},
    FormatText{.name = "zephyr",
               .system_begin = "<|system|>\n",
               .system_end = "</s>\n",
               .user = "<|user|>\n",
               .answer = "</s>\n<|assistant|>\n",
               .answer_end = "</s>\n",
               .stops = {"<|user|>"}},
    FormatText{.name = "gemma",
               .system_begin = "<start_of_turn>user\n",
               .system_end = "\n\n",
               .user = "<start_of_turn>user\n",
               .after_system = "",
               .answer = "<end_of_turn>\n<start_of_turn>model\n",
               .answer_end = "<end_of_turn>\n"},
    FormatText{.name = "phi",
               .system_begin = "<|system|>",
               .system_end = "<|end|>",
               .user = "<|user|>",
               .answer = "<|end|><|assistant|>",
               .answer_end = "<|end|>"},
    FormatText{.name = "phi4",
               .system_begin = "<|im_start|>system<|im_sep|>",
               .system_end = "<|im_end|>",
               .user = "<|im_start|>user<|im_sep|>",
               .answer = "<|im_end|><|im_start|>assistant<|im_sep|>",
               .answer_end = "<|im_end|>"},
    FormatText{.name = "falcon",
               .system_begin = "System: ",
               .system_end = "\n\n",
               .user = "User: ",
               .answer = "\n\nAssistant:",
               .answer_end = "\n\n",
               .stops = {"\nUser:", "\nSystem:"}},
    FormatText{.name = "falcon-chat",
               .system_begin = "System: ",
               .system_end = "\n",
               .user = "User: ",
               .answer = "\nFalcon:",
               .answer_end = "\n",
               .stops = {"\nUser:", "\nSystem:"}},
    FormatText{.name = "falcon3",
               .system_begin = "<|system|>\n",
               .system_end = "\n",
               .user = "<|user|>\n",
               .answer = "\n<|assistant|>\n",
               .answer_end = "<|endoftext|>\n",
               .stops = {"<|user|>"}},
    FormatText{.name = "vicuna",
               .user = "USER: ",
               .after_system = " USER: ",
               .answer = " ASSISTANT:",
               .answer_end = "</s>",
               .stops = {"USER:"}},
    FormatText{.name = "gpt-oss",
               .begin = kHarmonySystem,
               .system_begin = "<|start|>developer<|message|># Instructions\n\n",
               .system_end = "<|end|>",
               .user = "<|start|>user<|message|>",
               .answer = kHarmonyAnswer,
               .answer_end = "<|end|>"},
    FormatText{.name = "deepseek",
               .user = "<｜User｜>",
               .answer = "<｜Assistant｜>",
               .answer_end = "<｜end▁of▁sentence｜>"},
    FormatText{.name = "deepseek-v2",
               .system_end = "\n\n",
               .user = "User: ",
               .answer = "\n\nAssistant:",
               .answer_end = "<｜end▁of▁sentence｜>",
               .stops = {"\nUser:"}},
    FormatText{.name = "deepseek-coder",
               .system_end = "\n",
               .user = "### Instruction:\n",
               .answer = "\n### Response:\n",
               .answer_end = "\n<|EOT|>\n",
               .stops = {"### Instruction:"}},
};

struct Alias {
  std::string_view alias, name;
};
constexpr std::array kAliases = {Alias{"qwen", "chatml"}, Alias{"phi3", "phi"},
                                 Alias{"harmony", "gpt-oss"}, Alias{"mistral-v3", "mistral"},
                                 Alias{"deepseek-v3", "deepseek"}};

// A template that contains all the marks is of the family; the first rule that fits decides.
struct Rule {
  std::string_view name;
  std::array<std::string_view, 3> marks;
};
constexpr std::array kRules = {
    Rule{"phi4", {"<|im_start|>", "<|im_sep|>"}},
    Rule{"chatml", {"<|im_start|>"}},
    Rule{"gpt-oss", {"<|start|>", "<|channel|>"}},
    Rule{"llama3", {"<|start_header_id|>"}},
    Rule{"gemma", {"<start_of_turn>"}},
    Rule{"mistral-v7", {"[SYSTEM_PROMPT]"}},
    Rule{"llama2", {"[INST]", "<<SYS>>"}},
    Rule{"mistral-v1", {"[INST]", " [/INST]"}},
    Rule{"mistral", {"[INST]"}},
    Rule{"phi", {"<|assistant|>", "<|end|>"}},
    Rule{"zephyr", {"<|assistant|>", "<|user|>", "eos_token"}},
    Rule{"zephyr", {"<|assistant|>", "<|user|>", "</s>"}},
    Rule{"falcon3", {"<|assistant|>", "<|user|>"}},
    Rule{"deepseek", {"<｜Assistant｜>"}},
    Rule{"deepseek-coder", {"### Instruction:", "<|EOT|>"}},
    Rule{"deepseek-v2", {"User: ", "Assistant: ", "eos_token"}},
    Rule{"falcon-chat", {"User:", "Falcon:"}},
    Rule{"vicuna", {"USER:", "ASSISTANT:"}},
    Rule{"falcon", {"User:", "Assistant:"}},
};

std::vector<TextSegment> without_empty(std::initializer_list<TextSegment> segments) {
  std::vector<TextSegment> kept;
  for (const TextSegment& segment : segments) {
    if (!segment.text.empty()) kept.push_back(segment);
  }
  return kept;
}

TextSegment mark(std::string_view text) { return {std::string(text), true}; }
TextSegment said(std::string_view text) { return {std::string(text), false}; }

}  // namespace

ChatFormat ChatFormat::detect(std::string_view jinja) {
  const auto contains = [jinja](std::string_view mark) { return jinja.find(mark) != jinja.npos; };
  for (const Rule& rule : kRules) {
    if (std::all_of(rule.marks.begin(), rule.marks.end(), contains)) return named(rule.name);
  }
  throw Error(fmt::format("chat template not recognised: want one of {}; the file's begins \"{}\"",
                          fmt::join(known_names(), ", "), jinja.substr(0, 80)));
}

ChatFormat ChatFormat::named(std::string_view name) {
  for (const auto& [alias, meant] : kAliases) {
    if (name == alias) return named(meant);
  }
  for (const FormatText& format : kFormats) {
    if (format.name == name) return ChatFormat(format);
  }
  throw Error(fmt::format("chat template: want one of {}, found \"{}\"",
                          fmt::join(known_names(), ", "), name));
}

std::vector<std::string_view> ChatFormat::known_names() {
  std::vector<std::string_view> names;
  names.reserve(kFormats.size() + kAliases.size());
  for (const FormatText& format : kFormats) names.push_back(format.name);
  for (const auto& [alias, name] : kAliases) names.push_back(alias);
  return names;
}

std::string_view ChatFormat::name() const { return format_->name; }

std::vector<TextSegment> ChatFormat::system(std::string_view prompt) const {
  if (prompt.empty()) return without_empty({mark(format_->begin)});
  return without_empty(
      {mark(format_->begin), mark(format_->system_begin), said(prompt), mark(format_->system_end)});
}

std::vector<TextSegment> ChatFormat::user_turn(std::string_view text, Turn turn) const {
  std::string_view before = format_->user;
  if (turn == Turn::kAfterSystem) before = format_->after_system.value_or(before);
  if (turn == Turn::kLater) before = format_->later_user.value_or(before);
  return without_empty({mark(before), said(text), mark(format_->answer)});
}

std::vector<TextSegment> ChatFormat::end_of_answer() const {
  return without_empty({mark(format_->answer_end)});
}

std::vector<std::string_view> ChatFormat::stops() const {
  std::vector<std::string_view> stops;
  for (const std::string_view stop : format_->stops) {
    if (!stop.empty()) stops.push_back(stop);
  }
  return stops;
}

}  // namespace runnel
