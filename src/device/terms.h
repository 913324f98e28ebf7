// The choices of a model that its operations have to know.
#pragma once

namespace runnel {

enum class Norm { kRms, kLayer };
enum class Activation { kSilu, kGelu, kSwigluOai };

enum class RopeStyle {
  kNone,
  kInterleaved,  // pairs (2i, 2i + 1): Llama's GGUF files
  kHalves,       // pairs (i, i + dims / 2): GPT-NeoX and most others
};

}  // namespace runnel
