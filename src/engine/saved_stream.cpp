// A stream to bytes and back.
#include <fmt/format.h>

#include <utility>

#include "engine/snapshot.h"
#include "engine/stream_state.h"

namespace runnel {

namespace {

std::string device_name(const Model::Internals& model) {
  const Device* const device = model.device ? model.device.get() : model.cpu.get();
  return device ? device->description().name : "";
}

}  // namespace

Snapshot Stream::snapshot() const {
  State& s = *state_;
  const std::span<const float> logits = s.next_logits();
  Snapshot snapshot = {.model = s.model.fingerprint,
                       .options = s.options,
                       .position = s.history.position(),
                       .cache_position = s.cache.position(),
                       .cache_capacity = s.cache.capacity(),
                       .random_state = s.sampler.random_state(),
                       .visible = visible_tokens(),
                       .logits = {logits.begin(), logits.end()},
                       .device = device_name(s.model)};
  if (s.detokenizer) {
    snapshot.pending_text = s.detokenizer->state().pending;
    snapshot.text_at_start = s.detokenizer->state().at_start;
  }
  return snapshot;
}

void Stream::save(const std::filesystem::path& path) const {
  std::vector<std::byte> room;
  write_snapshot(path, snapshot(), state_->cache.raw(room));
}

std::vector<std::byte> Stream::save_bytes() const {
  std::vector<std::byte> room;
  return snapshot_bytes(snapshot(), state_->cache.raw(room));
}

namespace {

// A checksum is no signature: what a file says is checked before it is used.
bool has_known_options(const Snapshot& s) {
  const auto is_up_to = [](auto value, auto last) {
    return static_cast<int>(value) >= 0 && value <= last;
  };
  return is_up_to(s.options.policy, Policy::kRecompute) &&
         is_up_to(s.options.kv_type, KvType::kQ4_0) &&
         is_up_to(*s.options.softmax, Softmax::kOffByOne);
}

bool has_possible_positions(const Snapshot& s, const StreamOptions& resolved,
                            const CacheShape& shape) {
  if (s.position < 0 || std::ssize(s.visible) != cache_policy(resolved).cache_position(s.position))
    return false;
  if (resolved.policy == Policy::kRecompute)
    return s.cache_position >= 0 && s.cache_position <= shape.capacity;
  if (resolved.policy == Policy::kDense &&
      (s.cache_position > s.cache_capacity || s.cache_capacity > std::ssize(s.cache)))
    return false;
  return s.cache_position == s.position;
}

}  // namespace

Stream Model::resume(const std::filesystem::path& path) const {
  return resume(read_snapshot(path), path.string());
}

Stream Model::resume(std::span<const std::byte> bytes) const {
  constexpr const char* kName = "saved stream";
  return resume(read_snapshot(bytes, kName), kName);
}

Stream Model::Internals::resume(const Model& model, Snapshot snapshot, const std::string& name) {
  return model.resume(std::move(snapshot), name);
}

// `name` of what was read, for errors.
Stream Model::resume(Snapshot snapshot, const std::string& name) const {
  if (snapshot.model != internals_->fingerprint) {
    throw Error(fmt::format("{}: the stream was saved with another model than {}", name,
                            internals_->file.name()));
  }
  const auto check_fit = [&](bool fits) {
    if (!fits) throw Error(fmt::format("{}: the saved stream does not fit its own options", name));
  };
  check_fit(has_known_options(snapshot));
  if (snapshot.options.policy == Policy::kDense) snapshot.options.window.reset();
  const StreamOptions resolved = resolve(snapshot.options);
  CacheShape shape = cache_shape(*internals_, resolved);
  check_fit(has_possible_positions(snapshot, resolved, shape));
  if (resolved.policy == Policy::kDense) shape.capacity = snapshot.cache_capacity;
  auto state = std::make_unique<Stream::State>(*internals_, resolved,
                                               take_cache(*internals_, std::move(shape)));
  check_fit(
      state->cache.restore(snapshot.cache, snapshot.cache_position) &&
      (snapshot.logits.empty() || static_cast<int>(snapshot.logits.size()) == vocabulary_size()));
  state->check(snapshot.visible);
  state->history =
      TokenHistory::restore(cache_policy(resolved), snapshot.visible, snapshot.position);
  if (!snapshot.logits.empty()) state->keep(snapshot.logits);
  state->sampler.set_random_state(snapshot.random_state);
  if (state->detokenizer) {
    state->detokenizer->restore(
        {.pending = snapshot.pending_text, .at_start = snapshot.text_at_start});
  }
  return Stream(std::move(state));
}

}  // namespace runnel
