// The files of the page, as cmake/page.cmake puts them into the program.
#pragma once

#include <span>
#include <string_view>

namespace runnel::serve {

struct PageFile {
  const char* path;  // "/page/app.js"
  const char* type;  // "text/javascript; charset=utf-8"
  std::string_view text;
};

std::span<const PageFile> page_files();

}  // namespace runnel::serve
