#include "eval/streameval.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "base/json_depth.h"
#include "engine/internals.h"

namespace runnel::eval {
namespace {

class StreamAnswerer final : public Answerer {
 public:
  StreamAnswerer(const Model& model, const StreamOptions& options, int most_tokens)
      : model_(model), stream_(model.open(greedy(options))), most_tokens_(most_tokens) {}

  void read(std::string_view text) override { stream_.feed(text); }

  std::string answer() override {
    std::string text;
    for (int i = 0; i < most_tokens_; ++i) {
      const Stream::Step step = stream_.next();
      text += step.text;
      if (step.end_of_generation || text.find('\n') != std::string::npos) break;
    }
    return text.substr(0, text.find('\n'));
  }

  std::size_t choose(std::span<const std::string> labels) override {
    std::size_t best = 0;
    const std::span<const float> logits = stream_.logits();
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const auto at = [&](std::size_t label) {
        return logits[static_cast<std::size_t>(first_token(labels[label]))];
      };
      if (at(i) > at(best)) best = i;
    }
    stream_.feed(" " + labels[best]);
    return best;
  }

  std::int64_t position() const override { return stream_.position(); }
  std::int64_t horizon() const override { return stream_.horizon(); }

 private:
  static StreamOptions greedy(StreamOptions options) {
    options.sampling = {.temperature = 0};
    return options;
  }
  // The token of the label's letter as it would follow "Answer:".
  Token first_token(const std::string& label) const {
    const std::vector<Token> tokens = model_.internals().vocabulary().encode(
        " " + label, {.add_bos = false, .space_prefix = false});
    return tokens.back();
  }

  const Model& model_;
  Stream stream_;
  int most_tokens_;
};

// The number between the first < and >, or the first run of digits.
std::string value_in(std::string_view said) {
  const std::size_t first = said.find_first_of("0123456789");
  if (first == std::string_view::npos) return "";
  const std::size_t end = said.find_first_not_of("0123456789", first);
  return std::string(said.substr(first, end == std::string_view::npos ? end : end - first));
}

std::string normalized(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::ispunct(byte)) continue;
    const bool is_space = std::isspace(byte) != 0;
    if (is_space && (out.empty() || out.back() == ' ')) continue;
    out += is_space ? ' ' : static_cast<char>(std::tolower(byte));
  }
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

std::string label_of(std::size_t index) { return std::string(1, static_cast<char>('A' + index)); }

Question parse_question(const std::string& line, const std::string& where) {
  if (is_nested_deeper(line))
    throw Error(fmt::format("{}: want JSON of at most {} levels", where, kDeepestJson));
  const auto json = nlohmann::json::parse(line, nullptr, false);
  const bool has_question = json.is_object() && json.contains("question") &&
                            json["question"].is_string() && json.contains("answer");
  if (!has_question) {
    throw Error(where + ": want a JSON object with \"question\" and \"answer\", found " +
                line.substr(0, 60));
  }
  Question question = {.text = json["question"].get<std::string>()};
  const auto& answer = json["answer"];
  question.answer = answer.is_string() ? answer.get<std::string>() : answer.dump();
  if (!json.contains("choices")) {
    if (normalized(question.answer).empty())
      throw Error(fmt::format("{}: want an answer in words, found {}", where, answer.dump()));
    return question;
  }
  for (const auto& choice : json["choices"])
    question.choices.push_back(choice.is_string() ? choice.get<std::string>() : choice.dump());
  std::size_t index = question.choices.size();
  if (answer.is_number_integer() && answer >= 0) {
    index = answer.get<std::size_t>();
  } else {
    for (std::size_t i = 0; i < question.choices.size(); ++i) {
      if (question.answer == label_of(i) || question.answer == question.choices[i]) index = i;
    }
  }
  if (index >= question.choices.size() || index >= 26) {
    throw Error(fmt::format("{}: want an answer that is one of {} choices, found {}", where,
                            question.choices.size(), answer.dump()));
  }
  question.answer = label_of(index);
  return question;
}

std::string question_text(const Question& question) {
  std::string text = fmt::format("Question: {}\n", question.text);
  for (std::size_t i = 0; i < question.choices.size(); ++i)
    text += fmt::format("{}. {}\n", label_of(i), question.choices[i]);
  return text + "Answer:";
}

}  // namespace

