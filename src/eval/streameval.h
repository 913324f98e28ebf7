// StreamEval (the paper's section 4.4): a stream that gives facts line by line and asks, every few
// lines, for the fact of a line some way back. And questions from a file, answered one after
// another in one stream.
//
// The evaluator talks to an Answerer, of which a model's stream is one; a test can script another.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/progress.h"
#include "eval/section.h"
#include "runnel/runnel.h"

namespace runnel::eval {

// Who reads the stream and answers from what it still knows.
class Answerer {
 public:
  virtual ~Answerer() = default;
  virtual void read(std::string_view text) = 0;
  // How it is asked for a line's number; read like any other text.
  virtual std::string query(int line) const;
  // What it says next, up to the end of a line; it is read back as part of the stream.
  virtual std::string answer() = 0;
  // The index of the likeliest label; that label is read back. Labels are short: "A", "B".
  virtual std::size_t choose(std::span<const std::string> labels) = 0;
  virtual std::int64_t position() const = 0;  // tokens read
  virtual std::int64_t horizon() const = 0;   // the oldest position it still sees
};

// A model's stream; answers are greedy. Borrows the model.
std::unique_ptr<Answerer> make_answerer(const Model& model, const StreamOptions& options,
                                        int most_tokens = 24);
// The same as a dialogue by the model's own template: what was read since the last answer is one
// turn. Nothing is pinned, so that policies see the same tokens. Error: the model has no template.
std::unique_ptr<Answerer> make_chat_answerer(const Model& model, const StreamOptions& options,
                                             int most_tokens = 24);

struct StreamEvalOptions {
  int lines = 200;
  int every = 10;                     // lines between two questions
  std::vector<int> distances = {20};  // lines back, asked for in turn
  std::uint64_t seed = 0;             // the same seed gives the same lines
};

struct StreamEvalQuery {
  int line = 0;                      // after which it is asked
  int asked = 0;                     // the line asked for
  std::int64_t position = 0;         // tokens, where it is asked
  std::int64_t distance_tokens = 0;  // from there back to the end of the fact
  bool is_visible = false;           // whether the whole fact was within the horizon
  std::string want;
  std::string said;
  bool is_right = false;
};

// "The REGISTER_CONTENT in line 7 is <41235>\n", and its value.
std::string register_line(int line, int value);
std::vector<int> register_values(const StreamEvalOptions& options);

// Error: options that ask for no line, or for one before the first.
void check_streameval(const StreamEvalOptions& options);

// Stops when told to, with the queries so far. Error as check_streameval().
std::vector<StreamEvalQuery> run_streameval(Answerer& answerer, const StreamEvalOptions& options,
                                            const Progress& progress);

// Writes streameval.{csv,json,svg,png} and streameval-queries.csv (no files when folder is empty).
Section streameval_section(const Model& model, const StreamEvalOptions& options,
                           const StreamOptions& stream, const std::vector<StreamEvalQuery>& queries,
                           const std::filesystem::path& folder);

struct Question {
  std::string text;
  std::vector<std::string> choices;  // empty: a free answer
  std::string answer;                // of a choice: its label, "A"
};
struct Answered {
  std::int64_t position = 0;
  std::string want;
  std::string said;
  bool is_right = false;
};

// A JSON object a line: {"question": "...", "answer": "..."}, or with "choices": ["...", ...] and
// the answer the index of one, its letter or its text. An answer has a letter or a digit. Error
// names file and line.
std::vector<Question> read_questions(const std::filesystem::path& path);
std::vector<Answered> run_questions(Answerer& answerer, const std::vector<Question>& questions,
                                    const Progress& progress);
// Writes questions.{csv,json} and questions-answers.csv (no files when folder is empty).
Section questions_section(const Model& model, const StreamOptions& stream,
                          const std::vector<Question>& questions,
                          const std::vector<Answered>& answers,
                          const std::filesystem::path& folder);

// Whether two answers are the same but for case, spaces at the ends and punctuation.
bool is_same_answer(std::string_view a, std::string_view b);

}  // namespace runnel::eval
