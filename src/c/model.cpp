#include "c/handles.h"

namespace runnel::c {
namespace {

runnel_model* handle_of(Model model) {
  return new runnel_model{std::make_shared<const SharedModel>(std::move(model))};
}

}  // namespace

const Constraints& SharedModel::constraints() const {
  std::call_once(once_, [this] { constraints_.emplace(*this); });
  return *constraints_;
}

}  // namespace runnel::c

using namespace runnel::c;

extern "C" {

runnel_status runnel_model_load(const char* path, const runnel_model_options* options,
                                runnel_model** model) {
  return guarded([&] {
    want(path, "path");
    want(model, "model");
    *model = handle_of(runnel::Model::load(path, model_options(options)));
  });
}

runnel_status runnel_model_load_memory(const void* bytes, size_t n_bytes, const char* name,
                                       const runnel_model_options* options, runnel_model** model) {
  return guarded([&] {
    want(bytes, "bytes");
    want(name, "name");
    want(model, "model");
    const std::span<const std::byte> file(static_cast<const std::byte*>(bytes), n_bytes);
    *model = handle_of(runnel::Model::load(file, name, model_options(options)));
  });
}

void runnel_model_close(runnel_model* model) { delete model; }

runnel_status runnel_model_get_info(const runnel_model* model, runnel_model_info* info) {
  return guarded([&] {
    want(model, "model");
    want(info, "info");
    check_size(info->size, info->size, info, "runnel_model_info");
    const SharedModel& m = *model->model;
    const runnel::Model::DeviceUse device = m.device();
    const runnel_model_info found = {.size = info->size,
                                     .name = m.name().c_str(),
                                     .architecture = m.architecture().c_str(),
                                     .instruction_set = m.instruction_set(),
                                     .vocabulary_size = m.vocabulary_size(),
                                     .trained_context = m.trained_context(),
                                     .layers = m.layers(),
                                     .threads = m.threads(),
                                     .bos = m.bos().value_or(-1),
                                     .eos = m.eos().value_or(-1),
                                     .weight_bytes = m.weight_bytes(),
                                     .device = m.device_name().c_str(),
                                     .device_layers = device.layers,
                                     .device_bytes = device.memory_bytes,
                                     .device_launches = device.launches,
                                     .device_seconds = device.seconds};
    write_struct(found, info, info->size);
  });
}

runnel_status runnel_tokenize(const runnel_model* model, const char* text, size_t n_bytes,
                              int32_t flags, runnel_token** tokens, size_t* n_tokens) {
  return guarded([&] {
    want(model, "model");
    want(tokens, "tokens");
    want(n_tokens, "n_tokens");
    const std::vector<runnel::Token> found =
        model->model->tokenize(text_of(text, n_bytes, "text"), (flags & RUNNEL_ADD_BOS) != 0,
                               (flags & RUNNEL_PARSE_SPECIAL) != 0);
    give(std::span(found), tokens, n_tokens);
  });
}

runnel_status runnel_detokenize(const runnel_model* model, const runnel_token* tokens,
                                size_t n_tokens, char** text, size_t* n_bytes) {
  return guarded([&] {
    want(model, "model");
    want(text, "text");
    give_text(model->model->detokenize(tokens_of(tokens, n_tokens)), text, n_bytes);
  });
}

runnel_status runnel_token_text(const runnel_model* model, runnel_token token, char** text,
                                size_t* n_bytes) {
  return guarded([&] {
    want(model, "model");
    want(text, "text");
    give_text(model->model->token_text(token), text, n_bytes);
  });
}

int32_t runnel_is_end_of_generation(const runnel_model* model, runnel_token token) {
  int32_t found = 0;
  guarded([&] {
    want(model, "model");
    found = model->model->is_end_of_generation(token) ? 1 : 0;
  });
  return found;
}

}  // extern "C"
