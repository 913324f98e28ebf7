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

// As Qwen 2's, with the marks of letters in their words.
constexpr std::array<std::string_view, 1> kQwen35Stages = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
    R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array<std::string_view, 1> kSeedStages = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+)"
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
    R"(\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293})"
    R"(\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A})"
    R"(\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556})"
    R"(\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF})"
    R"(\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D})"
    R"(\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D})"
    R"(\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4})"
    R"(\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4})"
    R"(\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124})"
    R"(\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F})"
    R"(\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"
    R"(\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F})"
    R"(\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17})"
    R"(\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3})"
    R"(\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF})"
    R"(\x{1E900}-\x{1E943}]+)";
constexpr std::string_view kDeepseekHan = R"([\x{800}-\x{9FA5}\x{AC00}-\x{D7FF}]+)";
// White space at the very end. Written so that a long run inside the text is looked at once.
constexpr std::string_view kTrailingSpace = R"((?<!\s)\s++\z)";

constexpr std::array<std::string_view, 6> kDeepseekLlmStages = {
    R"([\r\n])",
    kDeepseekLetters,
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)",
    kTrailingSpace,
    kDeepseekHan,
    R"(\p{N}+)"};
constexpr std::array<std::string_view, 5> kDeepseekCoderStages = {
    R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepseekHan, R"(\p{N})"};
constexpr std::array<std::string_view, 3> kDeepseekV3Stages = {
    R"(\p{N}{1,3})", R"([\x{4E00}-\x{9FA5}\x{3040}-\x{30FF}]+)",
    R"([!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"};

struct Scheme {
  std::string_view name;
  Patterns patterns;
  bool ignores_merges = false;
  bool adds_bos = false;
  bool composes = false;
};

constexpr std::array kSchemes = {
    Scheme{"default", kGpt2Stages},
    Scheme{"gpt-2", kGpt2Stages},
    Scheme{"gpt-neox", kGpt2Stages, false, false, true},
    Scheme{"mpt", kGpt2Stages, false, false, true},
    Scheme{"olmo", kGpt2Stages},
    Scheme{"jais", kGpt2Stages},
    Scheme{"phi-2", kGpt2Stages},
    Scheme{"exaone4", kGpt2Stages},
    Scheme{"gigachat", kGpt2Stages},
    Scheme{"a.x-4.0", kGpt2Stages},
    Scheme{"mellum", kGpt2Stages},
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
    Scheme{"falcon-h1", kLlama3Stages, true, true},
    Scheme{"midm-2.0", kLlama3Stages, true, true},
    Scheme{"lfm2", kLlama3Stages, true, true},
    Scheme{"pixtral", kLlama3Stages, true, true},
    Scheme{"dbrx", kLlama3Stages},
    Scheme{"smaug-bpe", kLlama3Stages},
    Scheme{"chatglm-bpe", kLlama3Stages},
    Scheme{"glm4", kLlama3Stages},
    Scheme{"qwen2", kQwen2Stages, false, false, true},
    Scheme{"stablelm2", kQwen2Stages},
    Scheme{"deepseek-r1-qwen", kQwen2Stages, false, false, true},
    Scheme{"kormo", kQwen2Stages},
    Scheme{"megrez", kQwen2Stages},
    Scheme{"qwen35", kQwen35Stages, false, false, true},
    Scheme{"seed-coder", kSeedStages},
    Scheme{"deepseek-llm", kDeepseekLlmStages},
    Scheme{"deepseek-coder", kDeepseekCoderStages},
    Scheme{"deepseek-v3", kDeepseekV3Stages},
    Scheme{"hunyuan-dense", kDeepseekV3Stages},
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
  composes_ = scheme.composes;
}

std::optional<std::string_view> PreTokenizer::find_scheme(std::string_view pattern,
                                                          bool ignores_merges) {
  for (const Scheme& scheme : kSchemes) {
    if (scheme.patterns.size() == 1 && scheme.patterns.front() == pattern &&
        scheme.ignores_merges == ignores_merges)
      return scheme.name;
  }
  return std::nullopt;
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
