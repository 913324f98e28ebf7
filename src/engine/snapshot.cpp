#include "engine/snapshot.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <system_error>
#include <type_traits>

#include "engine/replaced_file.h"
#include "runnel/error.h"

namespace runnel {
namespace {

static_assert(std::endian::native == std::endian::little,
              "snapshots are written as the machine holds numbers");

constexpr char kMagic[8] = {'r', 'u', 'n', 'n', 'e', 'l', '\0', '\1'};
constexpr std::size_t kHashBytes = 16;

// The forms of a cache's keys. Form 1 was rotated and not balanced, form 2 without the newest
// tokens in f16.
constexpr std::uint8_t kAsTheyAre = 0;
constexpr std::uint8_t kRotated = 3;

struct FreeHash {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};
using Hash = std::unique_ptr<XXH3_state_t, FreeHash>;

Hash new_hash() {
  Hash hash(XXH3_createState());
  XXH3_128bits_reset(hash.get());
  return hash;
}

std::array<std::byte, kHashBytes> digest(const Hash& hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(hash.get()));
  std::array<std::byte, kHashBytes> bytes;
  std::memcpy(bytes.data(), canonical.digest, bytes.size());
  return bytes;
}

// Passes what it is given on to `sink`, and its hash at the end.
template <typename Sink>
class Writer {
 public:
  explicit Writer(Sink& sink) : sink_(sink), hash_(new_hash()) {}

  void bytes(const void* data, std::size_t n) {
    XXH3_128bits_update(hash_.get(), data, n);
    sink_.write({static_cast<const char*>(data), n});
  }
  template <typename T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    bytes(&value, sizeof(value));
  }
  template <typename T>
  void list(std::span<const T> items) {
    number(static_cast<std::uint64_t>(items.size()));
    bytes(items.data(), items.size_bytes());
  }
  void end() {
    const auto hash = digest(hash_);
    sink_.write({reinterpret_cast<const char*>(hash.data()), hash.size()});
  }

 private:
  Sink& sink_;
  Hash hash_;
};

// Bytes in memory, as a Writer's sink.
struct MemorySink {
  std::vector<std::byte> bytes;
  void write(std::string_view more) {
    const auto* begin = reinterpret_cast<const std::byte*>(more.data());
    bytes.insert(bytes.end(), begin, begin + more.size());
  }
};

// Reads what Writer wrote, from bytes whose hash is right.
class Reader {
 public:
  Reader(std::string_view name, std::span<const std::byte> bytes) : name_(name), bytes_(bytes) {}

  template <typename T>
  void number(T& value) {
    std::memcpy(&value, take(sizeof(value)).data(), sizeof(value));
  }
  template <typename List>
  void list(List& items) {
    std::uint64_t n = 0;
    number(n);
    using T = typename List::value_type;
    if (n > bytes_.size() / sizeof(T)) fail_short();
    const auto taken = take(static_cast<std::size_t>(n) * sizeof(T));
    items.resize(static_cast<std::size_t>(n));
    if (n > 0) std::memcpy(items.data(), taken.data(), taken.size());
  }
  bool at_end() const { return bytes_.empty(); }
  [[noreturn]] void fail_short() const {
    throw Error(fmt::format("{}: the saved stream ends early", name_));
  }

 private:
  std::span<const std::byte> take(std::size_t n) {
    if (n > bytes_.size()) fail_short();
    const auto taken = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return taken;
  }

  std::string_view name_;
  std::span<const std::byte> bytes_;
};

// The fields of the options and of the snapshot, once for both directions.
template <typename Archive, typename Options>
void visit_options(Archive&& number, Options& o) {
  number(o.policy), number(o.sinks), number(o.kv_type), number(*o.softmax), number(o.chunk),
      number(o.draft), number(o.start_position);
  auto& s = o.sampling;
  number(s.temperature), number(s.top_k), number(s.top_p), number(s.min_p),
      number(s.repetition_penalty);
  number(s.frequency_penalty), number(s.presence_penalty), number(s.seed);
}

std::vector<std::byte> read_all(const std::filesystem::path& path) {
  std::error_code error;
  const auto n = std::filesystem::file_size(path, error);
  if (error)
    throw FileError(
        fmt::format("{}: cannot read the saved stream: {}", path.string(), error.message()),
        error.value());
  std::vector<std::byte> bytes(static_cast<std::size_t>(n));
  std::ifstream in(path, std::ios::binary);
  if (!in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(n))) {
    const int code = errno;
    throw FileError(
        fmt::format("{}: cannot read: {}", path.string(), std::generic_category().message(code)),
        code);
  }
  return bytes;
}

