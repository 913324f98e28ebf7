#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace runnel {
namespace {

// The pair index at which a frequency turns `rotations` times within the original context (YaRN,
// equation 17).
double pair_of_rotations(double rotations, int dims, double base, double original_context) {
  return dims * std::log(original_context / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(base));
}

// How much of the original frequency each pair keeps: 1 for fast pairs, 0 for slow ones, a ramp
// between.
std::vector<double> yarn_kept(int dims, double base, const RopeScaling& s) {
  const double low =
      std::max(0.0, std::floor(pair_of_rotations(s.beta_fast, dims, base, s.original_context)));
  const double high = std::min(
      dims - 1.0, std::ceil(pair_of_rotations(s.beta_slow, dims, base, s.original_context)));
  std::vector<double> kept(static_cast<std::size_t>(dims / 2));
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const double along = (static_cast<double>(i) - low) / std::max(0.001, high - low);
    kept[i] = 1 - std::clamp(along, 0.0, 1.0);
  }
  return kept;
}

}  // namespace

Rope make_rope(RopeStyle style, int dims, double base, const RopeScaling& scaling,
               std::span<const float> factors) {
  Rope rope{.style = style, .frequencies = std::vector<double>(static_cast<std::size_t>(dims / 2))};
  for (std::size_t i = 0; i < rope.frequencies.size(); ++i) {
    rope.frequencies[i] = std::pow(base, -2.0 * static_cast<double>(i) / dims);
    if (!factors.empty()) rope.frequencies[i] /= static_cast<double>(factors[i]);
  }
  if (scaling.kind == RopeScaling::Kind::kLinear) {
    for (double& f : rope.frequencies) f /= scaling.factor;
  }
  if (scaling.kind == RopeScaling::Kind::kYarn) {
    const std::vector<double> kept = yarn_kept(dims, base, scaling);
    for (std::size_t i = 0; i < kept.size(); ++i) {
      rope.frequencies[i] *= kept[i] + (1 - kept[i]) / scaling.factor;
    }
    const double growth = 0.1 * std::log(scaling.factor);
    rope.magnitude = static_cast<float>(scaling.attention_factor * (1 + growth) /
                                        (1 + scaling.log_multiplier * growth));
  }
  return rope;
}

void rope_angles(const Rope& rope, std::int64_t position, float* cosines, float* sines) {
  const auto p = static_cast<double>(position);
  for (std::size_t i = 0; i < rope.frequencies.size(); ++i) {
    const double angle = p * rope.frequencies[i];
    const double error =
        std::fma(p, rope.frequencies[i], -angle);  // angle + error is the exact product
    const double cosine = std::cos(angle);         // the library reduces any angle exactly
    const double sine = std::sin(angle);
    cosines[i] = static_cast<float>(cosine - error * sine) * rope.magnitude;
    sines[i] = static_cast<float>(sine + error * cosine) * rope.magnitude;
  }
}

}  // namespace runnel
