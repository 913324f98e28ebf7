#include "cli/validators.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
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

Check within(double low, double high) {
  return [low, high](const std::string& text) {
    const std::optional<double> value = parse<double>(text);
    if (value && *value >= low && *value <= high) return std::string();
    return fmt::format("want a number from {} to {}, got {}", low, high, text);
  };
}

Check at_least(double low) {
  return [low](const std::string& text) {
    const std::optional<double> value = parse<double>(text);
    if (value && std::isfinite(*value) && *value >= low) return std::string();
    return fmt::format("want a number of at least {}, got {}", low, text);
  };
}

Check above(double low) {
  return [low](const std::string& text) {
    const std::optional<double> value = parse<double>(text);
    if (value && std::isfinite(*value) && *value > low) return std::string();
    return fmt::format("want a number above {}, got {}", low, text);
  };
}

}  // namespace runnel::cli
