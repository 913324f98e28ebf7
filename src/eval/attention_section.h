// The attention experiment in numbers, heat maps and words.
#pragma once

#include <filesystem>

#include "eval/attention.h"
#include "eval/section.h"

namespace runnel::eval {

// Writes attention.{csv,json}, the maps of the layers (attention-layers.npy [layers, length,
// length], of the heads attention-heads.npy [layers, heads, length, length] when the study kept
// them), the shares sink-scores.csv, and pictures into `folder` (no files when it is empty).
Section attention_section(const Model& model, const AttentionStudy& study,
                          const std::filesystem::path& folder);

}  // namespace runnel::eval
