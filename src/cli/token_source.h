// Tokens of any length, in blocks: from a text by a model's vocabulary, or from a list of ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/signals.h"
#include "cli/text_source.h"
#include "tokenizer/tokenizer.h"

namespace runnel::cli {

class TokenSource {
 public:
  // The text file ("-": standard input), tokenized by the vocabulary of the model file, BOS first
  // when it has one.
  static TokenSource from_text(const std::string& model_path, const std::string& text_path);
  // A JSON list of ids, or an object with such a list under "tokens". Error names the file and the
  // fault.
  static TokenSource from_json(const std::string& path);

  // Some next tokens, at most `limit`; empty at the end.
  std::vector<Token> next(std::size_t limit, const StopSignals& stop);

  // How much of the whole has been handed out, 0 to 1; nullopt when the whole is not known
  // (standard input).
  std::optional<double> share_done() const;

 private:
  TokenSource() = default;
  void refill(const StopSignals& stop);

  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<TextSource> text_;
  bool is_begun_ = false;
  double total_ = 0;     // bytes of text, or tokens; 0: not known
  double consumed_ = 0;  // of total_
  std::vector<Token> block_;
  std::size_t block_used_ = 0;
};

}  // namespace runnel::cli
