// The module runnel._engine: models and options.
#include "binding.h"
#include "engine/internals.h"

namespace runnel::python {

bool Reporter::operator()(std::int64_t done) noexcept {
  const nb::gil_scoped_acquire locked;
  try {
    if (!told_.is_none()) told_(done);
  } catch (nb::python_error& error) {
    error.restore();
    raised_ = true;
    return false;
  }
  raised_ = PyErr_CheckSignals() != 0;
  return !raised_;
}

namespace {

std::unique_ptr<PyModel> load(const std::string& path, int threads, bool vocabulary_only,
                              const std::string& device, std::optional<int> device_layers,
                              std::uint64_t device_memory, bool exact,
                              const std::string& packed_cache, const nb::object& progress) {
  Reporter report(progress);
  ModelOptions options = {.threads = threads,
                          .vocabulary_only = vocabulary_only,
                          .device = device,
                          .device_layers = device_layers,
                          .device_memory = device_memory,
                          .exact = exact,
                          .packed_cache = packed_cache};
  options.progress = [&](std::size_t done, std::size_t all) {
    return report(static_cast<std::int64_t>(done * 1000 / std::max<std::size_t>(all, 1)));
  };
  std::unique_ptr<PyModel> model;
  try {
    const nb::gil_scoped_release unlocked;
    model = std::make_unique<PyModel>(Model::load(path, options));
  } catch (const Error&) {
    report.finish();
    throw;
  }
  return model;
}

nb::dict device_of(const PyModel& self) {
  const Model::DeviceUse use = self.model.device();
  nb::dict found;
  found["name"] = text_of(use.name);
  found["layers"] = use.layers;
  found["memory_bytes"] = use.memory_bytes;
  found["launches"] = use.launches;
  found["seconds"] = use.seconds;
  return found;
}

nb::list list_devices() {
  nb::list found;
  for (const DeviceInfo& device : devices()) {
    nb::dict row;
    row["id"] = device.id;
    row["name"] = text_of(device.name);
    row["driver"] = text_of(device.driver);
    row["is_gpu"] = device.is_gpu;
    row["memory_bytes"] = device.memory_bytes;
    found.append(row);
  }
  return found;
}

nb::bytes bytes_of(std::string_view text) { return nb::bytes(text.data(), text.size()); }

// `continues`: the text stands behind other text, so nothing is put before it.
std::vector<Token> tokenize(const PyModel& self, const std::string& text, bool add_bos,
                            bool parse_special, bool continues) {
  const nb::gil_scoped_release unlocked;
  return self.model.internals().vocabulary().encode(text, {.add_bos = add_bos && !continues,
                                                           .parse_special = parse_special,
                                                           .space_prefix = !continues});
}

void bind_model(nb::module_& m) {
  nb::class_<PyModel>(m, "Model")
      .def(nb::new_(&load), nb::arg("path"), nb::arg("threads") = 0,
           nb::arg("vocabulary_only") = false, nb::arg("device") = "cpu",
           nb::arg("device_layers") = nb::none(), nb::arg("device_memory") = 0,
           nb::arg("exact") = false, nb::arg("packed_cache") = "", nb::arg("progress") = nb::none())
      .def("tokenize", &tokenize, nb::arg("text"), nb::arg("add_bos") = true,
           nb::arg("parse_special") = false, nb::arg("continues") = false)
      .def("detokenize",
           [](const PyModel& self, const std::vector<Token>& tokens) {
             return bytes_of(self.model.detokenize(tokens));
           })
      .def("token_bytes",
           [](const PyModel& self, Token token) { return bytes_of(self.model.token_text(token)); })
      .def("is_end_of_generation",
           [](const PyModel& self, Token token) { return self.model.is_end_of_generation(token); })
      .def("stream_bytes",
           [](const PyModel& self, const StreamOptions& o) { return self.model.stream_bytes(o); })
      .def_prop_ro("name", [](const PyModel& self) { return text_of(self.model.name()); })
      .def_prop_ro("architecture", [](const PyModel& self) { return self.model.architecture(); })
      .def_prop_ro("vocabulary_size",
                   [](const PyModel& self) { return self.model.vocabulary_size(); })
      .def_prop_ro("trained_context",
                   [](const PyModel& self) { return self.model.trained_context(); })
      .def_prop_ro("layers", [](const PyModel& self) { return self.model.layers(); })
      .def_prop_ro("threads", [](const PyModel& self) { return self.model.threads(); })
      .def_prop_ro("weight_bytes", [](const PyModel& self) { return self.model.weight_bytes(); })
      .def_prop_ro("instruction_set",
                   [](const PyModel& self) { return std::string(self.model.instruction_set()); })
      .def_prop_ro("device", &device_of)
      .def_prop_ro("bos", [](const PyModel& self) { return self.model.bos(); })
      .def_prop_ro("eos", [](const PyModel& self) { return self.model.eos(); });
}

void bind_options(nb::module_& m) {
  nb::enum_<Policy>(m, "Policy")
      .value("dense", Policy::kDense)
      .value("window", Policy::kWindow)
      .value("sink", Policy::kSink)
      .value("recompute", Policy::kRecompute);
  nb::enum_<KvType>(m, "KvType")
      .value("f32", KvType::kF32)
      .value("f16", KvType::kF16)
      .value("bf16", KvType::kBF16)
      .value("q8_0", KvType::kQ8_0)
      .value("q4_0", KvType::kQ4_0);
  nb::enum_<Softmax>(m, "Softmax")
      .value("standard", Softmax::kStandard)
      .value("off_by_one", Softmax::kOffByOne);
  nb::class_<SamplingOptions>(m, "SamplingOptions")
      .def(nb::init<>())
      .def_rw("temperature", &SamplingOptions::temperature)
      .def_rw("top_k", &SamplingOptions::top_k)
      .def_rw("top_p", &SamplingOptions::top_p)
      .def_rw("min_p", &SamplingOptions::min_p)
      .def_rw("repetition_penalty", &SamplingOptions::repetition_penalty)
      .def_rw("frequency_penalty", &SamplingOptions::frequency_penalty)
      .def_rw("presence_penalty", &SamplingOptions::presence_penalty)
      .def_rw("seed", &SamplingOptions::seed);
  m.def("parse_layer_windows", [](const std::string& text) { return parse_layer_windows(text); });
  nb::class_<StreamOptions>(m, "StreamOptions")
      .def(nb::init<>())
      .def_rw("policy", &StreamOptions::policy)
      .def_rw("sinks", &StreamOptions::sinks)
      .def_rw("window", &StreamOptions::window)
      .def_rw("layer_windows", &StreamOptions::layer_windows)
      .def_rw("kv", &StreamOptions::kv_type)
      .def_rw("kv_rotate", &StreamOptions::kv_rotate)
      .def_rw("softmax", &StreamOptions::softmax)
      .def_rw("chunk", &StreamOptions::chunk)
      .def_rw("pin", &StreamOptions::pin)
      .def_rw("pin_tokens", &StreamOptions::pin_tokens)
      .def_rw("draft", &StreamOptions::draft)
      .def_rw("sampling", &StreamOptions::sampling)
      .def_rw("start_position", &StreamOptions::start_position);
}

// Of the package's own classes, which __init__.py hands over: those for the outside world's errors.
void bind_errors(nb::module_& m) {
  static PyObject* error = nullptr;  // kept for as long as the process lives
  static PyObject* file_error = nullptr;
  m.def("set_errors", [](nb::object plain, nb::object file) {
    error = plain.release().ptr();
    file_error = file.release().ptr();
  });
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const FileError& e) {
      nb::object arguments = nb::make_tuple(e.code(), text_of(e.what()));
      PyErr_SetObject(file_error, arguments.ptr());
    } catch (const Error& e) {
      PyErr_SetObject(error, text_of(e.what()).ptr());
    }
  });
}

}  // namespace

NB_MODULE(_engine, m) {
  bind_errors(m);
  bind_options(m);
  bind_model(m);
  m.def("devices", &list_devices);
  bind_streams(m);
  bind_study(m);
  bind_chat(m);
}

}  // namespace runnel::python
