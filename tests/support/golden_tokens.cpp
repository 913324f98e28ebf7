#include "support/golden_tokens.h"

#include <fstream>
#include <sstream>

#include "support/paths.h"

namespace runnel::test {

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<GoldenText> golden_texts(const std::string& name) {
  const std::string base = shared("golden/tokenizers/" + name).string();
  const std::string texts = read_file(base + ".inp");
  std::istringstream lines(read_file(base + ".out"));
  const std::string separator = "\n__ggml_vocab_test__\n";

  std::vector<GoldenText> all;
  std::size_t begin = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t end = texts.find(separator, begin);
    GoldenText& golden = all.emplace_back();
    golden.text = texts.substr(begin, end == std::string::npos ? end : end - begin);
    if (end == std::string::npos && golden.text.ends_with('\n')) golden.text.pop_back();
    std::istringstream ids(line);
    for (Token token; ids >> token;) golden.tokens.push_back(token);
    begin = end == std::string::npos ? texts.size() : end + separator.size();
  }
  return all;
}

}  // namespace runnel::test
