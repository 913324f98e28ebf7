// Words of other programs, for people who come from them: what is meant by it here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace runnel::cli {

// Options of another program that would be misread here (as `-ngl 99`, which looks like `-n gl`)
// become ours, or are the reason to stop, which is returned. `arguments` are those behind the
// program's name.
std::string translate(std::vector<std::string>& arguments);

// What to say about an option that the subcommand does not have: the word for it, one of its own
// that is written almost so, or nothing.
std::string hint_for(std::string_view unknown, const CLI::App& subcommand);
// The same of what stands where a command should.
std::string hint_for_command(std::string_view unknown, const CLI::App& program);

}  // namespace runnel::cli
