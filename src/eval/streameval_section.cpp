#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/option_names.h"
#include "eval/experiment.h"
#include "eval/plot.h"
#include "eval/streameval.h"

namespace runnel::eval {
namespace {

struct Score {
  std::int64_t n = 0;
  std::int64_t n_right = 0;

  void add(bool is_right) { ++n, n_right += is_right ? 1 : 0; }
  double per_cent() const {
    return n == 0 ? 0 : 100 * static_cast<double>(n_right) / static_cast<double>(n);
  }
  // Standard error of the share.
  double error() const {
    const double p = per_cent() / 100;
    return n == 0 ? 0 : 100 * std::sqrt(p * (1 - p) / static_cast<double>(n));
  }
};

constexpr int kParts = 8;  // of the stream, in the picture

// Which eighth of the stream a position lies in.
std::size_t part_of_stream(std::int64_t position, std::int64_t last) {
  return static_cast<std::size_t>(
      std::min<std::int64_t>(position * kParts / (last + 1), kParts - 1));
}

Plot accuracy_plot(const std::string& name, const std::vector<Score>& parts, std::int64_t last) {
  Plot plot = {.name = name, .height = 360};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].n == 0) continue;
    const double centre = (static_cast<double>(i) + 0.5) * static_cast<double>(last) / kParts;
    plot.data +=
        fmt::format("{:.6g} {:.4g} {:.4g}\n", centre, parts[i].per_cent(), parts[i].error());
  }
  plot.script = fmt::format(
      "unset key\nset yrange [-3:103]\nset xrange [0:{}]\nset format x '%.0s%c'\n"
      "set xlabel 'position in the stream (tokens)'\nset ylabel 'right answers, %'\n"
      "plot '{}.dat' using 1:2:3 with yerrorlines lw 2 pt 7 lc rgb '{}'\n",
      last, name, colour::kBlue);
  return plot;
}

std::string queries_csv(const std::vector<StreamEvalQuery>& queries) {
  Table table = {.columns = {{"line", ""},
                             {"asked", ""},
                             {"position", ""},
                             {"distance_tokens", ""},
                             {"visible", ""},
                             {"want", ""},
                             {"said", ""},
                             {"right", ""}}};
  for (const StreamEvalQuery& q : queries) {
    table.rows.push_back({std::int64_t{q.line}, std::int64_t{q.asked}, q.position,
                          q.distance_tokens, std::int64_t{q.is_visible}, q.want, q.said,
                          std::int64_t{q.is_right}});
  }
  return table_csv(table);
}

std::string policy_text(const Model& model, const StreamOptions& stream) {
  const StreamOptions resolved = model.resolve(stream);
  if (resolved.policy == Policy::kDense) return "dense";
  return fmt::format("{}, {} sinks, window {}", policy_name(resolved.policy), resolved.sinks,
                     *resolved.window);
}

}  // namespace

