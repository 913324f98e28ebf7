#include "cli/validators.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

namespace runnel::cli {
namespace {

template <typename T>
std::optional<T> parse(const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, fault] = std::from_chars(text.data(), end, value);
  if (fault != std::errc{} || stop != end) return std::nullopt;
  return value;
}

template <typename T>
Check whole_range(T low, T high) {
  return [low, high](const std::string& text) {
    const std::optional<T> value = parse<T>(text);
    if (value && *value >= low && *value <= high) return std::string();
    return fmt::format("want a whole number from {} to {}, got {}", low, high, text);
  };
}

}  // namespace

Check whole_within(std::int64_t low, std::int64_t high) { return whole_range(low, high); }
Check any_seed() { return whole_range<std::uint64_t>(0, UINT64_MAX); }

Check within(float low, float high) {
  return [low, high](const std::string& text) {
    const std::optional<float> value = parse<float>(text);
    if (value && *value >= low && *value <= high) return std::string();
    return fmt::format("want a number from {} to {}, got {}", low, high, text);
  };
}

Check above(float low, float high) {
  return [low, high](const std::string& text) {
    const std::optional<float> value = parse<float>(text);
    if (value && *value > low && *value <= high) return std::string();
    return fmt::format("want a number above {}, at most {}, got {}", low, high, text);
  };
}

}  // namespace runnel::cli
