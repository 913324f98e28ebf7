// Llama 1, 2 and 3, Mistral, TinyLlama and everything else that carries general.architecture =
// "llama": pre-normalised blocks, rotary attention with grouped heads, a gated SiLU ffn, or several
// of them as experts (Mixtral). InternLM 2 and ERNIE 4.5 differ in nothing that a file does not
// say.
#include "model/architecture.h"

namespace runnel::arch {

Config llama(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = read_common(metadata);
  read_experts(metadata, config);
  config.norm_epsilon = metadata.number("attention.layer_norm_rms_epsilon");
  config.rope = config.local_rope = read_rope(metadata, config, RopeStyle::kInterleaved);
  config.local_windows = read_local_windows(metadata, config);
  return config;
}

}  // namespace runnel::arch
