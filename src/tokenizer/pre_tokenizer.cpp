#include "tokenizer/pre_tokenizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <span>

#include "base/utf8.h"
#include "runnel/error.h"

namespace runnel {
namespace {

// The expressions as the models' tokenizer files publish them.
using Patterns = std::span<const std::string_view>;

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr std::array kGpt2Stages = {kGpt2};
constexpr std::array<std::string_view, 3> kFalconStages = {R"([\p{P}$+<=>^~|`]+)", kGpt2,
                                                           R"([0-9][0-9][0-9])"};
constexpr std::array<std::string_view, 2> kStarcoderStages = {R"(\p{N})", kGpt2};

constexpr std::array<std::string_view, 1> kLlama3Stages = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array<std::string_view, 1> kQwen2Stages = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"};

constexpr std::array<std::string_view, 1> kGpt4oStages = {
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array<std::string_view, 1> kTekkenStages = {
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};

// The model's own list of cased letters: it is not the same as a Unicode class of today.
constexpr std::string_view kDeepseekLetters =
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕ)"
    R"(ἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤ)"
    R"(Ⳬ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)";
constexpr std::string_view kDeepseekHan = R"([一-龥ࠀ-一가-퟿]+)";
// White space at the very end. Written so that a long run inside the text is looked at once.
constexpr std::string_view kTrailingSpace = R"((?<!\s)\s++\z)";

constexpr std::array<std::string_view, 6> kDeepseekLlmStages = {
    R"([\r\n])",    kDeepseekLetters, R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)",
    kTrailingSpace, kDeepseekHan,     R"(\p{N}+)"};
constexpr std::array<std::string_view, 5> kDeepseekCoderStages = {
    R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepseekHan, R"(\p{N})"};
constexpr std::array<std::string_view, 3> kDeepseekV3Stages = {
    R"(\p{N}{1,3})", R"([一-龥぀-ゟ゠-ヿ]+)",
    R"([!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"};

struct Scheme {
  std::string_view name;
  Patterns patterns;
  bool ignores_merges = false;
  bool adds_bos = false;
};

constexpr std::array kSchemes = {
    Scheme{"default", kGpt2Stages},
    Scheme{"gpt-2", kGpt2Stages},
    Scheme{"gpt-neox", kGpt2Stages},
    Scheme{"mpt", kGpt2Stages},
    Scheme{"olmo", kGpt2Stages},
    Scheme{"jais", kGpt2Stages},
    Scheme{"phi-2", kGpt2Stages},
    Scheme{"falcon", kFalconStages},
    Scheme{"starcoder", kStarcoderStages},
    Scheme{"refact", kStarcoderStages},
    Scheme{"command-r", kStarcoderStages},
    Scheme{"smollm", kStarcoderStages},
    Scheme{"codeshell", kStarcoderStages},
    Scheme{"exaone", kStarcoderStages},
    Scheme{"llama-bpe", kLlama3Stages, true, true},
    Scheme{"llama3", kLlama3Stages, true, true},
    Scheme{"llama-v3", kLlama3Stages, true, true},
    Scheme{"falcon3", kLlama3Stages, true, true},
    Scheme{"pixtral", kLlama3Stages, true, true},
    Scheme{"dbrx", kLlama3Stages},
    Scheme{"smaug-bpe", kLlama3Stages},
    Scheme{"chatglm-bpe", kLlama3Stages},
    Scheme{"glm4", kLlama3Stages},
    Scheme{"qwen2", kQwen2Stages},
    Scheme{"stablelm2", kQwen2Stages},
    Scheme{"deepseek-r1-qwen", kQwen2Stages},
    Scheme{"deepseek-llm", kDeepseekLlmStages},
    Scheme{"deepseek-coder", kDeepseekCoderStages},
    Scheme{"deepseek-v3", kDeepseekV3Stages},
    Scheme{"gpt-4o", kGpt4oStages},
    Scheme{"llama4", kGpt4oStages},
    Scheme{"tekken", kTekkenStages, true, true},
};

const Scheme& scheme_named(std::string_view name) {
  std::vector<std::string_view> known;
  for (const Scheme& scheme : kSchemes) {
    if (scheme.name == name) return scheme;
    known.push_back(scheme.name);
  }
  throw Error(fmt::format("pre-tokenizer: want one of {}, found {}", fmt::join(known, ", "), name));
}

// Bytes at the start of text that are all valid UTF-8, or (when the first is not) all invalid.
std::size_t run_length(std::string_view text) {
  const bool is_valid = utf8_length(text) > 0;
  std::size_t end = 0;
  while (end < text.size()) {
    const int length = utf8_length(text.substr(end));
    if ((length > 0) != is_valid) break;
    end += is_valid ? static_cast<std::size_t>(length) : 1;
  }
  return end;
}

}  // namespace

PreTokenizer::PreTokenizer(std::string_view name) {
  const Scheme& scheme = scheme_named(name);
  for (const std::string_view pattern : scheme.patterns) stages_.emplace_back(pattern);
  ignores_merges_ = scheme.ignores_merges;
  adds_bos_ = scheme.adds_bos;
}

std::vector<std::string_view> PreTokenizer::split(std::string_view text) const {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::size_t length = run_length(text);
    const std::string_view run = text.substr(0, length);
    text.remove_prefix(length);
    if (utf8_length(run) == 0) {
      words.push_back(run);
      continue;
    }
    std::vector<std::string_view> pieces = {run};
    for (const Regex& stage : stages_) {
      std::vector<std::string_view> finer;
      for (const std::string_view piece : pieces) stage.split(piece, finer);
      pieces = std::move(finer);
    }
    words.insert(words.end(), pieces.begin(), pieces.end());
  }
  return words;
}

}  // namespace runnel
