#include <algorithm>

#include "c/handles.h"

namespace runnel::c {
namespace {

runnel_stream* handle_of(const std::shared_ptr<const SharedModel>& model, Stream stream) {
  return new runnel_stream{model, std::move(stream), {}};
}

Stream::Progress progress_of(runnel_progress progress, void* user, std::size_t all) {
  if (progress == nullptr) return {};
  return
      [=](std::int64_t done) { return progress(user, done, static_cast<std::int64_t>(all)) == 0; };
}

void write_step(runnel_stream& stream, Stream::Step&& step, void* out, std::size_t size) {
  stream.text = std::move(step.text);
  if (out == nullptr) return;
  const runnel_step found = {.size = size,
                             .token = step.token,
                             .end_of_generation = step.end_of_generation ? 1 : 0,
                             .text = stream.text.c_str(),
                             .text_bytes = stream.text.size(),
                             .log_probability = step.log_probability};
  write_struct(found, out, size);
}

// Of several streams, into steps that follow each other by the first one's size.
void write_steps(runnel_stream* const* streams, std::vector<Stream::Step> found,
                 runnel_step* steps) {
  const size_t size = steps == nullptr ? 0 : steps->size;
  for (size_t i = 0; i < found.size(); ++i) {
    char* step = steps == nullptr ? nullptr : reinterpret_cast<char*>(steps) + i * size;
    write_step(*streams[i], std::move(found[i]), step, size);
  }
}

void check_step(const runnel_step* step) {
  if (step != nullptr) check_size(step->size, step->size, step, "runnel_step");
}

void write_fed(std::int64_t n, std::int64_t* n_fed) {
  if (n_fed != nullptr) *n_fed = n;
}

std::int64_t least_window(const StreamOptions& resolved) {
  const std::vector<std::int64_t>& windows = resolved.layer_windows;
  return windows.empty() ? resolved.window.value_or(0)
                         : *std::min_element(windows.begin(), windows.end());
}

}  // namespace
}  // namespace runnel::c

using namespace runnel::c;

