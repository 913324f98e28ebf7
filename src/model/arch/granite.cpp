// Granite 3 and MiniCPM: as Llama with four multipliers, of the embeddings, of the scores, of what
// a layer adds to the residual stream, and of the logits (a file gives what they are divided by).
// Granite with experts may have one more that every token takes.
#include <cmath>

#include "model/architecture.h"

namespace runnel::arch {

Config granite(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = llama(file);
  config.embedding_scale = metadata.number("embedding_scale", 1);
  config.residual_scale = metadata.number("residual_scale", 1);
  config.attention_scale = metadata.number("attention.scale", 0);
  config.logit_scale = 1 / metadata.number("logit_scale", 1);
  // So do Granite's files say that there are no positions.
  if (!metadata.flag("rope.scaling.finetuned", true)) config.rope = config.local_rope = {};
  return config;
}

// Where a file does not give them, the multipliers are those of the first models.
Config minicpm(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = llama(file);
  config.embedding_scale = metadata.number("embedding_scale", 12);
  config.residual_scale =
      metadata.number("residual_scale", 1.4 / std::sqrt(static_cast<double>(config.n_layers)));
  config.logit_scale = 1 / metadata.number("logit_scale", config.dim / 256.0);
  read_long_rope(metadata, config);
  return config;
}

}  // namespace runnel::arch
