#include "eval/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace runnel::eval {
namespace {

constexpr const char* kPageStyle = R"(
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #222; font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", sans-serif; }
main { max-width: 940px; margin: 0 auto; padding: 32px 20px 80px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 21px; margin: 56px 0 6px; padding-top: 20px; border-top: 1px solid #ddd; }
.subtitle, .about, figcaption, .settings { color: #666; }
.about { margin: 0 0 14px; }
.verdict { background: #eef5fa; border-left: 4px solid #0072B2; padding: 10px 14px; margin: 14px 0; }
.note { color: #8a4b00; margin: 6px 0; font-size: 14px; }
nav { margin: 20px 0; } nav a { margin-right: 16px; white-space: nowrap; } a { color: #0072B2; }
figure { margin: 20px 0; } figure img { width: 100%; height: auto; display: block; }
figure.small img { width: auto; max-width: 100%; }
figcaption, .settings { font-size: 14px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 9px; text-align: right; border-bottom: 1px solid #eee; white-space: nowrap; }
th { font-weight: 600; border-bottom: 1px solid #bbb; vertical-align: bottom; }
th.text, td.text { text-align: left; padding-left: 0; }
ul { padding-left: 20px; } li { margin: 4px 0; }
@media print { h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
)";

std::string table_html(const Table& table) {
  std::string html = "<div class=\"scroll\"><table>\n<tr>";
  const auto is_text = [&](std::size_t column) {
    return !table.rows.empty() && std::holds_alternative<std::string>(table.rows.front()[column]);
  };
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    html += fmt::format("<th{}>{}</th>", is_text(i) ? " class=\"text\"" : "",
                        html_escaped(table.columns[i].title));
  }
  html += "</tr>\n";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      html += fmt::format("<td{}>{}</td>", is_text(i) ? " class=\"text\"" : "",
                          html_escaped(cell_text(row[i], table.columns[i].decimals)));
    }
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

std::string section_html(const Section& section, const std::filesystem::path& folder) {
  std::string html =
      fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n<p class=\"about\">{}</p>\n", section.name,
                  html_escaped(section.title), html_escaped(section.about));
  if (!section.verdict.empty())
    html += fmt::format("<p class=\"verdict\">{}</p>\n", html_escaped(section.verdict));
  for (const Picture& picture : section.pictures) {
    const std::string svg = read_file(folder / (picture.name + ".svg"));
    html += fmt::format(
        "<figure><img alt=\"{0}\" src=\"data:image/svg+xml;base64,{1}\">"
        "<figcaption>{0}</figcaption></figure>\n",
        html_escaped(picture.caption), base64(svg));
  }
  html += table_html(section.table);
  for (const std::string& note : section.notes)
    html += fmt::format("<p class=\"note\">Note: {}</p>\n", html_escaped(note));
  return html + "</section>\n";
}

}  // namespace

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t n = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8 | (j < n ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j) out += j <= n ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

std::string report_json(const Report& report) {
  using Json = nlohmann::ordered_json;
  Json sections = Json::array();
  for (const Section& section : report.sections)
    sections.push_back(Json::parse(section_json(section)));
  const Json json = {{"title", report.title},
                     {"subtitle", report.subtitle},
                     {"summary", report.summary},
                     {"sections", sections}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string report_html(const Report& report, const std::filesystem::path& folder) {
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<main>\n<h1>{0}</h1>\n"
      "<p class=\"subtitle\">{2}</p>\n",
      html_escaped(report.title), kPageStyle, html_escaped(report.subtitle));
  html += "<ul>\n";
  for (const std::string& sentence : report.summary)
    html += fmt::format("<li>{}</li>\n", html_escaped(sentence));
  html += "</ul>\n<nav>";
  for (const Section& section : report.sections)
    html += fmt::format("<a href=\"#{}\">{}</a> ", section.name, html_escaped(section.title));
  html += "</nav>\n";
  for (const Section& section : report.sections) html += section_html(section, folder);
  return html + "</main>\n</body>\n</html>\n";
}

}  // namespace runnel::eval