extern "C" {

runnel_status runnel_stream_open(const runnel_model* model, const runnel_stream_options* options,
                                 runnel_stream** stream) {
  return guarded([&] {
    want(model, "model");
    want(stream, "stream");
    *stream = handle_of(model->model, model->model->open(stream_options(options)));
  });
}

runnel_status runnel_stream_bytes(const runnel_model* model, const runnel_stream_options* options,
                                  uint64_t* n_bytes) {
  return guarded([&] {
    want(model, "model");
    want(n_bytes, "n_bytes");
    *n_bytes = model->model->stream_bytes(stream_options(options));
  });
}

void runnel_stream_close(runnel_stream* stream) { delete stream; }

runnel_status runnel_stream_fork(const runnel_stream* stream, runnel_stream** fork) {
  return guarded([&] {
    want(stream, "stream");
    want(fork, "fork");
    *fork = handle_of(stream->model, stream->stream.fork());
  });
}

runnel_status runnel_stream_feed(runnel_stream* stream, const char* text, size_t n_bytes,
                                 runnel_progress progress, void* user, int64_t* n_fed) {
  return guarded([&] {
    want(stream, "stream");
    const std::vector<runnel::Token> tokens =
        stream->stream.tokenize(text_of(text, n_bytes, "text"));
    write_fed(stream->stream.feed(tokens, progress_of(progress, user, tokens.size())), n_fed);
  });
}

runnel_status runnel_stream_feed_tokens(runnel_stream* stream, const runnel_token* tokens,
                                        size_t n_tokens, runnel_progress progress, void* user,
                                        int64_t* n_fed) {
  return guarded([&] {
    want(stream, "stream");
    write_fed(
        stream->stream.feed(tokens_of(tokens, n_tokens), progress_of(progress, user, n_tokens)),
        n_fed);
  });
}

runnel_status runnel_stream_score(runnel_stream* stream, const runnel_token* tokens,
                                  size_t n_tokens, runnel_progress progress, void* user,
                                  float** nll, size_t* n_values) {
  return guarded([&] {
    want(stream, "stream");
    want(nll, "nll");
    want(n_values, "n_values");
    const std::vector<float> found =
        stream->stream.score(tokens_of(tokens, n_tokens), progress_of(progress, user, n_tokens));
    give(std::span(found), nll, n_values);
  });
}

runnel_status runnel_stream_next(runnel_stream* stream, runnel_step* step) {
  return guarded([&] {
    want(stream, "stream");
    check_step(step);
    write_step(*stream, stream->stream.next(), step, step == nullptr ? 0 : step->size);
  });
}

runnel_status runnel_stream_next_batch(runnel_stream* const* streams, size_t n,
                                       runnel_step* steps) {
  return guarded([&] {
    if (n == 0) return;
    want(streams, "streams");
    check_step(steps);
    std::vector<runnel::Stream*> all;
    for (size_t i = 0; i < n; ++i) {
      want(streams[i], "stream");
      all.push_back(&streams[i]->stream);
    }
    write_steps(streams, runnel::Stream::next(all), steps);
  });
}

runnel_status runnel_stream_step_batch(const runnel_work* works, size_t n, runnel_step* steps) {
  return guarded([&] {
    if (n == 0) return;
    want(works, "works");
    check_step(steps);
    std::vector<runnel::Stream::Work> all;
    std::vector<runnel_stream*> streams;
    for (size_t i = 0; i < n; ++i) {
      const char* from = reinterpret_cast<const char*>(works) + i * works->size;
      check_size(works->size, sizeof(runnel_work), from, "runnel_work");
      runnel_work work = {};
      std::memcpy(&work, from, std::min(works->size, sizeof(work)));
      want(work.stream, "stream");
      streams.push_back(work.stream);
      all.push_back({&work.stream->stream, tokens_of(work.tokens, work.n_tokens)});
    }
    write_steps(streams.data(), runnel::Stream::step(all), steps);
  });
}

runnel_status runnel_stream_push(runnel_stream* stream, runnel_token token, runnel_step* step) {
  return guarded([&] {
    want(stream, "stream");
    check_step(step);
    write_step(*stream, stream->stream.push(token), step, step == nullptr ? 0 : step->size);
  });
}

runnel_status runnel_stream_flush_text(runnel_stream* stream, const char** text, size_t* n_bytes) {
  return guarded([&] {
    want(stream, "stream");
    want(text, "text");
    stream->text = stream->stream.flush_text();
    *text = stream->text.c_str();
    if (n_bytes != nullptr) *n_bytes = stream->text.size();
  });
}

runnel_status runnel_stream_set_sampling(runnel_stream* stream, const runnel_sampling* sampling) {
  return guarded([&] {
    want(stream, "stream");
    stream->stream.set_sampling(sampling_options(sampling));
  });
}

runnel_status runnel_stream_tokenize(const runnel_stream* stream, const char* text, size_t n_bytes,
                                     runnel_token** tokens, size_t* n_tokens) {
  return guarded([&] {
    want(stream, "stream");
    want(tokens, "tokens");
    want(n_tokens, "n_tokens");
    const std::vector<runnel::Token> found =
        stream->stream.tokenize(text_of(text, n_bytes, "text"));
    give(std::span(found), tokens, n_tokens);
  });
}

runnel_status runnel_stream_set_json_schema(runnel_stream* stream, const char* schema) {
  return guarded([&] {
    want(stream, "stream");
    std::unique_ptr<runnel::TokenConstraint> form;
    if (schema != nullptr) form = stream->model->constraints().json_schema(schema);
    stream->stream.set_constraint(std::move(form));
  });
}

runnel_status runnel_stream_get_info(const runnel_stream* stream, runnel_stream_info* info) {
  return guarded([&] {
    want(stream, "stream");
    want(info, "info");
    check_size(info->size, info->size, info, "runnel_stream_info");
    const runnel::Stream& s = stream->stream;
    const runnel::StreamOptions& o = s.options();
    const runnel_stream_info found = {.size = info->size,
                                      .position = s.position(),
                                      .evicted = s.evicted(),
                                      .horizon = s.horizon(),
                                      .bytes = s.bytes(),
                                      .guessed = s.guessed(),
                                      .guessed_right = s.guessed_right(),
                                      .policy = static_cast<int32_t>(o.policy),
                                      .sinks = o.sinks,
                                      .window = o.window.value_or(0),
                                      .kv_type = static_cast<int32_t>(o.kv_type),
                                      .chunk = o.chunk,
                                      .least_window = least_window(o),
                                      .kv_rotate = *o.kv_rotate ? 1 : 0};
    write_struct(found, info, info->size);
  });
}

runnel_status runnel_stream_save(const runnel_stream* stream, const char* path) {
  return guarded([&] {
    want(stream, "stream");
    want(path, "path");
    stream->stream.save(path);
  });
}

runnel_status runnel_stream_save_memory(const runnel_stream* stream, void** bytes,
                                        size_t* n_bytes) {
  return guarded([&] {
    want(stream, "stream");
    want(bytes, "bytes");
    want(n_bytes, "n_bytes");
    const std::vector<std::byte> saved = stream->stream.save_bytes();
    std::byte* out = nullptr;
    give(std::span(saved), &out, n_bytes);
    *bytes = out;
  });
}

runnel_status runnel_stream_resume(const runnel_model* model, const char* path,
                                   runnel_stream** stream) {
  return guarded([&] {
    want(model, "model");
    want(path, "path");
    want(stream, "stream");
    *stream = handle_of(model->model, model->model->resume(std::filesystem::path(path)));
  });
}

runnel_status runnel_stream_resume_memory(const runnel_model* model, const void* bytes,
                                          size_t n_bytes, runnel_stream** stream) {
  return guarded([&] {
    want(model, "model");
    want(bytes, "bytes");
    want(stream, "stream");
    const std::span<const std::byte> saved(static_cast<const std::byte*>(bytes), n_bytes);
    *stream = handle_of(model->model, model->model->resume(saved));
  });
}

}  // extern "C"
