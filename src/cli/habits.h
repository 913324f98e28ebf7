// Words of other programs, for people who come from them: what is meant by it here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace runnel::cli {

// The first argument that is an option of another program and would be misread here (as `-ngl 99`,
// which looks like `-n gl`), with what to say; empty: none. `arguments` are those behind the
// program's name.
std::string foreign_option(const std::vector<std::string_view>& arguments);

// What to say about an option that the subcommand does not have: the word for it, one of its own
// that is written almost so, or nothing.
std::string hint_for(std::string_view unknown, const CLI::App& subcommand);

}  // namespace runnel::cli
