#include "cli/token_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "cli/files.h"
#include "gguf/file.h"
#include "runnel/error.h"

namespace runnel::cli {
namespace {

// Writing out a list or an object would call itself for each level, and files nest as they like.
std::string shown(const nlohmann::json& value) {
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  return value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).substr(0, 40);
}

}  // namespace

TokenSource TokenSource::from_text(const std::string& model_path, const std::string& text_path) {
  TokenSource source;
  source.tokenizer_ = Tokenizer::from(gguf::File::open(model_path));
  source.text_.emplace(TextSource::from_file(text_path));
  source.text_->cut_for(*source.tokenizer_);
  std::error_code unknown;
  const auto bytes = std::filesystem::file_size(text_path, unknown);
  source.total_ = unknown ? 0.0 : static_cast<double>(bytes);
  return source;
}

TokenSource TokenSource::from_json(const std::string& path) {
  const std::string text = read_file(path);
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_object() && json.contains("tokens")) {
    nlohmann::json tokens = std::move(json["tokens"]);
    json = std::move(tokens);
  }
  if (!json.is_array()) {
    throw Error(path +
                ": want a JSON list of token ids, or an object with such a list as \"tokens\"");
  }
  TokenSource source;
  source.block_.reserve(json.size());
  for (const nlohmann::json& id : json) {
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<Token>::max()) {
      throw Error(fmt::format("{}: entry {}: want a token id, found {}", path, source.block_.size(),
                              shown(id)));
    }
    source.block_.push_back(id.get<Token>());
  }
  source.total_ = static_cast<double>(json.size());
  return source;
}

std::vector<Token> TokenSource::next(std::size_t limit, const StopSignals& stop) {
  if (block_used_ == block_.size() && text_) refill(stop);
  const std::size_t n = std::min(limit, block_.size() - block_used_);
  const auto first = block_.begin() + static_cast<std::ptrdiff_t>(block_used_);
  std::vector<Token> tokens(first, first + static_cast<std::ptrdiff_t>(n));
  block_used_ += n;
  if (!text_) consumed_ = static_cast<double>(block_used_);
  return tokens;
}

std::optional<double> TokenSource::share_done() const {
  if (total_ <= 0) return std::nullopt;
  return std::min(1.0, consumed_ / total_);
}

void TokenSource::refill(const StopSignals& stop) {
  block_.clear();
  block_used_ = 0;
  const std::optional<std::string> piece = text_->next(stop);
  if (!piece) return;
  consumed_ += static_cast<double>(piece->size());
  block_ = tokenizer_->encode(*piece, {.add_bos = !is_begun_, .space_prefix = !is_begun_});
  is_begun_ = true;
}

}  // namespace runnel::cli
