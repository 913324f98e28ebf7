// A vocabulary of any size that tokenizes any text.
#pragma once

#include "gguf/writer.h"

namespace runnel {

// The smallest size: three control tokens and one token for each byte.
inline constexpr int kLeastVocabulary = 3 + 256;

// Adds the tokenizer's metadata: a SentencePiece-style vocabulary of control tokens, bytes and
// made-up words. Error: fewer than kLeastVocabulary tokens.
void add_made_vocabulary(gguf::Header& header, int n_tokens);

}  // namespace runnel
