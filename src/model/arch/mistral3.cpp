// Mistral Small 3 and Ministral 3: as Llama; queries far inside the context may be scaled, so that
// attention over many keys stays sharp.
#include "model/architecture.h"

namespace runnel::arch {

Config mistral3(const gguf::File& file) {
  const Metadata metadata(file);
  Config config = llama(file);
  config.temperature_scale = metadata.number("attention.temperature_scale", 0);
  if (config.temperature_scale != 0) {
    config.temperature_length =
        metadata.count("rope.scaling.original_context_length", config.trained_context);
  }
  return config;
}

}  // namespace runnel::arch
