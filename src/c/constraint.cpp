// A constraint whose functions are the caller's.
#include <new>

#include "c/handles.h"

namespace runnel::c {
namespace {

class CallersConstraint final : public TokenConstraint {
 public:
  CallersConstraint(const runnel_constraint& functions, int vocabulary_size)
      : functions_(functions),
        vocabulary_size_(static_cast<std::size_t>(vocabulary_size)),
        words_((vocabulary_size_ + 63) / 64) {}
  ~CallersConstraint() override {
    if (functions_.free != nullptr) functions_.free(functions_.state);
  }
  CallersConstraint(const CallersConstraint&) = delete;
  CallersConstraint& operator=(const CallersConstraint&) = delete;

  std::span<const std::uint64_t> allowed() override {
    std::vector<std::uint32_t> halves(2 * words_.size());
    functions_.allowed(functions_.state, halves.data(), halves.size());
    for (std::size_t i = 0; i < words_.size(); ++i)
      words_[i] = halves[2 * i] | static_cast<std::uint64_t>(halves[2 * i + 1]) << 32;
    if (const std::size_t n_used = vocabulary_size_ % 64; n_used != 0)
      words_.back() &= (std::uint64_t{1} << n_used) - 1;
    return words_;
  }
  void accept(Token token) override {
    if (functions_.accept(functions_.state, token) != 0)
      throw Error("constraint: token " + std::to_string(token) + " was not allowed");
  }
  bool is_complete() const override { return functions_.is_complete(functions_.state) != 0; }
  std::unique_ptr<TokenConstraint> clone() const override {
    runnel_constraint copy = functions_;
    copy.state = functions_.clone(functions_.state);
    if (copy.state == nullptr) throw std::bad_alloc();
    return std::make_unique<CallersConstraint>(copy, static_cast<int>(vocabulary_size_));
  }

 private:
  runnel_constraint functions_;
  std::size_t vocabulary_size_;
  std::vector<std::uint64_t> words_;
};

}  // namespace
}  // namespace runnel::c

using namespace runnel::c;

extern "C" {

runnel_status runnel_stream_set_constraint(runnel_stream* stream,
                                           const runnel_constraint* constraint) {
  return guarded([&] {
    want(stream, "stream");
    std::unique_ptr<runnel::TokenConstraint> form;
    if (constraint != nullptr) {
      runnel_constraint functions = {};
      read_struct(functions, constraint, "runnel_constraint");
      want(reinterpret_cast<const void*>(functions.allowed), "constraint allowed");
      want(reinterpret_cast<const void*>(functions.accept), "constraint accept");
      want(reinterpret_cast<const void*>(functions.is_complete), "constraint is_complete");
      want(reinterpret_cast<const void*>(functions.clone), "constraint clone");
      form = std::make_unique<CallersConstraint>(functions, stream->model->vocabulary_size());
    }
    stream->stream.set_constraint(std::move(form));
  });
}

}  // extern "C"
