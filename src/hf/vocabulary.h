// tokenizer.json, with tokenizer_config.json beside it, as the vocabulary of a GGUF file
// (tokenizer.ggml.*): byte-level BPE, or BPE over characters with byte tokens (SentencePiece).
#pragma once

#include <filesystem>

#include "gguf/writer.h"

namespace runnel::hf {

// Adds nothing when the folder has no tokenizer.json. `n_rows` of the embeddings: ids that no token
// has become unused ones. Error: a tokenizer of another kind, or with a pre-tokenizer that is not
// known.
void add_vocabulary(const std::filesystem::path& folder, int n_rows, gguf::Header& header);

}  // namespace runnel::hf
