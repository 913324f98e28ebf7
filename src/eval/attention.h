// Where the model looks (the paper's figure 2): attention averaged over many texts of one length,
// and how much of it rests on the first tokens, the sinks.
//
// Memory is bounded: for each layer and head the share on the first tokens, one map [n, n] for each
// layer (the mean of its heads), and a map for each head only when asked. Sums are whole numbers,
// so that the threads' order changes nothing: the same texts give the same averages, bit for bit.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "model/decoder.h"
#include "runnel/runnel.h"

namespace runnel::eval {

struct AttentionOptions {
  StreamOptions stream = {.policy = Policy::kDense, .kv_type = KvType::kF32};
  int length = 16;           // tokens of each text
  int first_tokens = 4;      // shares are kept for the first 1, 2, ... of these
  int first_query = -1;      // queries that count for the shares; -1: the second half of the text
  bool keeps_heads = false;  // a map for each head
  std::size_t most_bytes = std::size_t{1} << 30;  // of all maps
};

class AttentionStudy {
 public:
  // Error: maps of more than `most_bytes`, or a length that leaves no queries. Borrows the model.
  AttentionStudy(const Model& model, const AttentionOptions& options);

  // Adds one text of `length` tokens. Error: another length.
  void add(std::span<const Token> text);

  int n_texts() const { return n_texts_; }
  int n_layers() const { return n_layers_; }
  int n_heads() const { return n_heads_; }
  const AttentionOptions& options() const { return options_; }

  // Mean weight [query, key] of a layer, over heads and texts; rows sum to one, or to less with a
  // zero or learned sink.
  std::vector<float> layer_map(int layer) const;
  // The same of one head. Only with keeps_heads.
  std::vector<float> head_map(int layer, int head) const;
  // The mean share of attention on the first k tokens, k in 1 to first_tokens.
  double share(int layer, int head, int k) const;
  // What a query would give the first k tokens if it looked at all it sees alike.
  double even_share(int k) const;
  // The mean of all weights of a row: 1 but for the part that rests on a zero or learned sink.
  double row_sum(int layer, int head) const;

 private:
  using Sum = std::int64_t;  // of weights, in units of 2^-40

  void observe(const AttentionWeights& weights, std::int64_t position);
  std::size_t cells() const;
  std::size_t head_at(int layer, int head) const;

  const Model& model_;
  AttentionOptions options_;
  int n_layers_;
  int n_heads_;
  int n_texts_ = 0;
  std::vector<std::vector<Sum>> layer_maps_;  // by layer, [length, length]
  std::vector<std::vector<Sum>> head_maps_;   // by layer and head, or empty
  std::vector<std::vector<Sum>> first_;       // by layer and head, [first_tokens]
  std::vector<Sum> rows_;                     // by layer and head
  std::unique_ptr<std::mutex[]> layer_mutexes_;
};

// `n` texts of `length` tokens for the study: each begins at the beginning of a sentence, with BOS
// where the model has one; evenly spread over the text. Fewer when there are not so many sentences.
std::vector<std::vector<Token>> sentence_windows(const Model& model, std::string_view text, int n,
                                                 int length);

}  // namespace runnel::eval
