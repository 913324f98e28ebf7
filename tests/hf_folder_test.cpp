// Folders of transformers (tests/python/hf_models.py made them): tiny random models, with the
// logits and the tokens that transformers gives.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runnel/chat.h"
#include "runnel/runnel.h"
#include "support/decoder_fixture.h"
#include "support/error_text.h"
#include "support/parameters.h"
#include "support/paths.h"
#include "support/temp_dir.h"

namespace runnel {
namespace {

namespace fs = std::filesystem;

const std::vector<Token> kTokens = {1, 7, 300, 42, 42, 5, 199, 260, 33, 8, 77, 140};

fs::path folder_of(const std::string& name) { return test::fixture("hf/" + name); }

class HfFolder : public testing::TestWithParam<const char*> {};

TEST_P(HfFolder, GivesTheLogitsOfTransformers) {
  const Model model = Model::load(folder_of(GetParam()), {.threads = 1});
  const std::vector<float> want = test::read_floats(folder_of(GetParam()) / "logits.f32");
  ASSERT_EQ(want.size(), kTokens.size() * static_cast<std::size_t>(model.vocabulary_size()));
  const float largest = std::abs(*std::max_element(
      want.begin(), want.end(), [](float a, float b) { return std::abs(a) < std::abs(b); }));
  Stream stream = model.open({.policy = Policy::kDense, .kv_type = KvType::kF32});
  float worst = 0;
  for (std::size_t i = 0; i < kTokens.size(); ++i) {
    stream.feed({{kTokens[i]}});
    for (std::size_t t = 0; t < stream.logits().size(); ++t)
      worst = std::max(worst, std::abs(stream.logits()[t] - want[i * stream.logits().size() + t]));
  }
  // 16-bit weights are multiplied in float there; here their products may take inputs of 16 bits.
  EXPECT_LT(worst / largest, 0.02) << "largest " << largest;
}

INSTANTIATE_TEST_SUITE_P(EveryKind, HfFolder,
                         testing::Values("llama", "qwen2", "qwen2-local", "qwen3", "gemma",
                                         "gemma2", "gemma3", "gptneox", "gptneox-serial", "falcon",
                                         "mpt"),
                         test::ByParameter());

TEST(HfTokenizer, GivesTheTokensOfTokenizers) {
  for (const char* name : {"llama", "qwen2"}) {
    const Model model = Model::load(folder_of(name), {.vocabulary_only = true});
    std::ifstream in(folder_of(name) / "tokens.json");
    for (const nlohmann::json& entry : nlohmann::json::parse(in)) {
      const auto text = entry.at("text").get<std::string>();
      EXPECT_EQ(model.tokenize(text, false), entry.at("ids").get<std::vector<Token>>())
          << name << ": " << text;
    }
  }
}

// A copy of the folder of "llama", with files that are other than there.
class ChangedFolder : public testing::Test {
 protected:
  ChangedFolder() {
    for (const auto& file : fs::directory_iterator(folder_of("llama")))
      fs::copy(file, folder_ / file.path().filename().string());
  }
  std::string error() {
    return test::error_of([&] { Model::load(path()); });
  }
  fs::path path() { return (folder_ / "config.json").parent_path(); }
  void replace(const char* file, const std::string& from, const std::string& to) {
    std::ifstream in(folder_ / file, std::ios::binary);
    std::string text(std::istreambuf_iterator<char>(in), {});
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    std::ofstream(folder_ / file, std::ios::binary) << text;
  }
  test::TempDir folder_;
};

TEST_F(ChangedFolder, BringsItsChatTemplatesInAnyOfThreePlaces) {
  const auto said = [&](const char* name) {
    const Model model = Model::load(path());
    return ChatTemplate::of(model, name).text({{{.role = "user", .content = "Hi"}}}).at(0).text;
  };
  const std::string end = "\"eos_token\"";
  replace("tokenizer_config.json", end, "\"chat_template\": \"one\", " + end);
  EXPECT_EQ(said(""), "one");
  replace("tokenizer_config.json", "\"one\"",
          R"([{"name": "default", "template": "two"}, {"name": "tool_use", "template": "tools"}])");
  EXPECT_EQ(said(""), "two");
  EXPECT_EQ(said("tool_use"), "tools");
  std::ofstream(folder_ / "chat_template.jinja") << "three";
  EXPECT_EQ(said(""), "three");
}

TEST_F(ChangedFolder, IsReadAsFalconsTokenizerSplits) {
  const auto tokens = [&] { return Model::load(path()).tokenize("12345", false).size(); };
  replace("tokenizer.json", "\"individual_digits\": true", "\"individual_digits\": false");
  EXPECT_NE(error().find("pre-tokenizer is not known"), std::string::npos) << error();
  replace("tokenizer.json", "\"pretokenizers\": [",
          "\"pretokenizers\": [{\"type\": \"Punctuation\", \"behavior\": \"Contiguous\"},");
  EXPECT_EQ(error(), "no error");
  EXPECT_GT(tokens(), 0u);
}

// As the library tokenizers encodes them with the normalizer "Prepend", and with Metaspace.
TEST(HfTokenizer, PutsASpaceBeforeATextAsTheFolderSays) {
  const test::TempDir folder;
  for (const char* file : {"config.json", "model.safetensors", "tokenizer_config.json"})
    fs::copy(folder_of("qwen2") / file, folder / file);
  std::ifstream in(folder_of("qwen2") / "tokenizer.json");
  nlohmann::json json = nlohmann::json::parse(in);
  const auto tokens = [&](const char* text) {
    std::ofstream(folder / "tokenizer.json") << json.dump();
    const Model model =
        Model::load((folder / "config.json").parent_path(), {.vocabulary_only = true});
    return model.tokenize(text, false, true);
  };
  const std::vector<Token> word = tokens("it");
  EXPECT_NE(tokens(" it"), word);
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", false}};
  EXPECT_EQ(tokens("it"), word);
  EXPECT_EQ(tokens(" it"), word);
  json["pre_tokenizer"]["prepend_scheme"] = "never";
  EXPECT_EQ(tokens(" it"), word);
  EXPECT_NE(tokens("it"), word);
}

TEST_F(ChangedFolder, IsRefusedWithWhatIsWrong) {
  EXPECT_EQ(error(), "no error");
  replace("config.json", "\"model_type\": \"llama\"", "\"model_type\": \"oracle\"");
  EXPECT_NE(error().find("model_type: want one of llama, mistral"), std::string::npos) << error();
  replace("config.json", "oracle", "llama");
  replace("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
  EXPECT_NE(error().find("model.layers.2.input_layernorm.weight is not there"), std::string::npos)
      << error();
  replace("config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 1");
  EXPECT_NE(error().find("nobody asked for it"), std::string::npos) << error();
  replace("config.json", "\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2");
  replace("config.json", "\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"");
  EXPECT_NE(error().find("hidden_act: want silu, found 'relu'"), std::string::npos) << error();
  replace("config.json", "relu", "silu");
  replace("model.safetensors", "\"BF16\"", "\"F8_X\"");
  EXPECT_NE(error().find("want F32, F16 or BF16"), std::string::npos) << error();
  fs::remove(folder_ / "config.json");
  EXPECT_NE(error().find("config.json: cannot open"), std::string::npos) << error();
}

TEST_F(ChangedFolder, WhoseSettingsAreNestedDeeplyEndsInAnError) {
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  std::ofstream(folder_ / "config.json") << "{\"model_type\": " << deep << "}";
  EXPECT_NE(error().find("config.json: want JSON of at most"), std::string::npos) << error();
}

TEST_F(ChangedFolder, OfAnyByteEndsInAnErrorOrAModel) {
  std::string bytes;
  {
    std::ifstream in(folder_ / "model.safetensors", std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  const auto load = [&](const std::string& content) {
    std::ofstream(folder_ / "model.safetensors", std::ios::binary) << content;
    try {
      Model::load(path());
    } catch (const Error&) {
    }
  };
  for (std::size_t at = 0; at < 2400; at += 97) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 5);
    load(damaged);
    load(bytes.substr(0, at));
  }
}

}  // namespace
}  // namespace runnel