std::string Answerer::query(int line) const {
  return fmt::format("Query: The REGISTER_CONTENT in line {} is", line);
}

std::unique_ptr<Answerer> make_answerer(const Model& model, const StreamOptions& options,
                                        int most_tokens) {
  return std::make_unique<StreamAnswerer>(model, options, most_tokens);
}

std::string register_line(int line, int value) {
  return fmt::format("The REGISTER_CONTENT in line {} is <{}>\n", line, value);
}

std::vector<int> register_values(const StreamEvalOptions& options) {
  std::mt19937_64 random(options.seed);
  std::vector<int> values(static_cast<std::size_t>(options.lines));
  // Not uniform_int_distribution, whose numbers differ from library to library.
  for (int& value : values) value = static_cast<int>(random() % 50000) + 1;
  return values;
}

void check_streameval(const StreamEvalOptions& options) {
  const bool asks = options.every >= 1 && options.lines > options.every &&
                    !options.distances.empty() &&
                    *std::min_element(options.distances.begin(), options.distances.end()) >= 0;
  if (!asks) throw Error("streameval: want lines, a distance and questions among them");
  const int furthest = *std::max_element(options.distances.begin(), options.distances.end());
  const int last = options.lines / options.every * options.every - 1;
  if (furthest > last) {
    throw Error(fmt::format(
        "streameval: want distances of at most {}, the line of the last question, found {}", last,
        furthest));
  }
}

std::vector<StreamEvalQuery> run_streameval(Answerer& answerer, const StreamEvalOptions& options,
                                            const Progress& progress) {
  check_streameval(options);
  const std::vector<int> values = register_values(options);
  struct Place {
    std::int64_t first, end;  // positions of the line's tokens
  };
  std::vector<Place> places;
  std::vector<StreamEvalQuery> queries;
  std::size_t turn = 0;
  answerer.read("Below is a record of lines I want you to remember.\n");
  for (int line = 0; line < options.lines; ++line) {
    if (!goes_on(progress, line / static_cast<double>(options.lines))) break;
    const std::int64_t before = answerer.position();
    answerer.read(register_line(line, values[static_cast<std::size_t>(line)]));
    places.push_back({before, answerer.position()});
    if ((line + 1) % options.every != 0) continue;
    const int asked = line - options.distances[turn % options.distances.size()];
    if (asked < 0) continue;
    ++turn;
    answerer.read(answerer.query(asked));
    const Place& place = places[static_cast<std::size_t>(asked)];
    StreamEvalQuery query = {
        .line = line,
        .asked = asked,
        .position = answerer.position(),
        .distance_tokens = answerer.position() - place.end,
        .is_visible = place.first >= answerer.horizon(),
        .want = fmt::format("{}", values[static_cast<std::size_t>(asked)]),
    };
    query.said = answerer.answer();
    query.is_right = value_in(query.said) == query.want;
    answerer.read("\n");
    queries.push_back(std::move(query));
  }
  return queries;
}

std::vector<Question> read_questions(const std::filesystem::path& path) {
  std::istringstream lines(read_file(path));
  std::vector<Question> questions;
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    questions.push_back(parse_question(line, fmt::format("{}:{}", path.string(), number)));
  }
  return questions;
}

std::vector<Answered> run_questions(Answerer& answerer, const std::vector<Question>& questions,
                                    const Progress& progress) {
  std::vector<Answered> answers;
  for (const Question& question : questions) {
    const double share =
        static_cast<double>(answers.size()) / static_cast<double>(questions.size());
    if (!goes_on(progress, share)) break;
    answerer.read(question_text(question));
    Answered answered = {.position = answerer.position(), .want = question.answer};
    if (question.choices.empty()) {
      answered.said = answerer.answer();
    } else {
      std::vector<std::string> labels;
      for (std::size_t i = 0; i < question.choices.size(); ++i) labels.push_back(label_of(i));
      answered.said = labels[answerer.choose(labels)];
    }
    answered.is_right = is_same_answer(answered.said, answered.want);
    answerer.read("\n\n");
    answers.push_back(std::move(answered));
  }
  return answers;
}

bool is_same_answer(std::string_view a, std::string_view b) {
  return normalized(a) == normalized(b);
}

}  // namespace runnel::eval