Section streameval_section(const Model& model, const StreamEvalOptions& options,
                           const StreamOptions& stream, const std::vector<StreamEvalQuery>& queries,
                           const std::filesystem::path& folder) {
  struct Distance {
    Score all, visible, hidden;
    double tokens = 0;
  };
  std::map<int, Distance> distances;
  Score visible;
  Score hidden;
  const std::int64_t last = queries.empty() ? 1 : queries.back().position;
  std::vector<Score> parts(kParts);
  for (const StreamEvalQuery& query : queries) {
    Distance& distance = distances[query.line - query.asked];
    distance.all.add(query.is_right);
    (query.is_visible ? distance.visible : distance.hidden).add(query.is_right);
    (query.is_visible ? visible : hidden).add(query.is_right);
    distance.tokens += static_cast<double>(query.distance_tokens);
    parts[part_of_stream(query.position, last)].add(query.is_right);
  }
  Section section = {.name = "streameval",
                     .title = "StreamEval",
                     .about = fmt::format("{} lines, each with a number; every {} lines the number "
                                          "of an earlier line is asked for. "
                                          "Exact match, greedy answers, one stream ({}).",
                                          options.lines, options.every, policy_text(model, stream)),
                     .settings = model_settings(model)};
  section.settings.emplace_back("seed", static_cast<std::int64_t>(options.seed));
  section.settings.emplace_back("policy", policy_text(model, stream));
  section.table.columns = {{"distance_lines", "lines back"},
                           {"distance_tokens", "tokens back", 0},
                           {"queries", "queries"},
                           {"accuracy", "right, %", 1},
                           {"accuracy_error", "±", 1},
                           {"visible_queries", "still in view"},
                           {"visible_accuracy", "of those right, %", 1}};
  for (const auto& [lines, d] : distances) {
    section.table.rows.push_back({std::int64_t{lines}, d.tokens / static_cast<double>(d.all.n),
                                  d.all.n, d.all.per_cent(), d.all.error(), d.visible.n,
                                  d.visible.n > 0 ? Cell(d.visible.per_cent()) : Cell("-")});
  }
  if (visible.n > 0)
    section.verdict += fmt::format(
        "Of {} questions about lines still in view {:.0f} % were answered "
        "right. ",
        visible.n, visible.per_cent());
  if (hidden.n > 0)
    section.verdict +=
        fmt::format("Of {} about lines already forgotten {:.0f} %. ", hidden.n, hidden.per_cent());
  if (visible.n > 0 && visible.n_right == 0)
    section.verdict += "This model cannot do the task at all, whatever the cache.";
  while (section.verdict.ends_with(' ')) section.verdict.pop_back();
  if (folder.empty()) return section;
  make_folder(folder);
  if (visible.n_right + hidden.n_right > 0)
    add_picture(section, accuracy_plot("streameval", parts, last),
                "Right answers along the stream, with their standard error.", folder);
  write_file(folder / "streameval-queries.csv", queries_csv(queries));
  write_section(section, folder);
  return section;
}

Section questions_section(const Model& model, const StreamOptions& stream,
                          const std::vector<Question>& questions,
                          const std::vector<Answered>& answers,
                          const std::filesystem::path& folder) {
  Section section = {
      .name = "questions",
      .title = "Questions in one stream",
      .about = fmt::format("Questions answered one after another in one stream ({}); "
                           "exact match but for case and punctuation.",
                           policy_text(model, stream)),
      .settings = model_settings(model)};
  section.table.columns = {{"part", "part of the stream"},
                           {"questions", "questions"},
                           {"accuracy", "right, %", 1},
                           {"accuracy_error", "±", 1}};
  Score all;
  const std::size_t n_parts = std::min<std::size_t>(4, answers.size());
  for (std::size_t part = 0; part < n_parts; ++part) {
    Score score;
    const std::size_t first = answers.size() * part / n_parts;
    const std::size_t end = answers.size() * (part + 1) / n_parts;
    for (std::size_t i = first; i < end; ++i) score.add(answers[i].is_right);
    section.table.rows.push_back({fmt::format("questions {} to {}", first + 1, end), score.n,
                                  score.per_cent(), score.error()});
  }
  for (const Answered& answer : answers) all.add(answer.is_right);
  section.table.rows.push_back({"all", all.n, all.per_cent(), all.error()});
  section.verdict = fmt::format("{} of {} right ({:.1f} %).", all.n_right, all.n, all.per_cent());
  if (answers.size() < questions.size())
    section.notes.push_back(
        fmt::format("stopped after {} of {} questions", answers.size(), questions.size()));
  if (folder.empty()) return section;
  make_folder(folder);
  Table table = {.columns = {{"position", ""}, {"want", ""}, {"said", ""}, {"right", ""}}};
  for (const Answered& a : answers)
    table.rows.push_back({a.position, a.want, a.said, std::int64_t{a.is_right}});
  write_file(folder / "questions-answers.csv", table_csv(table));
  write_section(section, folder);
  return section;
}

}  // namespace runnel::eval
