// Any bytes, through both kinds of tokenizer: no crash, no hang; text that is valid UTF-8 (and for
// byte-level vocabularies any text) comes back from its tokens, whole and through the detokenizer,
// composed where the tokenizer does so.
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "support/small_vocabulary.h"
#include "tokenizer/composition.h"
#include "tokenizer/text_splitter.h"

namespace {

using runnel::Token;
using runnel::Tokenizer;

std::unique_ptr<Tokenizer> bundled() {
  const std::string path = RUNNEL_SOURCE_DIR "/models/novella-7m-q8_0.gguf";
  return Tokenizer::from(runnel::gguf::File::open(path));
}

std::unique_ptr<Tokenizer> byte_level(const std::string& pre) {
  auto vocabulary = runnel::test::byte_level_vocabulary(
      {"Ġ t", "h e", "Ġt he", "i n", "Ġ Ġ", "a a", "aa aa", "1 2", "ĠĠ ĠĠ", "Ċ Ċ", "Ã ©"});
  vocabulary.add("<|im_start|>", runnel::TokenKind::kControl);
  vocabulary.add("<|im_end|>", runnel::TokenKind::kControl);
  vocabulary.add("   ", runnel::TokenKind::kUserDefined);
  return runnel::test::tokenizer_from(runnel::test::byte_level_header(vocabulary, pre));
}

void need(bool holds) {
  if (!holds) std::abort();
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const int length = runnel::utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(static_cast<std::size_t>(length));
  }
  return true;
}

void check(const Tokenizer& tokenizer, const std::string& text) {
  const std::vector<Token> tokens = tokenizer.encode(text, {});
  const std::string back = tokenizer.decode(tokens);
  need(back == text || back == runnel::composed(text));
  runnel::Detokenizer detokenizer(tokenizer);
  std::string streamed;
  for (const Token token : tokens) {
    const std::string piece = detokenizer.push(token);
    if (is_utf8(text)) need(is_utf8(piece));
    streamed += piece;
  }
  streamed += detokenizer.flush();
  need(streamed == back);
  tokenizer.decode(tokenizer.encode(text, {.parse_special = true}), true);
}

void check_splitter(std::string_view text) {
  runnel::TextSplitter splitter;
  std::string joined;
  for (std::size_t at = 0; at < text.size(); at += 7) joined += splitter.push(text.substr(at, 7));
  joined += splitter.finish();
  need(joined == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto tokenizers = [] {
    std::vector<std::unique_ptr<Tokenizer>> all;
    all.push_back(bundled());
    for (const char* pre : {"gpt-2", "falcon", "llama-bpe", "qwen2", "starcoder", "deepseek-llm",
                            "deepseek-coder", "deepseek-v3", "gpt-4o", "tekken"}) {
      all.push_back(byte_level(pre));
    }
    return all;
  }();
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const auto& tokenizer : tokenizers) check(*tokenizer, text);
  check_splitter(text);
  return 0;
}
