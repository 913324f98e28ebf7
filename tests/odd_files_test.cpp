// Files that are whole as GGUF and odd as models: what cannot work is refused by name, what can
// works.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include "engine/snapshot.h"
#include "runnel/runnel.h"
#include "support/edited_model.h"
#include "support/error_text.h"
#include "support/temp_dir.h"

namespace runnel {
namespace {

class OddFile : public testing::Test {
 protected:
  std::filesystem::path write(const test::ModelEdit& edit, const std::string& name = "odd.gguf") {
    test::write_edited(folder_ / name, edit);
    return folder_ / name;
  }
  std::string load_error(const test::ModelEdit& edit) {
    return test::error_of([&] { Model::load(write(edit)); });
  }
  const test::TempDir folder_;
};

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

// Its embeddings have 64 rows more than the vocabulary has tokens.
test::ModelEdit with_padding() {
  return {.tensor = [](test::EditedTensor& t) {
    if (t.name != "token_embd.weight" && t.name != "output.weight") return true;
    const std::size_t row = t.data.size() / static_cast<std::size_t>(t.shape[1]);
    t.shape[1] += 64;
    std::vector<std::byte> more(t.data.begin() + static_cast<std::ptrdiff_t>(row * 400),
                                t.data.begin() + static_cast<std::ptrdiff_t>(row * 464));
    t.data.insert(t.data.end(), more.begin(), more.end());
    return true;
  }};
}

TEST_F(OddFile, RowsWithoutATokenAreNeverSampled) {
  const Model model = Model::load(write(with_padding()));
  EXPECT_EQ(model.vocabulary_size(), 4096 + 64);
  Stream stream =
      model.open({.sampling = {.temperature = 100, .top_k = 0, .top_p = 1, .min_p = 0}});
  stream.feed("Once");
  for (int i = 0; i < 600; ++i) ASSERT_LT(stream.next().token, 4096);
}

TEST_F(OddFile, ATokenWithoutARowIsRefused) {
  std::vector<std::string> pieces = test::bundled_strings("tokenizer.ggml.tokens");
  pieces.push_back("onemore");
  test::ModelEdit edit;
  edit.metadata["tokenizer.ggml.scores"] = std::vector<float>(pieces.size(), -1.0f);
  edit.metadata["tokenizer.ggml.token_type"] = std::vector<std::int32_t>(pieces.size(), 1);
  edit.metadata["tokenizer.ggml.tokens"] = std::move(pieces);
  expect_part(load_error(edit), "tokenizer.ggml.tokens: want at most 4096 tokens");
}

TEST_F(OddFile, MetadataThatIsNoNumberIsRefused) {
  const char* const kKey = "llama.attention.layer_norm_rms_epsilon";
  for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    test::ModelEdit edit;
    edit.metadata[kKey] = value;
    expect_part(load_error(edit), std::string(kKey) + ": want a finite number");
  }
}

TEST_F(OddFile, ANormThatIsNoNumberIsRefused) {
  const std::string text = load_error({.tensor = [](test::EditedTensor& t) {
    const float nan = std::nanf("");
    if (t.name == "output_norm.weight") std::memcpy(t.data.data() + 8, &nan, sizeof nan);
    return true;
  }});
  expect_part(text, "tensor output_norm.weight: want finite numbers, element 2 is nan");
}

// The scale of one block is infinite.
test::ModelEdit with_infinite_scale(const std::string& tensor) {
  return {.tensor = [tensor](test::EditedTensor& t) {
    const std::uint16_t infinity = 0x7c00;
    if (t.name == tensor) std::memcpy(t.data.data(), &infinity, sizeof infinity);
    return true;
  }};
}

TEST_F(OddFile, WeightsThatAreNoNumbersGiveNoResult) {
  for (const auto& [tensor, place] :
       {std::pair{"blk.7.ffn_down.weight", "logits"}, std::pair{"blk.3.attn_v.weight", "layer 3"},
        std::pair{"blk.0.attn_output.weight", "layer 0"},
        std::pair{"blk.2.ffn_up.weight", "layer 2"}, std::pair{"output.weight", "logits"}}) {
    bool has_tensor = false;
    test::ModelEdit edit = with_infinite_scale(tensor);
    const auto change = edit.tensor;
    edit.tensor = [&, change](test::EditedTensor& t) {
      has_tensor = has_tensor || t.name == tensor;
      return change(t);
    };
    const Model model = Model::load(write(edit));
    if (!has_tensor) continue;  // output.weight, where it is the embeddings
    for (const bool scores : {false, true}) {
      const std::string text = test::error_of([&] {
        Stream stream = model.open();
        const std::vector<Token> tokens = model.tokenize("Once upon a time there was a king");
        if (scores) {
          stream.score(tokens);
        } else {
          stream.feed(tokens);
          stream.next();
        }
      });
      expect_part(text, "want finite numbers");
      if (std::string(place) == "logits") continue;
      expect_part(text, place);
    }
  }
}

TEST_F(OddFile, AVocabularyAloneIsNamed) {
  const auto path = write({.tensor = [](test::EditedTensor&) { return false; }});
  expect_part(test::error_of([&] { Model::load(path); }), "a vocabulary only");
  EXPECT_GT(Model::load(path, {.vocabulary_only = true}).tokenize("Once").size(), 1U);
}

TEST_F(OddFile, AStreamBelongsToTheFileAsItWasLoaded) {
  const auto path = write({});
  test::ModelEdit other;
  other.metadata["general.name"] = std::string("novella-7X");
  const auto other_path = write(other, "other.gguf");
  const Model model = Model::load(path);
  Stream stream = model.open();
  stream.feed("Once");
  // Another model of the same size in the same place.
  ASSERT_EQ(std::filesystem::file_size(path), std::filesystem::file_size(other_path));
  {
    std::ifstream in(other_path, std::ios::binary);
    std::fstream out(path, std::ios::binary | std::ios::in | std::ios::out);
    out << in.rdbuf();
  }
  stream.save(folder_ / "state");
  const Model replaced = Model::load(other_path);
  expect_part(test::error_of([&] { replaced.resume(folder_ / "state"); }), "another model");
  EXPECT_EQ(model.resume(folder_ / "state").position(), stream.position());
}

// In `n` files, tensors dealt out in turn.
std::vector<std::filesystem::path> write_parts(const std::filesystem::path& folder, int n) {
  std::vector<std::filesystem::path> paths;
  const gguf::File whole = gguf::File::open(test::bundled_model());
  for (int part = 0; part < n; ++part) {
    test::ModelEdit edit;
    edit.metadata["split.no"] = static_cast<std::uint16_t>(part);
    edit.metadata["split.count"] = static_cast<std::uint16_t>(n);
    edit.metadata["split.tensors.count"] = static_cast<std::int32_t>(whole.tensors().size());
    int i = 0;
    edit.tensor = [&](test::EditedTensor&) { return i++ % n == part; };
    if (part > 0) {
      for (const auto& [key, value] : whole.metadata()) edit.dropped.insert(std::string(key));
    }
    const std::string number = "-0000" + std::to_string(part + 1) + "-of-0000" + std::to_string(n);
    paths.push_back(folder / ("model" + number + ".gguf"));
    test::write_edited(paths.back(), edit);
  }
  return paths;
}

TEST_F(OddFile, ASplitModelIsTheWholeOne) {
  const auto parts = write_parts(folder_.path(), 3);
  const auto logits = [](const Model& model) {
    Stream stream = model.open();
    stream.feed("Once upon a time");
    return std::vector<float>(stream.logits().begin(), stream.logits().end());
  };
  EXPECT_EQ(logits(Model::load(parts[0])), logits(Model::load(test::bundled_model())));
}

TEST_F(OddFile, PartsOfASplitModelAreNamed) {
  const auto parts = write_parts(folder_.path(), 2);
  const auto fault = [](const std::filesystem::path& path) {
    return test::error_of([&] { Model::load(path); });
  };
  expect_part(fault(parts[1]), "part 2 of 2 of a split model: open the first");
  std::filesystem::rename(parts[0], folder_ / "renamed.gguf");
  expect_part(fault(folder_ / "renamed.gguf"), "part 1 of 2 of a split model: want a name");
  std::filesystem::rename(folder_ / "renamed.gguf", parts[0]);
  std::filesystem::rename(parts[1], folder_ / "away");
  expect_part(fault(parts[0]), "model-00002-of-00002.gguf: cannot open");
  std::filesystem::copy(parts[0], parts[1]);
  expect_part(fault(parts[0]), "want part 2 of 2 of a split model, found part 1 of 2");
}

}  // namespace
}  // namespace runnel
