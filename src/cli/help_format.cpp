#include "cli/help_format.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

namespace runnel::cli {
namespace {

constexpr std::size_t kNameColumns = 30;
constexpr std::size_t kDescriptionColumns = 100 - kNameColumns;

// Breaks at spaces; every line after the first is indented to the description's column.
std::string wrapped(const std::string& text) {
  std::string result;
  std::size_t start = 0;
  while (text.size() - start > kDescriptionColumns) {
    std::size_t end = text.rfind(' ', start + kDescriptionColumns);
    if (end == std::string::npos || end <= start) end = start + kDescriptionColumns;
    result += text.substr(start, end - start) + "\n" + std::string(kNameColumns, ' ');
    start = text[end] == ' ' ? end + 1 : end;
  }
  return result + text.substr(start);
}

class HelpFormat final : public CLI::Formatter {
 public:
  std::string make_option(const CLI::Option* option, bool is_positional) const override {
    std::string name = "  " + option->get_name(is_positional, !is_positional);
    if (!is_positional && option->get_type_size() != 0) name += " " + option->get_type_name();
    if (is_positional && !option->get_required()) name += " (optional)";
    const bool is_repeated = !is_positional && option->get_positional();
    std::string description =
        is_repeated ? "The same as " + option->get_name(true, false) : option->get_description();
    const std::string fallback = option->get_default_str();
    if (!fallback.empty()) description += fmt::format(" (default {})", fallback);
    // A name that fills its column has a line of its own.
    const char* gap = name.size() + 2 > kNameColumns ? "\n" : "";
    const std::size_t indent = *gap == '\n' ? kNameColumns : kNameColumns - name.size();
    return fmt::format("{}{}{:{}}{}\n", name, gap, "", indent, wrapped(description));
  }
};

}  // namespace

void use_help_format(CLI::App& program) {
  auto format = std::make_shared<HelpFormat>();  // CLI11 takes shared ownership
  format->column_width(kNameColumns);
  program.formatter(format);
}

}  // namespace runnel::cli
