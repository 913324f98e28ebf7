#include "eval/section.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <system_error>

#include "runnel/error.h"

namespace runnel::eval {
namespace {

using Json = nlohmann::ordered_json;

std::string grouped(std::string digits) {
  const std::size_t begin = digits.starts_with('-') ? 1 : 0;
  std::size_t at = std::min(digits.find('.'), digits.size());
  while (at > begin + 3) {
    at -= 3;
    digits.insert(digits.begin() + static_cast<std::ptrdiff_t>(at), ',');
  }
  return digits;
}

Json cell_json(const Cell& cell) {
  if (const auto* number = std::get_if<double>(&cell))
    return std::isfinite(*number) ? Json(*number) : Json();
  if (const auto* whole = std::get_if<std::int64_t>(&cell)) return *whole;
  return std::get<std::string>(cell);
}

// Quoted where the text is empty or has a comma, a quote or a line break (RFC 4180).
std::string csv_field(const Cell& cell) {
  if (const auto* number = std::get_if<double>(&cell)) return fmt::format("{:.9g}", *number);
  if (const auto* whole = std::get_if<std::int64_t>(&cell)) return fmt::format("{}", *whole);
  const std::string& text = std::get<std::string>(cell);
  if (!text.empty() && text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string field(1, '"');
  for (const char c : text) {
    if (c == '"') field += c;
    field += c;
  }
  return field + '"';
}

std::size_t n_characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string padded(const std::string& text, std::size_t width, bool is_right) {
  const std::string space(width - std::min(width, n_characters(text)), ' ');
  return is_right ? space + text : text + space;
}

[[noreturn]] void fail(const std::filesystem::path& path, const char* doing, int fault) {
  throw Error(fmt::format("{}: cannot {}: {}", path.string(), doing, std::strerror(fault)));
}

}  // namespace

std::string cell_text(const Cell& cell, int decimals) {
  if (const auto* number = std::get_if<double>(&cell)) {
    return std::isfinite(*number) ? grouped(fmt::format("{:.{}f}", *number, decimals)) : "-";
  }
  if (const auto* whole = std::get_if<std::int64_t>(&cell))
    return grouped(fmt::format("{}", *whole));
  return std::get<std::string>(cell);
}

std::string table_text(const Table& table) {
  std::vector<std::vector<std::string>> lines(1);
  for (const Column& column : table.columns) lines.front().push_back(column.title);
  for (const auto& row : table.rows) {
    auto& line = lines.emplace_back();
    for (std::size_t i = 0; i < row.size(); ++i)
      line.push_back(cell_text(row[i], table.columns[i].decimals));
  }
  std::string text;
  std::vector<std::size_t> widths(table.columns.size(), 0);
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i)
      widths[i] = std::max(widths[i], n_characters(line[i]));
  }
  for (const auto& line : lines) {
    std::string joined;
    for (std::size_t i = 0; i < line.size(); ++i) {
      const bool is_text =
          table.rows.empty() || std::holds_alternative<std::string>(table.rows.front()[i]);
      if (i > 0) joined += "  ";
      joined += padded(line[i], widths[i], !is_text);
    }
    joined.erase(joined.find_last_not_of(' ') + 1);
    text += joined + "\n";
  }
  return text;
}

std::string table_csv(const Table& table) {
  std::vector<std::string> lines(1);
  const auto add = [](std::string& line, const std::string& field) {
    if (!line.empty()) line += ',';
    line += field;
  };
  for (const Column& column : table.columns) add(lines.front(), column.name);
  for (const auto& row : table.rows) {
    std::string& line = lines.emplace_back();
    for (const Cell& cell : row) add(line, csv_field(cell));
  }
  return fmt::format("{}\n", fmt::join(lines, "\n"));
}

std::string section_json(const Section& section) {
  Json settings = Json::object();
  for (const auto& [name, value] : section.settings) settings[name] = cell_json(value);
  Json rows = Json::array();
  for (const auto& row : section.table.rows) {
    Json object = Json::object();
    for (std::size_t i = 0; i < row.size(); ++i)
      object[section.table.columns[i].name] = cell_json(row[i]);
    rows.push_back(std::move(object));
  }
  const Json json = {{"experiment", section.name},
                     {"title", section.title},
                     {"about", section.about},
                     {"verdict", section.verdict},
                     {"notes", section.notes},
                     {"settings", settings},
                     {"rows", rows}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string section_text(const Section& section) {
  std::string text = table_text(section.table);
  if (!section.verdict.empty()) text += "\n" + section.verdict + "\n";
  for (const std::string& note : section.notes) text += "note: " + note + "\n";
  return text;
}

void write_section(const Section& section, const std::filesystem::path& folder) {
  make_folder(folder);
  write_file(folder / (section.name + ".csv"), table_csv(section.table));
  write_file(folder / (section.name + ".json"), section_json(section));
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw Error(fmt::format("{}: cannot make the folder: {}", folder.string(), error.message()));
  }
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path temporary = path.string() + ".tmp";
  {
    std::ofstream out(temporary, std::ios::binary);
    out.write(content.data(), static_cast<std::streamsize>(content.size()));
    out.close();
    if (!out) fail(path, "write", errno);
  }
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) fail(path, "write", error.value());
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(path, "open", errno);
  std::string content{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) fail(path, "read", errno);
  return content;
}

}  // namespace runnel::eval
