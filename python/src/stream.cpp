// Streams: every long call runs without the interpreter's lock.
#include "binding.h"

namespace runnel::python {
namespace {

using Tokens = std::vector<Token>;

std::unique_ptr<PyStream> open(const PyModel& model, const StreamOptions& options) {
  const nb::gil_scoped_release unlocked;
  return std::make_unique<PyStream>(model.model.open(options));
}

std::unique_ptr<PyStream> resume_file(const PyModel& model, const std::string& path) {
  const nb::gil_scoped_release unlocked;
  return std::make_unique<PyStream>(model.model.resume(std::filesystem::path(path)));
}

std::unique_ptr<PyStream> resume_bytes(const PyModel& model, const nb::bytes& saved) {
  const auto* data = static_cast<const std::byte*>(saved.data());
  const std::size_t n = saved.size();
  const nb::gil_scoped_release unlocked;
  return std::make_unique<PyStream>(model.model.resume(std::span(data, n)));
}

// `action` with the stream to itself and the interpreter's lock given away.
template <typename Action>
auto alone(PyStream& self, Action action) {
  const auto lock = self.lock();
  const nb::gil_scoped_release unlocked;
  return action(self.use());
}

std::int64_t feed(PyStream& self, const Tokens& tokens, const nb::object& progress) {
  Reporter report(progress);
  const std::int64_t n =
      alone(self, [&](Stream& stream) { return stream.feed(tokens, std::ref(report)); });
  report.finish();
  return n;
}

nb::ndarray<nb::numpy, float> score(PyStream& self, const Tokens& tokens,
                                    const nb::object& progress) {
  Reporter report(progress);
  std::vector<float> nll =
      alone(self, [&](Stream& stream) { return stream.score(tokens, std::ref(report)); });
  report.finish();
  const std::size_t n = nll.size();
  return array_of(std::move(nll), n);
}

std::vector<Stream::Step> next_of_many(const std::vector<PyStream*>& streams) {
  std::vector<std::unique_lock<std::mutex>> locks;
  std::vector<Stream*> all;
  for (PyStream* stream : streams) {
    if (std::count(streams.begin(), streams.end(), stream) > 1)
      throw Error("streams: want each once, found one twice");
    locks.push_back(stream->lock());
    all.push_back(&stream->use());
  }
  const nb::gil_scoped_release unlocked;
  return Stream::next(all);
}

// Written in place by each step, so a view stays good for as long as its stream.
auto logits(const nb::object& self) {
  const std::span<const float> found = nb::cast<PyStream&>(self).use().logits();
  return nb::ndarray<nb::numpy, const float, nb::ndim<1>>(found.data(), {found.size()}, self);
}

// The same for whoever takes DLPack, which knows no read-only arrays.
auto logits_for_dlpack(const nb::object& self) {
  const std::span<const float> found = nb::cast<PyStream&>(self).use().logits();
  return nb::ndarray<float, nb::ndim<1>, nb::device::cpu>(const_cast<float*>(found.data()),
                                                          {found.size()}, self);
}

std::unique_ptr<PyStream> fork(const PyModel&, PyStream& self) {
  return alone(self, [](Stream& s) { return std::make_unique<PyStream>(s.fork()); });
}

// An empty schema: anything.
void set_json_schema(const PyModel& model, PyStream& self, const std::string& schema) {
  alone(self, [&](Stream& stream) {
    stream.set_constraint(schema.empty() ? nullptr : model.constraints().json_schema(schema));
  });
}

nb::bytes save_bytes(PyStream& self) {
  const std::vector<std::byte> saved =
      alone(self, [](Stream& stream) { return stream.save_bytes(); });
  return nb::bytes(saved.data(), saved.size());
}

void bind_step(nb::module_& m) {
  nb::class_<Stream::Step>(m, "Step", "One token that a stream wrote.")
      .def_ro("token", &Stream::Step::token, "Its number in the vocabulary.")
      .def_prop_ro(
          "text", [](const Stream::Step& step) { return text_of(step.text); },
          "What became complete with it: never half a UTF-8 character.")
      .def_prop_ro(
          "bytes",
          [](const Stream::Step& step) { return nb::bytes(step.text.data(), step.text.size()); },
          "The same, not decoded.")
      .def_ro("logprob", &Stream::Step::log_probability,
              "Natural log probability under the model's own distribution, before sampling options.")
      .def_ro("end_of_generation", &Stream::Step::end_of_generation,
              "The model says that it has finished; the stream may go on all the same.")
      .def("__repr__", [](const Stream::Step& step) {
        return nb::str("Step(token={}, text={!r}, logprob={:.4f})")
            .format(step.token, text_of(step.text), step.log_probability);
      });
}

template <typename Class>
void bind_facts(Class& stream) {
  stream.def_prop_ro("position", [](PyStream& self) { return self.use().position(); })
      .def_prop_ro("evicted", [](PyStream& self) { return self.use().evicted(); })
      .def_prop_ro("horizon", [](PyStream& self) { return self.use().horizon(); })
      .def_prop_ro("nbytes", [](PyStream& self) { return self.use().bytes(); })
      .def_prop_ro("guessed", [](PyStream& self) { return self.use().guessed(); })
      .def_prop_ro("guessed_right", [](PyStream& self) { return self.use().guessed_right(); })
      .def_prop_ro("options", [](PyStream& self) { return self.use().options(); })
      .def_prop_ro("visible_tokens", [](PyStream& self) { return self.use().visible_tokens(); })
      .def_prop_ro("logits", &logits)
      .def("logits_for_dlpack", &logits_for_dlpack);
}

}  // namespace

void bind_streams(nb::module_& m) {
  bind_step(m);
  nb::class_<PyStream> stream(m, "Stream");
  bind_facts(stream);
  stream.def("tokenize", [](PyStream& self, const std::string& text) {
    return alone(self, [&](Stream& s) { return s.tokenize(text); });
  });
  stream.def("feed", &feed, nb::arg("tokens"), nb::arg("progress") = nb::none())
      .def("score", &score, nb::arg("tokens"), nb::arg("progress") = nb::none())
      .def("next", [](PyStream& self) { return alone(self, [](Stream& s) { return s.next(); }); })
      .def("push",
           [](PyStream& self, Token token) {
             return alone(self, [&](Stream& s) { return s.push(token); });
           })
      .def("top_logprobs",
           [](PyStream& self, int n) {
             return alone(self, [&](Stream& s) { return s.top_logprobs(n); });
           })
      .def("flush_text",
           [](PyStream& self) {
             return text_of(alone(self, [](Stream& s) { return s.flush_text(); }));
           })
      .def("set_sampling",
           [](PyStream& self, const SamplingOptions& sampling) {
             alone(self, [&](Stream& s) { s.set_sampling(sampling); });
           })
      .def("save_file",
           [](PyStream& self, const std::string& path) {
             alone(self, [&](Stream& s) { s.save(std::filesystem::path(path)); });
           })
      .def("save_bytes", &save_bytes);
  m.def("open", &open, nb::keep_alive<0, 1>());
  m.def("resume_file", &resume_file, nb::keep_alive<0, 1>());
  m.def("resume_bytes", &resume_bytes, nb::keep_alive<0, 1>());
  m.def("fork", &fork, nb::keep_alive<0, 1>());
  m.def("set_json_schema", &set_json_schema);
  m.def("next", &next_of_many);
}

}  // namespace runnel::python
