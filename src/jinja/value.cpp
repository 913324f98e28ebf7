#include "jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <compare>

#include "jinja/interpreter.h"
#include "runnel/error.h"

namespace runnel::jinja {
namespace {

void check_size(int depth, std::int64_t weight) {
  if (depth > kLargestDepth) {
    throw Error(fmt::format("value: want at most {} levels of lists and objects", kLargestDepth));
  }
  if (weight > kLargestWeight) {
    throw Error(fmt::format("value: want at most {} elements in one", kLargestWeight));
  }
}

std::optional<std::strong_ordering> order(double a, double b) {
  if (a < b) return std::strong_ordering::less;
  if (a > b) return std::strong_ordering::greater;
  if (a == b) return std::strong_ordering::equal;
  return std::nullopt;
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = b.find(entry.first);
    return other != nullptr && *other == entry.second;
  });
}

// A key as bytes, for finding repeated ones without comparing each with each.
std::string key_bytes(const Value& key) {
  if (const Text* text = key.as_text()) return fmt::format("t{}", text->bytes());
  if (const auto number = key.as_float()) return fmt::format("n{}", float_text(*number));
  return fmt::format("o{}", to_repr(key, 1 << 20));
}

}  // namespace

const Value* Dict::find(const Value& key) const {
  if (const Text* text = key.as_text()) return find(text->bytes());
  for (const auto& [own, value] : entries) {
    if (own == key) return &value;
  }
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [own, value] : entries) {
    const Text* text = own.as_text();
    if (text != nullptr && text->bytes() == key) return &value;
  }
  return nullptr;
}

Value Value::list(std::vector<Value> items, Sequence kind) {
  int depth = 1;
  std::int64_t weight = 1;
  for (const Value& item : items) {
    depth = std::max(depth, item.depth() + 1);
    weight += item.weight();
  }
  check_size(depth, weight);
  return Value(Held(std::make_shared<const List>(List{std::move(items), kind, depth, weight})));
}

Value Value::dict(std::vector<std::pair<Value, Value>> entries) {
  std::vector<std::pair<std::string, std::size_t>> keys;
  int depth = 1;
  std::int64_t weight = 1;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto& [key, value] = entries[i];
    keys.emplace_back(key_bytes(key), i);
    depth = std::max({depth, key.depth() + 1, value.depth() + 1});
    weight += key.weight() + value.weight();
  }
  check_size(depth, weight);
  std::sort(keys.begin(), keys.end());
  std::vector<bool> is_repeated(entries.size());
  for (std::size_t i = 0; i < keys.size();) {
    std::size_t last = i;
    while (last + 1 < keys.size() && keys[last + 1].first == keys[i].first) ++last;
    if (last > i) entries[keys[i].second].second = entries[keys[last].second].second;
    for (std::size_t j = i + 1; j <= last; ++j) is_repeated[keys[j].second] = true;
    i = last + 1;
  }
  std::size_t n_kept = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (is_repeated[i]) continue;
    if (n_kept != i) entries[n_kept] = std::move(entries[i]);
    ++n_kept;
  }
  entries.resize(n_kept);
  return Value(Held(std::make_shared<const Dict>(Dict{std::move(entries), depth, weight})));
}

Value Value::of(Function function) {
  check_size(function.receiver.depth() + 1, function.receiver.weight());
  return Value(Held(std::make_shared<const Function>(std::move(function))));
}

std::optional<std::int64_t> Value::as_int() const {
  if (const auto* number = std::get_if<std::int64_t>(&held_)) return *number;
  if (const auto* truth = std::get_if<bool>(&held_)) return *truth ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::as_float() const {
  if (const auto* number = std::get_if<double>(&held_)) return *number;
  if (const auto number = as_int()) return static_cast<double>(*number);
  return std::nullopt;
}

bool Value::is_true() const {
  if (const auto number = as_float()) return *number != 0;
  if (const Text* text = as_text()) return !text->empty();
  if (const List* list = as_list())
    return list->kind == Sequence::kGenerator || !list->items.empty();
  if (const Dict* dict = as_dict()) return !dict->entries.empty();
  return !is_undefined() && !is_none();
}

int Value::depth() const {
  if (const List* list = as_list()) return list->depth;
  if (const Dict* dict = as_dict()) return dict->depth;
  if (const Function* function = as_function()) return function->receiver.depth() + 1;
  return 0;
}

std::int64_t Value::weight() const {
  if (const List* list = as_list()) return list->weight;
  if (const Dict* dict = as_dict()) return dict->weight;
  if (const Function* function = as_function()) return function->receiver.weight();
  if (const Text* text = as_text()) return 1 + static_cast<std::int64_t>(text->size() / 16);
  return 1;
}

const void* Value::identity() const {
  return std::visit(
      [](const auto& held) -> const void* {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_pointer_v<T>)
          return held;
        else if constexpr (requires { held.get(); })
          return held.get();
        else
          return nullptr;
      },
      held_);
}

std::string_view Value::type_name() const {
  if (is_undefined()) return "undefined";
  if (is_none()) return "None";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (is_text()) return "str";
  if (const List* list = as_list()) {
    return list->kind == Sequence::kList    ? "list"
           : list->kind == Sequence::kTuple ? "tuple"
                                            : "generator";
  }
  if (is_dict()) return "dict";
  if (as_namespace() != nullptr) return "namespace";
  return as_loop() != nullptr ? "loop" : "function";
}

bool operator==(const Value& a, const Value& b) {
  if (a.as_int() && b.as_int()) return a.as_int() == b.as_int();
  if (a.is_number() && b.is_number()) return *a.as_float() == *b.as_float();
  if (a.is_text() && b.is_text()) return a.as_text()->bytes() == b.as_text()->bytes();
  if (a.is_list() && b.is_list()) {
    return a.as_list()->kind == b.as_list()->kind && a.as_list()->items == b.as_list()->items;
  }
  if (a.is_dict() && b.is_dict()) return equal_dicts(*a.as_dict(), *b.as_dict());
  if (a.is_undefined() || a.is_none()) {
    return a.is_undefined() == b.is_undefined() && a.is_none() == b.is_none();
  }
  return a.identity() != nullptr && a.identity() == b.identity();
}

std::optional<std::strong_ordering> compare(const Value& a, const Value& b) {
  if (a.as_int() && b.as_int()) return *a.as_int() <=> *b.as_int();
  if (a.is_number() && b.is_number()) return order(*a.as_float(), *b.as_float());
  if (a.is_text() && b.is_text()) return a.as_text()->bytes() <=> b.as_text()->bytes();
  const List* left = a.as_list();
  const List* right = b.as_list();
  if (left == nullptr || right == nullptr || left->kind != right->kind) return std::nullopt;
  for (std::size_t i = 0; i < std::min(left->items.size(), right->items.size()); ++i) {
    if (left->items[i] == right->items[i]) continue;
    return compare(left->items[i], right->items[i]);
  }
  return left->items.size() <=> right->items.size();
}

const Value* Arguments::find(std::size_t place, std::string_view name) const {
  if (place < positional.size()) return &positional[place];
  for (const auto& [own, value] : named) {
    if (own == name) return &value;
  }
  return nullptr;
}

Value Arguments::get(std::size_t place, std::string_view name, Value otherwise) const {
  const Value* found = find(place, name);
  return found ? *found : std::move(otherwise);
}

}  // namespace runnel::jinja
