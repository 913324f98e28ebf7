// runnel info: what a file holds, and what a stream of it takes.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/files.h"
#include "cli/numbers.h"
#include "cli/terminal.h"
#include "engine/internals.h"
#include "engine/option_names.h"
#include "gguf/file.h"
#include "model/architecture.h"
#include "runnel/chat.h"
#include "tokenizer/chat_format.h"

namespace runnel::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kInfoExamples = R"(Examples:
  runnel info model.gguf                              metadata, tensors by type, memory
  runnel info model.gguf --window 1000 --sinks 100    memory of a stream with this cache
  runnel info model.gguf --tensors                    every tensor
  runnel info model.gguf --json | jq .memory
  runnel info --list-architectures
  runnel info --devices)";

constexpr std::size_t kShownElements = 6;  // of a metadata array
constexpr std::size_t kShownText = 72;     // bytes of a metadata string, unless as JSON

Json array_json(const gguf::Array& array) {
  Json elements = Json::array();
  const std::size_t n = std::min(array.size(), kShownElements);
  if (const auto strings = array.strings()) {
    for (std::size_t i = 0; i < n; ++i) elements.push_back(std::string((*strings)[i]));
  } else if (const auto ints = array.ints()) {
    for (std::size_t i = 0; i < n; ++i) elements.push_back((*ints)[i]);
  } else if (const auto floats = array.floats()) {
    for (std::size_t i = 0; i < n; ++i) elements.push_back((*floats)[i]);
  }
  return {{"length", array.size()}, {"first", elements}};
}

// Long arrays (vocabularies) by their length and first elements.
Json value_json(const gguf::Value& value) {
  return std::visit(
      [](const auto& held) -> Json {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, gguf::Array>)
          return array_json(held);
        else if constexpr (std::is_same_v<Held, std::string_view>)
          return std::string(held);
        else
          return held;
      },
      value.variant());
}

