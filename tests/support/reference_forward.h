// A plain forward of every supported architecture, in double and token by token, written from the
// models' public descriptions: no kernel, no cache, no Config of the library. Keys are kept as they
// come and rotated anew for each query, at their places in the cache, as the method is defined.
#pragma once

#include <span>
#include <vector>

#include "gguf/file.h"
#include "runnel/options.h"
#include "stream/policy.h"

namespace runnel::test {

// Logits [tokens, vocabulary].
std::vector<float> reference_logits(const gguf::File& file, std::span<const Token> tokens,
                                    const CachePolicy& policy,
                                    Softmax softmax = Softmax::kStandard);
// With a window for each layer.
std::vector<float> reference_logits(const gguf::File& file, std::span<const Token> tokens,
                                    int sinks, std::span<const std::int64_t> windows);

}  // namespace runnel::test
