#include "hf/vocabulary.h"

#include <fmt/format.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hf/json_file.h"
#include "runnel/error.h"
#include "tokenizer/pre_tokenizer.h"

namespace runnel::hf {
namespace {

using Json = nlohmann::json;

// The numbers of tokenizer.ggml.token_type.
enum TokenType : std::int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct Vocabulary {
  std::vector<std::string> pieces;
  std::vector<std::int32_t> kinds;
  std::unordered_map<std::string, std::int32_t> ids;

  void set(std::int64_t id, const std::string& piece, TokenType kind, const std::string& name) {
    if (id < 0 || id >= std::ssize(pieces)) {
      throw Error(fmt::format("{}: token '{}': want an id below {}, found {}", name, piece,
                              pieces.size(), id));
    }
    pieces[static_cast<std::size_t>(id)] = piece;
    kinds[static_cast<std::size_t>(id)] = kind;
    ids[piece] = static_cast<std::int32_t>(id);
  }
};

const Json& member(const Json& object, const char* key) {
  static const Json none;
  if (!object.is_object()) return none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

std::string text_in(const Json& object, const char* key) {
  const Json& value = member(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}

// The steps of a normalizer, pre-tokenizer or post-processor: itself, or those of a Sequence.
std::vector<Json> steps_of(const Json& part) {
  if (!part.is_object()) return {};
  for (const char* key : {"pretokenizers", "normalizers", "processors"}) {
    if (member(part, key).is_array()) return member(part, key).get<std::vector<Json>>();
  }
  return {part};
}

Vocabulary read_pieces(const Json& json, int n_rows, const std::string& name) {
  Vocabulary vocabulary;
  vocabulary.pieces.resize(static_cast<std::size_t>(n_rows));
  vocabulary.kinds.assign(vocabulary.pieces.size(), kUnused);
  for (std::size_t i = 0; i < vocabulary.pieces.size(); ++i)
    vocabulary.pieces[i] = fmt::format("[PAD{}]", i);
  const Json& model = member(json, "model");
  const std::string unknown = text_in(model, "unk_token");
  const bool has_bytes = member(model, "byte_fallback") == true;
  for (const auto& [piece, id] : member(model, "vocab").items()) {
    const bool is_byte = has_bytes && piece.size() == 6 && piece.starts_with("<0x");
    const TokenType kind = is_byte ? kByte : piece == unknown ? kUnknown : kNormal;
    vocabulary.set(id.is_number_integer() ? id.get<std::int64_t>() : -1, piece, kind, name);
  }
  if (!member(json, "added_tokens").is_array()) return vocabulary;
  for (const Json& token : member(json, "added_tokens")) {
    const bool is_special = member(token, "special") == true;
    const std::string piece = text_in(token, "content");
    const bool is_unknown = !unknown.empty() && piece == unknown && has_bytes;
    const Json& id = member(token, "id");
    vocabulary.set(id.is_number_integer() ? id.get<std::int64_t>() : -1, piece,
                   is_unknown   ? kUnknown
                   : is_special ? kControl
                                : kUserDefined,
                   name);
  }
  return vocabulary;
}

// Both ways that files write them, as "left right".
std::vector<std::string> read_merges(const Json& model) {
  std::vector<std::string> merges;
  if (!member(model, "merges").is_array()) return merges;
  for (const Json& merge : member(model, "merges")) {
    if (merge.is_string()) {
      merges.push_back(merge.get<std::string>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    }
  }
  return merges;
}

// What a pre-tokenizer splits at, one step after the other, as PreTokenizer's schemes have it.
std::string scheme_name(const Json& json, const std::string& name) {
  std::vector<std::string> patterns;
  bool splits_as_gpt2 = false;
  for (const Json& step : steps_of(member(json, "pre_tokenizer"))) {
    const std::string type = text_in(step, "type");
    if (type == "ByteLevel") {
      splits_as_gpt2 = member(step, "use_regex") != false;
    } else if (type == "Digits") {
      const bool is_one_by_one = member(step, "individual_digits") == true;
      patterns.emplace_back(is_one_by_one ? "digits" : "numbers");
    } else if (type == "Split") {
      patterns.push_back(text_in(member(step, "pattern"), "Regex"));
    } else if (type == "Punctuation") {
      patterns.emplace_back("punctuation");
    } else {
      throw Error(
          fmt::format("{}: pre-tokenizer: want ByteLevel, Digits, Punctuation or Split, "
                      "found {}",
                      name, type));
    }
  }
  const bool ignores_merges = member(member(json, "model"), "ignore_merges") == true;
  if (patterns.empty() && splits_as_gpt2) return "gpt-2";
  if (patterns == std::vector<std::string>{"digits"} && splits_as_gpt2) return "smollm";
  if (!patterns.empty() && patterns.front() == "punctuation") return "falcon";
  if (patterns.size() == 1 && !splits_as_gpt2) {
    if (const auto found = PreTokenizer::find_scheme(patterns.front(), ignores_merges))
      return std::string(*found);
  }
  throw Error(fmt::format("{}: its pre-tokenizer is not known: {}", name,
                          member(json, "pre_tokenizer").dump()));
}

bool is_byte_level(const Json& json) {
  if (text_in(member(json, "decoder"), "type") == "ByteLevel") return true;
  for (const Json& step : steps_of(member(json, "pre_tokenizer")))
    if (text_in(step, "type") == "ByteLevel") return true;
  return false;
}

// A piece is as good as the first merge that makes it; what no merge makes is worst.
std::vector<float> scores_of(const Vocabulary& vocabulary, const std::vector<std::string>& merges) {
  std::vector<float> scores(vocabulary.pieces.size(), -static_cast<float>(merges.size()) - 1);
  for (std::size_t rank = merges.size(); rank-- > 0;) {
    const std::size_t cut = merges[rank].find(' ', 1);
    if (cut == std::string::npos) continue;
    const std::string piece = merges[rank].substr(0, cut) + merges[rank].substr(cut + 1);
    if (const auto found = vocabulary.ids.find(piece); found != vocabulary.ids.end())
      scores[static_cast<std::size_t>(found->second)] = -static_cast<float>(rank);
  }
  return scores;
}

// Where a space is put before a text: always by a normalizer, by Metaspace where there is none.
void add_space_prefix(const Json& json, gguf::Header& header) {
  bool is_put = false;
  for (const Json& step : steps_of(member(json, "normalizer")))
    is_put = is_put || text_in(step, "type") == "Prepend";
  for (const Json& step : steps_of(member(json, "pre_tokenizer"))) {
    if (text_in(step, "type") != "Metaspace") continue;
    const std::string scheme = text_in(step, "prepend_scheme");
    is_put = scheme.empty() ? member(step, "add_prefix_space") != false : scheme != "never";
    if (is_put) header.add("runnel.tokenizer.metaspace", true);
  }
  header.add("tokenizer.ggml.add_space_prefix", is_put);
}

// A token of tokenizer_config.json: its text, or an object with it.
std::optional<std::int32_t> special_token(const Json& config, const char* key,
                                          const Vocabulary& vocabulary) {
  const Json& value = member(config, key);
  const std::string piece = value.is_object() ? text_in(value, "content") : text_in(config, key);
  const auto found = vocabulary.ids.find(piece);
  return found == vocabulary.ids.end() ? std::nullopt : std::optional(found->second);
}

// Whether the tokenizer itself puts a special token before a text.
bool begins_with_special(const Json& json) {
  for (const Json& step : steps_of(member(json, "post_processor"))) {
    const Json& single = member(step, "single");
    if (single.is_array() && !single.empty() && single[0].contains("SpecialToken")) return true;
  }
  return false;
}

// Templates stand in tokenizer_config.json, one or several by name, or in a file of their own.
void add_chat_templates(const std::filesystem::path& folder, const Json& config,
                        gguf::Header& header) {
  std::map<std::string, std::string> templates;
  if (member(config, "chat_template").is_array()) {
    for (const Json& entry : member(config, "chat_template"))
      templates[text_in(entry, "name")] = text_in(entry, "template");
  } else {
    templates["default"] = text_in(config, "chat_template");
  }
  if (const std::ifstream file(folder / "chat_template.jinja", std::ios::binary); file) {
    std::ostringstream text;
    text << file.rdbuf();
    templates["default"] = text.str();
  }
  std::vector<std::string> names;
  for (const auto& [name, text] : templates) {
    if (name.empty() || text.empty()) continue;
    header.add(name == "default" ? "tokenizer.chat_template" : "tokenizer.chat_template." + name,
               text);
    if (name != "default") names.push_back(name);
  }
  if (!names.empty()) header.add("tokenizer.chat_templates", names);
}

void add_special_tokens(const std::filesystem::path& folder, const Json& json,
                        const Vocabulary& vocabulary, gguf::Header& header) {
  const Json config = find_json(folder / "tokenizer_config.json").value_or(Json::object());
  const auto add = [&](const char* key, const char* name) {
    const auto token = special_token(config, key, vocabulary);
    header.add(name, token ? static_cast<std::uint32_t>(*token) : 0xFFFFFFFFu);
    return token.has_value();
  };
  const bool has_bos = add("bos_token", "tokenizer.ggml.bos_token_id");
  add("eos_token", "tokenizer.ggml.eos_token_id");
  const Json& wanted = member(config, "add_bos_token");
  const bool adds_bos = wanted.is_boolean() ? wanted.get<bool>() : begins_with_special(json);
  header.add("tokenizer.ggml.add_bos_token", has_bos && adds_bos);
  add_chat_templates(folder, config, header);
}

}  // namespace

void add_vocabulary(const std::filesystem::path& folder, int n_rows, gguf::Header& header) {
  const std::filesystem::path path = folder / "tokenizer.json";
  const auto found = find_json(path);
  if (!found) return;
  const Json& json = *found;
  const Json& model = member(json, "model");
  const std::string name = path.string();
  if (text_in(model, "type") != "BPE" || !member(model, "vocab").is_object()) {
    throw Error(
        fmt::format("{}: want a tokenizer of kind BPE, found {}", name, text_in(model, "type")));
  }
  const Vocabulary vocabulary = read_pieces(json, n_rows, name);
  const std::vector<std::string> merges = read_merges(model);
  header.add("tokenizer.ggml.tokens", vocabulary.pieces);
  header.add("tokenizer.ggml.token_type", vocabulary.kinds);
  if (is_byte_level(json)) {
    header.add("tokenizer.ggml.model", "gpt2");
    header.add("tokenizer.ggml.pre", scheme_name(json, name));
    header.add("tokenizer.ggml.merges", merges);
  } else {
    header.add("tokenizer.ggml.model", "llama");
    header.add("tokenizer.ggml.scores", scores_of(vocabulary, merges));
    add_space_prefix(json, header);
    const auto unknown = vocabulary.ids.find(text_in(model, "unk_token"));
    if (unknown != vocabulary.ids.end())
      header.add("tokenizer.ggml.unknown_token_id", static_cast<std::uint32_t>(unknown->second));
  }
  add_special_tokens(folder, json, vocabulary, header);
}

}  // namespace runnel::hf
