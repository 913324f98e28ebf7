// Seed-OSS: as Qwen 2, with heads of their own size; the norm named after attention is the ffn's.
#include "model/architecture.h"

namespace runnel::arch {

Config seed_oss(const gguf::File& file) {
  Config config = qwen2(file);
  config.ffn_norm_name = "post_attention_norm";
  return config;
}

}  // namespace runnel::arch
