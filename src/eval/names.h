// The words for policies and formats in tables and files: as on the command line.
#pragma once

#include <string>

#include "runnel/options.h"

namespace runnel::eval {

inline std::string policy_name(Policy policy) {
  switch (policy) {
    case Policy::kDense:
      return "dense";
    case Policy::kWindow:
      return "window";
    case Policy::kSink:
      return "sink";
    case Policy::kRecompute:
      return "recompute";
  }
  return "?";
}

inline std::string kv_type_name(KvType type) {
  switch (type) {
    case KvType::kF32:
      return "f32";
    case KvType::kF16:
      return "f16";
    case KvType::kBF16:
      return "bf16";
    case KvType::kQ8_0:
      return "q8_0";
    case KvType::kQ4_0:
      return "q4_0";
  }
  return "?";
}

inline std::string softmax_name(Softmax softmax) {
  return softmax == Softmax::kStandard ? "standard" : "off-by-one";
}

}  // namespace runnel::eval