std::string dump(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

// At most kShownText bytes, in whole characters.
std::string_view shortened(std::string_view text) {
  if (text.size() <= kShownText) return text;
  std::size_t end = kShownText;
  while ((static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

std::string value_text(const Json& value) {
  if (value.is_object()) {
    const auto n = value["length"].get<std::int64_t>();
    const std::string first = dump(value["first"]);
    const std::string_view shown = shortened(first);
    const bool is_whole = std::cmp_equal(value["first"].size(), n) && shown.size() == first.size();
    return fmt::format("{} element{}: {}{}", grouped(n), n == 1 ? "" : "s", one_line(shown),
                       is_whole ? "" : "...");
  }
  if (!value.is_string()) return dump(value);
  const std::string text = dump(value);  // escapes newlines
  const std::string_view inside = std::string_view(text).substr(1, text.size() - 2);
  const std::string_view shown = shortened(inside);
  return one_line(shown) + (shown.size() < inside.size() ? "..." : "");
}

std::string type_text(const gguf::UnreadableTensor& tensor) {
  return fmt::format("{} ({})", known_tensor_type_name(tensor.type_number), tensor.type_number);
}

struct TypeTotal {
  std::int64_t n_tensors = 0;
  std::int64_t n_weights = 0;
  std::size_t bytes = 0;
};

std::map<std::string, TypeTotal> totals_by_type(const gguf::File& file) {
  std::map<std::string, TypeTotal> totals;
  for (const gguf::Tensor& tensor : file.tensors()) {
    TypeTotal& total = totals[std::string(traits(tensor.type).name)];
    ++total.n_tensors;
    total.n_weights += tensor.n_elements();
    total.bytes += tensor.data.size();
  }
  return totals;
}

// What streams of a model take, for each number format of the cache.
struct Memory {
  StreamOptions options;         // resolved
  std::size_t weight_bytes = 0;  // in the file
  std::size_t loaded_bytes = 0;  // in memory: packed, or still read from the mapped file
  int trained_context = 0;
  std::vector<std::pair<KvType, std::size_t>> stream_bytes;
};

// Ends the program before MODEL is missed, as --help does.
void list_architectures() {
  std::string text;
  for (const Architecture& architecture : architectures())
    text += fmt::format("{:<10} {}\n", architecture.name, architecture.models);
  print_out(text);
  throw CLI::Success();
}

// What of OpenCL matters here.
std::string abilities_text(const DeviceInfo& device) {
  std::string text;
  const auto add = [&](std::string_view extension, std::string_view name) {
    if ((device.extensions + ' ').find(std::string(extension) + ' ') != std::string::npos)
      text += (text.empty() ? "" : ", ") + std::string(name);
  };
  add("cl_khr_integer_dot_product", "dot products of bytes");
  add("cl_nv_device_attribute_query", "NVIDIA instructions");
  add("cl_khr_command_buffer", "recorded launches");
  add("cl_khr_fp64", "sampling in double precision");
  return text.empty() ? "plain OpenCL 1.2" : text;
}

// Ends the program before MODEL is missed, as --help does.
void list_devices() {
  std::string reason;
  std::string text = "cpu        this machine's processor\n";
  for (const DeviceInfo& device : devices(&reason)) {
    text += fmt::format(
        "{:<10} {}{}\n           {}\n           {} units, {} of memory, buffers up to {}\n"
        "           {}\n",
        device.id, device.name, device.is_gpu ? " (GPU)" : "", device.driver, device.units,
        bytes_text(device.memory_bytes), bytes_text(device.largest_buffer_bytes),
        abilities_text(device));
  }
  if (!reason.empty()) text += reason + "\n";
  print_out(text);
  throw CLI::Success();
}

class Info final : public Command {
 public:
  explicit Info(CLI::App& program)
      : app_(program.add_subcommand("info",
                                    "Show what a model file holds and the memory it takes")) {
    app_->footer(kInfoExamples);
    model_.add_to(*app_);
    app_->add_flag("--tensors", shows_tensors_, "Every tensor with its type, shape and size");
    app_->add_flag("--json", is_json_, "All of it as one JSON object");
    app_->add_flag_callback("--list-architectures", list_architectures,
                            "The architectures that can run; no model needed");
    app_->add_flag_callback("--devices", list_devices,
                            "The devices that layers can run on; no model needed");
    stream_.add_to(*app_);
  }
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  // Otherwise the reason why the file cannot run.
  std::variant<Memory, std::string> memory() const;
  std::string text(const gguf::File& file) const;
  Json json(const gguf::File& file) const;

  CLI::App* app_;
  ModelArguments model_;
  StreamArguments stream_;
  bool shows_tensors_ = false;
  bool is_json_ = false;
};

// ", marks as in chatml": the known format that a template looks like, if any.
std::string family_text(const Model& model) try {
  const std::string_view source = model.internals().file.get_string("tokenizer.chat_template", "");
  return fmt::format(", marks as in {}", ChatFormat::detect(source).name());
} catch (const Error&) {
  return "";
}

// How `chat` would write turns, or why it cannot.
std::string chat_text(const std::string& path) {
  try {
    const Model model = Model::load(path, {.vocabulary_only = true});
    const ChatTemplate chat = ChatTemplate::of(model);
    return chat.name() + (chat.is_interpreted() ? family_text(model) : "") +
           (chat.warning().empty() ? "" : fmt::format(" ({})", chat.warning()));
  } catch (const Error& error) {
    return fmt::format("none: {}", error.what());
  }
}

void Info::run() {
  const gguf::File file = gguf::File::open(model_.path());
  print_out(is_json_ ? dump(json(file), 2) + "\n" : text(file));
}

std::variant<Memory, std::string> Info::memory() const {
  try {
    const Model model = model_.load();
    Memory memory;
    memory.options = model.resolve(stream_.options());
    memory.weight_bytes = model.weight_bytes();
    const Weights& weights = model.internals().weights;
    memory.loaded_bytes = weights.bytes - weights.released_bytes + weights.packed.bytes();
    memory.trained_context = model.trained_context();
    StreamOptions options = memory.options;
    for (const KvType type :
         {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8_0, KvType::kQ4_0}) {
      if (type == KvType::kQ4_0 && !model.device().is_cpu) continue;  // not there
      options.kv_type = type;
      options.kv_rotate.reset();
      if (type == memory.options.kv_type) options.kv_rotate = memory.options.kv_rotate;
      memory.stream_bytes.emplace_back(type, model.stream_bytes(options));
    }
    return memory;
  } catch (const Error& error) {  // the rest of the file is still worth showing
    return error.what();
  }
}

std::string metadata_text(const gguf::File& file) {
  std::string text = bold("Metadata") + "\n";
  for (const auto& [key, value] : file.metadata()) {
    text += fmt::format("  {:<42} {}\n", one_line(key), value_text(value_json(value)));
  }
  return text;
}

std::string tensors_text(const gguf::File& file, bool shows_each) {
  std::string text = "\n" + bold("Tensors") + "\n";
  for (const auto& [type, total] : totals_by_type(file)) {
    text += fmt::format("  {:<6} {:>5} tensors {:>16} weights {:>12}\n", type, total.n_tensors,
                        grouped(total.n_weights), bytes_text(total.bytes));
  }
  std::map<std::string, std::int64_t> unreadable;
  for (const gguf::UnreadableTensor& tensor : file.unreadable_tensors())
    ++unreadable[type_text(tensor)];
  for (const auto& [type, n_tensors] : unreadable)
    text += fmt::format("  {:<6} {:>5} tensors, a type that is not supported\n", type, n_tensors);
  if (file.tensors().empty() && unreadable.empty()) text += "  none: a vocabulary only\n";
  if (!shows_each) return text;
  text += "\n";
  for (const gguf::Tensor& tensor : file.tensors()) {
    const auto n_dims = static_cast<std::size_t>(tensor.n_dims);
    text += fmt::format("  {:<42} {:<6} {:<16} {:>12}\n", one_line(tensor.name),
                        traits(tensor.type).name, gguf::shape_text({tensor.shape.data(), n_dims}),
                        bytes_text(tensor.data.size()));
  }
  for (const gguf::UnreadableTensor& tensor : file.unreadable_tensors()) {
    const auto n_dims = static_cast<std::size_t>(tensor.n_dims);
    text += fmt::format("  {:<42} {:<6} {:<16}\n", one_line(tensor.name), type_text(tensor),
                        gguf::shape_text({tensor.shape.data(), n_dims}));
  }
  return text;
}

std::string memory_text(const Memory& memory) {
  const StreamOptions& options = memory.options;
  std::string text = "\n" + bold("Memory") + "\n";
  text += fmt::format("  weights in the file    {:>12}\n", bytes_text(memory.weight_bytes));
  text += fmt::format("  weights in memory      {:>12}  matrices are packed when loaded\n",
                      bytes_text(memory.loaded_bytes));
  for (const auto& [type, bytes] : memory.stream_bytes) {
    text += fmt::format("  a stream, {:<12} {:>12}{}\n", kv_type_name(type) + " cache",
                        bytes_text(bytes), type == options.kv_type ? "  this --kv-type" : "");
  }
  if (options.policy == Policy::kDense) {
    text += "  policy dense: a stream grows with every token; the figure is its beginning\n";
  } else {
    text += fmt::format("  policy {}, {} sinks, window {}; trained context {} tokens\n",
                        policy_name(options.policy), grouped(options.sinks), window_text(options),
                        grouped(memory.trained_context));
  }
  if (options.softmax == Softmax::kOffByOne) text += "  softmax off-by-one: a zero sink\n";
  return text;
}

std::string Info::text(const gguf::File& file) const {
  const std::string parts =
      file.n_parts() > 1 ? fmt::format(", in {} parts", file.n_parts()) : std::string();
  std::string text = fmt::format("{}: GGUF version {}, {}{}\n\n", one_line(file.name()),
                                 file.version(), bytes_text(file.size_bytes()), parts);
  text += metadata_text(file) + tensors_text(file, shows_tensors_);
  text += fmt::format("\n{}\n  {}\n", bold("Chat"), without_controls(chat_text(model_.path())));
  const auto found = memory();
  if (const Memory* memory = std::get_if<Memory>(&found)) return text + memory_text(*memory);
  return text +
         fmt::format("\nMemory: not known: {}\n", without_controls(std::get<std::string>(found)));
}

Json memory_json(const Memory& memory) {
  Json streams;
  for (const auto& [type, bytes] : memory.stream_bytes) streams[kv_type_name(type)] = bytes;
  Json window = nullptr;
  if (memory.options.window) window = *memory.options.window;
  return {{"weight_bytes", memory.weight_bytes},
          {"loaded_weight_bytes", memory.loaded_bytes},
          {"stream_bytes", streams},
          {"policy", policy_name(memory.options.policy)},
          {"sinks", memory.options.sinks},
          {"window", window},
          {"layer_windows", memory.options.layer_windows},
          {"kv_type", kv_type_name(memory.options.kv_type)},
          {"softmax", softmax_name(*memory.options.softmax)},
          {"trained_context", memory.trained_context}};
}

Json Info::json(const gguf::File& file) const {
  Json json = {{"file", file.name()}, {"version", file.version()}, {"bytes", file.size_bytes()}};
  json["metadata"] = Json::object();
  for (const auto& [key, value] : file.metadata()) {
    json["metadata"][std::string(key)] = value_json(value);
  }
  json["tensor_types"] = Json::object();
  for (const auto& [type, total] : totals_by_type(file)) {
    json["tensor_types"][type] = {
        {"tensors", total.n_tensors}, {"weights", total.n_weights}, {"bytes", total.bytes}};
  }
  if (shows_tensors_) json["tensors"] = Json::array();
  for (const gguf::Tensor& tensor : file.tensors()) {
    if (!shows_tensors_) break;
    const auto n_dims = static_cast<std::size_t>(tensor.n_dims);
    json["tensors"].push_back(
        {{"name", std::string(tensor.name)},
         {"type", std::string(traits(tensor.type).name)},
         {"shape", std::vector(tensor.shape.begin(), tensor.shape.begin() + n_dims)},
         {"bytes", tensor.data.size()}});
  }
  for (const gguf::UnreadableTensor& tensor : file.unreadable_tensors()) {
    const auto n_dims = static_cast<std::size_t>(tensor.n_dims);
    json["unreadable_tensors"].push_back(
        {{"name", std::string(tensor.name)},
         {"type", std::string(known_tensor_type_name(tensor.type_number))},
         {"type_number", tensor.type_number},
         {"shape", std::vector(tensor.shape.begin(), tensor.shape.begin() + n_dims)}});
  }
  json["chat"] = chat_text(model_.path());
  const auto found = memory();
  if (const Memory* memory = std::get_if<Memory>(&found)) {
    json["memory"] = memory_json(*memory);
  } else {
    json["memory"] = nullptr;
    json["why_no_memory"] = std::get<std::string>(found);
  }
  return json;
}

}  // namespace

std::unique_ptr<Command> add_info(CLI::App& program) { return std::make_unique<Info>(program); }

}  // namespace runnel::cli
