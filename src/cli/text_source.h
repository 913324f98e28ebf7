// Text of any length, piece by piece: a string, a file, or standard input that may never end.
#pragma once

#include <optional>
#include <string>

#include "cli/signals.h"
#include "tokenizer/text_splitter.h"

namespace runnel::cli {

// Pieces end where TextSplitter cuts, so that tokens of the pieces are the tokens of the whole.
class TextSource {
 public:
  static TextSource from_text(std::string text);
  static TextSource from_file(const std::string& path);  // "-": standard input. Error: cannot open

  TextSource(TextSource&& other) noexcept;
  TextSource& operator=(TextSource&&) = delete;
  ~TextSource();

  // Cuts where the tokenizer, which must outlive the source, says that no token changes.
  void cut_for(const Tokenizer& tokenizer) { splitter_.cut_for(tokenizer); }

  // The next piece, as soon as one is complete; nullopt at the end. A request to stop ends the text
  // while it is waited for. Error: cannot read.
  std::optional<std::string> next(const StopSignals& stop);

 private:
  TextSource() = default;
  void close();

  std::string name_;
  int fd_ = -1;       // -1: everything is in rest_, or the end is reached
  std::string rest_;  // what is left of a text given whole
  TextSplitter splitter_;
};

}  // namespace runnel::cli
