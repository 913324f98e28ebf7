// Streams of every policy and cache, for what must hold of all.
#pragma once

#include <ostream>
#include <vector>

#include "runnel/options.h"

namespace runnel::test {

struct StreamKind {
  const char* name;
  StreamOptions options;
};
inline void PrintTo(const StreamKind& kind, std::ostream* out) { *out << kind.name; }

inline std::vector<StreamKind> stream_kinds() {
  return {
      {"sinks", {.window = 60}},
      {"q8_0", {.window = 60, .kv_type = KvType::kQ8_0}},
      {"q4_0", {.window = 60, .kv_type = KvType::kQ4_0}},
      {"q4_0_unrotated", {.window = 60, .kv_type = KvType::kQ4_0, .kv_rotate = false}},
      {"q8_0_rotated_draft",
       {.window = 60, .kv_type = KvType::kQ8_0, .kv_rotate = true, .draft = 5}},
      {"dense_q4_0", {.policy = Policy::kDense, .kv_type = KvType::kQ4_0}},
      {"layer_windows_q4_0", {.layer_windows = {60, 9, 17}, .kv_type = KvType::kQ4_0}},
      {"layer_windows_draft", {.layer_windows = {9, 60}, .draft = 5}},
      {"bf16_off_by_one", {.window = 60, .kv_type = KvType::kBF16, .softmax = Softmax::kOffByOne}},
      {"window", {.policy = Policy::kWindow, .window = 50}},
      {"dense", {.policy = Policy::kDense}},
      {"recompute", {.policy = Policy::kRecompute, .window = 20}},
      {"draft", {.window = 33, .draft = 6, .sampling = {.seed = 9}}},
      {"draft_greedy", {.window = 33, .draft = 6, .sampling = {.temperature = 0}}},
      {"dense_draft", {.policy = Policy::kDense, .draft = 4, .sampling = {.temperature = 0.3f}}},
      {"penalty", {.window = 33, .sampling = {.repetition_penalty = 1.3f, .seed = 5}}}};
}

}  // namespace runnel::test
