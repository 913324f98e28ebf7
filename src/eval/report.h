// A report: sections joined in one page of HTML that needs nothing beside it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "eval/section.h"

namespace runnel::eval {

struct Report {
  std::string title;
  std::string subtitle;
  std::vector<std::string> summary;  // a sentence each
  std::vector<Section> sections;
};

// The page, with the sections' pictures (NAME.svg in `folder`) inside. Error: a picture cannot be
// read.
std::string report_html(const Report& report, const std::filesystem::path& folder);

// The report as one JSON object, with its sections as section_json() writes them.
std::string report_json(const Report& report);

std::string base64(std::string_view bytes);
std::string html_escaped(std::string_view text);

}  // namespace runnel::eval
