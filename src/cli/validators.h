// Ranges for option values, as functions of the text (what CLI11 takes as a check): an empty string
// when the value is allowed, else what is wrong with it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace runnel::cli {

using Check = std::function<std::string(const std::string&)>;

Check whole_within(std::int64_t low, std::int64_t high);
Check any_seed();  // 0 to 2^64 - 1
// As floats, which is how the sampling options are kept.
Check within(float low, float high);
Check above(float low, float high);  // `low` itself is not allowed

}  // namespace runnel::cli
