// The plain forward of Gemma 4, from the description of its makers: layers differ in more than the
// other forward knows.
#pragma once

#include "runnel/options.h"
#include "stream/policy.h"
#include "support/reference_file.h"

namespace runnel::test {

class ReferenceGemma4 : private ReferenceFile {
 public:
  ReferenceGemma4(const gguf::File& file, const CachePolicy& policy, Softmax softmax);

  // Of the token at `position`, which follows the one before.
  Doubles logits(Token token, std::int64_t position);

 private:
  struct Entry {
    Doubles key, value;  // not rotated
  };
  bool is_local(std::size_t layer) const { return local_[layer] != 0; }
  std::size_t head_dim(std::size_t layer) const;
  Doubles norm(const std::string& name, const Doubles& x);  // name empty: without weights
  Doubles norm_heads(const std::string& name, const Doubles& x, std::size_t dim);
  Doubles rotated(std::size_t layer, const double* head, std::int64_t position);
  std::vector<Doubles> layer_inputs(Token token, const Doubles& embedding);
  Doubles attention(std::size_t layer, std::int64_t position, const Doubles& h);
  Doubles attend(std::size_t layer, const Doubles& query, std::size_t kv_head,
                 const std::vector<const Entry*>& cache);
  Doubles ffn(const std::string& block, const std::string& suffix, std::size_t expert,
              const Doubles& h);
  Doubles experts(const std::string& block, const Doubles& x);
  void layer(std::size_t index, std::int64_t position, const Doubles& input, Doubles& x);

  CachePolicy policy_;
  Softmax softmax_;
  std::size_t dim_, n_layers_, n_heads_;
  std::vector<std::int64_t> local_, kv_heads_;
  std::vector<std::vector<Entry>> entries_;  // by layer
};

}  // namespace runnel::test
