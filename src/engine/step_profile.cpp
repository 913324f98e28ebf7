#include "engine/step_profile.h"

#include <mutex>
#include <set>

#include "device/step_times.h"
#include "engine/internals.h"
#include "engine/machine_limits.h"
#include "engine/option_names.h"

namespace runnel {
namespace {

struct PartName {
  StepPart part;
  const char* name;
};
constexpr PartName kNames[] = {{StepPart::kEmbed, "embedding"},
                               {StepPart::kNorm, "norms"},
                               {StepPart::kInputs, "inputs of products"},
                               {StepPart::kProject, "q, k, v"},
                               {StepPart::kRotate, "rotation, cache"},
                               {StepPart::kAttend, "attention"},
                               {StepPart::kAttendOutput, "attention output"},
                               {StepPart::kRecur, "recurrent layers"},
                               {StepPart::kFfnIn, "gate, up, activation"},
                               {StepPart::kFfnOut, "down"},
                               {StepPart::kExperts, "choice of experts"},
                               {StepPart::kResidual, "residual"},
                               {StepPart::kLogits, "logits"},
                               {StepPart::kOutside, "between steps"}};

// Calls visit(matrix, share of it that a token passes) for the products of a part.
template <typename Visit>
void for_each_product(const Model::Internals& model, StepPart part, Visit visit) {
  const Weights& weights = model.weights;
  const auto linear = [&](const Linear& l, double share) {
    if (l.weight) visit(l.weight, share);
  };
  const auto ffn = [&](const FeedForward& f, double share) {
    if (part == StepPart::kFfnIn) linear(f.gate, share), linear(f.up, share);
    if (part == StepPart::kFfnOut) linear(f.down, share);
  };
  for (const LayerWeights& layer : weights.layers) {
    if (part == StepPart::kProject) linear(layer.q, 1), linear(layer.k, 1), linear(layer.v, 1);
    if (part == StepPart::kAttendOutput) linear(layer.output, 1);
    ffn(layer.ffn, 1);
    for (const FeedForward& expert : layer.experts)
      ffn(expert, static_cast<double>(model.config.n_experts_used) /
                      static_cast<double>(layer.experts.size()));
  }
  if (part == StepPart::kLogits) linear(weights.output, 1);
}

}  // namespace

struct StepProfile::State {
  const Model::Internals& model;
  KvType cache;
  StepTimes times;
};

StepProfile::StepProfile(const Model& model, const StreamOptions& resolved)
    : state_(new State{model.internals(), resolved.kv_type, {}}) {
  const std::lock_guard lock(state_->model.mutex);
  state_->model.decoder_for(resolved.chunk).measure_times(&state_->times);
}

StepProfile::~StepProfile() {
  const std::lock_guard lock(state_->model.mutex);
  state_->model.decoder_for(1).measure_times(nullptr);
}

std::size_t StepProfile::n_logits() const { return state_->times.n_logits(); }

std::vector<PartProfile> StepProfile::parts(double n_tokens) const {
  constexpr const char* kNumbers[] = {"floats", "int8", "bf16"};
  const kernels::Table& table = kernels::best_table();
  std::vector<PartProfile> parts;
  for (const auto& [part, name] : kNames) {
    PartProfile profile = {.part = name, .seconds = state_->times.seconds(part) / n_tokens};
    if (profile.seconds == 0) continue;
    std::set<std::string> kernels;
    for_each_product(state_->model, part, [&](const Matrix& m, double share) {
      profile.weight_bytes += share * read_bytes(m);
      profile.multiply_adds += share * static_cast<double>(m.rows * m.cols);
      kernels.insert(std::string(traits(m.type).name) + " by " +
                     kNumbers[static_cast<int>(table.numbers(m))]);
    });
    if (part == StepPart::kAttend) kernels.insert(kv_type_name(state_->cache) + " cache");
    for (const std::string& kernel : kernels)
      profile.kernels += (profile.kernels.empty() ? "" : ", ") + kernel;
    parts.push_back(std::move(profile));
  }
  return parts;
}

}  // namespace runnel