// The bytes between magic and hash, both checked.
std::span<const std::byte> checked_body(std::string_view name, std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(kMagic) + kHashBytes ||
      std::memcmp(bytes.data(), kMagic, sizeof(kMagic) - 1) != 0) {
    throw Error(fmt::format("{}: not a saved stream of runnel", name));
  }
  if (const int version = static_cast<int>(bytes[sizeof(kMagic) - 1]);
      version != kMagic[sizeof(kMagic) - 1]) {
    throw Error(fmt::format("{}: saved stream: want version {}, found {}", name,
                            int{kMagic[sizeof(kMagic) - 1]}, version));
  }
  const std::span<const std::byte> hashed = bytes.first(bytes.size() - kHashBytes);
  const Hash hash = new_hash();
  XXH3_128bits_update(hash.get(), hashed.data(), hashed.size());
  const auto found = digest(hash);
  if (!std::equal(found.begin(), found.end(), bytes.end() - kHashBytes)) {
    throw Error(fmt::format(
        "{}: the saved stream is damaged: its checksum does not match its content", name));
  }
  return hashed.subspan(sizeof(kMagic));
}

}  // namespace

Fingerprint fingerprint(const gguf::File& file) {
  const Hash hash = new_hash();
  const std::uint64_t size = file.size_bytes();
  XXH3_128bits_update(hash.get(), &size, sizeof(size));
  XXH3_128bits_update(hash.get(), file.header().data(), file.header().size());
  for (const gguf::Tensor& tensor : file.tensors()) {
    XXH3_128bits_update(hash.get(), tensor.data.data(), std::min(kSampleBytes, tensor.data.size()));
  }
  return digest(hash);
}

namespace {

template <typename Sink>
void write_to(Sink& sink, const Snapshot& s, std::span<const std::byte> cache) {
  Writer<Sink> out(sink);
  out.bytes(kMagic, sizeof(kMagic));
  out.bytes(s.model.data(), s.model.size());
  visit_options([&](const auto& value) { out.number(value); }, s.options);
  out.number(s.options.window.value_or(0));
  out.number(s.position), out.number(s.cache_position), out.number(s.cache_capacity),
      out.number(s.random_state);
  out.number(s.text_at_start);
  out.list(std::span<const char>(s.pending_text));
  out.list(std::span<const Token>(s.visible));
  out.list(std::span<const float>(s.logits));
  out.list(cache);
  out.number(static_cast<std::uint64_t>(s.options.pin_tokens.size()));
  out.list(std::span<const std::int64_t>(s.options.layer_windows));
  out.number(*s.options.kv_rotate ? kRotated : kAsTheyAre);
  out.list(std::span<const char>(s.device));
  out.end();
}

}  // namespace

void write_snapshot(const std::filesystem::path& path, const Snapshot& snapshot,
                    std::span<const std::byte> cache) {
  ReplacedFile file(path);
  write_to(file, snapshot, cache);
  file.commit();
}

std::vector<std::byte> snapshot_bytes(const Snapshot& snapshot, std::span<const std::byte> cache) {
  constexpr std::size_t kMostFields = 1024;  // bytes of all that is no list, or a short one
  MemorySink sink;
  sink.bytes.reserve(kMostFields + snapshot.pending_text.size() +
                     snapshot.visible.size() * sizeof(Token) +
                     snapshot.logits.size() * sizeof(float) + cache.size());
  write_to(sink, snapshot, cache);
  return std::move(sink.bytes);
}

Snapshot read_snapshot(const std::filesystem::path& path) {
  return read_snapshot(read_all(path), path.string());
}

Snapshot read_snapshot(std::span<const std::byte> bytes, std::string_view name) {
  Reader in(name, checked_body(name, bytes));
  Snapshot s;
  in.number(s.model);
  s.options.softmax.emplace();
  visit_options([&](auto& value) { in.number(value); }, s.options);
  in.number(s.options.window.emplace());
  in.number(s.position), in.number(s.cache_position), in.number(s.cache_capacity),
      in.number(s.random_state);
  in.number(s.text_at_start);
  in.list(s.pending_text);
  in.list(s.visible);
  in.list(s.logits);
  in.list(s.cache);
  if (in.at_end()) return s;
  std::uint64_t n_pinned = 0;
  in.number(n_pinned);
  if (n_pinned > s.visible.size()) in.fail_short();
  s.options.pin_tokens.assign(s.visible.begin(),
                              s.visible.begin() + static_cast<std::ptrdiff_t>(n_pinned));
  if (in.at_end()) return s;
  in.list(s.options.layer_windows);
  std::uint8_t form = kAsTheyAre;
  in.number(form);
  if (form != kAsTheyAre && form != kRotated)
    throw Error(fmt::format(
        "{}: saved stream: want rotated keys of form {}, found form {}, of another version", name,
        kRotated, form));
  s.options.kv_rotate = form == kRotated;
  if (!in.at_end()) in.list(s.device);
  return s;
}

}  // namespace runnel
