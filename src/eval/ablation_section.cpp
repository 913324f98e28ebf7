#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eval/ablation.h"
#include "eval/experiment.h"
#include "eval/plot.h"

namespace runnel::eval {
namespace {

Table table_of(const Ablation& ablation, const std::vector<AblationResult>& results) {
  Table table = {.columns = {{"row", ablation.first_column},
                             {"perplexity", "perplexity", 3},
                             {"perplexity_error", "±", 3},
                             {"mean_nll", "mean NLL", 4},
                             {"nll_difference", "to the first row", 4},
                             {"nll_difference_error", "±", 4},
                             {"cache_mib", "cache, MiB", 2},
                             {"tokens", "tokens"}}};
  for (const AblationResult& result : results) {
    const Estimate perplexity = perplexity_of(result.nll);
    table.rows.push_back({result.row.label, perplexity.mean, perplexity.error, result.nll.mean,
                          result.difference.mean, result.difference.error,
                          static_cast<double>(result.cache_bytes) / (1 << 20), result.nll.n});
  }
  return table;
}

std::string perplexity_text(const AblationResult& result) {
  return fmt::format("{:.2f}", std::exp(result.nll.mean));
}

std::string sinks_verdict(const std::vector<AblationResult>& results) {
  const auto lowest =
      std::min_element(results.begin(), results.end(),
                       [](const auto& a, const auto& b) { return a.nll.mean < b.nll.mean; });
  const auto enough = std::find_if(results.begin(), results.end(), [&](const AblationResult& r) {
    return r.nll.mean - lowest->nll.mean < 0.01;
  });
  return fmt::format(
      "Without sinks perplexity is {}; {} sink{} bring{} it to {}, within 1 % of the best of the "
      "table.",
      perplexity_text(results.front()), enough->row.options.sinks,
      enough->row.options.sinks == 1 ? "" : "s", enough->row.options.sinks == 1 ? "s" : "",
      perplexity_text(*enough));
}

std::string window_verdict(const std::vector<AblationResult>& results, int trained) {
  const auto best =
      std::min_element(results.begin(), results.end(),
                       [](const auto& a, const auto& b) { return a.nll.mean < b.nll.mean; });
  return fmt::format("The best cache is {} ({}); the trained length is {}.", best->row.label,
                     perplexity_text(*best), trained);
}

std::string linebreak_verdict(const std::vector<AblationResult>& results) {
  const AblationResult& own = results.front();
  const AblationResult& breaks = results[results.size() - 2];
  const AblationResult& none = results.back();
  const double lost = breaks.nll.mean - own.nll.mean;
  const double all = none.nll.mean - own.nll.mean;
  if (all <= 0)
    return "Removing the first tokens costs nothing here, so there is nothing to explain.";
  std::string text = fmt::format(
      "Line breaks in the place of the first four tokens give {} against {} with the text's own "
      "and {} without sinks: ",
      perplexity_text(breaks), perplexity_text(own), perplexity_text(none));
  text += lost < 0.25 * all   ? "position is what counts, not meaning."
          : lost < 0.75 * all ? "both position and what stands there count."
                              : "what stands there counts: this model rests on that very token.";
  const bool has_bos = results.size() == 4;
  if (has_bos && results[1].nll.mean - own.nll.mean < 0.25 * all && lost >= 0.25 * all)
    text += fmt::format(" With BOS kept before three line breaks it is {}.",
                        perplexity_text(results[1]));
  return text;
}

std::string softmax_verdict(const std::vector<AblationResult>& results) {
  return fmt::format("With sinks: standard {}, off-by-one {}. Without: standard {}, off-by-one {}.",
                     perplexity_text(results[0]), perplexity_text(results[2]),
                     perplexity_text(results[1]), perplexity_text(results[3]));
}

std::string kv_type_verdict(const std::vector<AblationResult>& results) {
  const AblationResult& smallest = results.back();
  return fmt::format(
      "{} takes {:.0f} % of the bytes of {} and changes the mean NLL by {:+.4f} ± {:.4f}.",
      smallest.row.label,
      100.0 * static_cast<double>(smallest.cache_bytes) /
          static_cast<double>(results.front().cache_bytes),
      results.front().row.label, smallest.difference.mean, smallest.difference.error);
}

// The layers that lose most, as many as it takes for half of what all of them lose one by one.
std::string layers_verdict(const std::vector<AblationResult>& results) {
  std::vector<const AblationResult*> layers;
  double all = 0;
  for (std::size_t i = 1; i + 1 < results.size(); ++i) {
    layers.push_back(&results[i]);
    all += std::max(results[i].difference.mean, 0.0);
  }
  std::sort(layers.begin(), layers.end(),
            [](const auto* a, const auto* b) { return a->difference.mean > b->difference.mean; });
  std::string names;
  double sum = 0;
  std::size_t n = 0;
  for (; n < layers.size() && sum < 0.5 * all; ++n) {
    names += (n > 0 ? ", " : "") + layers[n]->row.label;
    sum += layers[n]->difference.mean;
  }
  const AblationResult& all_short = results.back();
  if (n == 0) return "No layer loses anything by a short window.";
  return fmt::format(
      "One by one, {} of {} layers make up half of what short windows cost: {}. All layers short: "
      "{:+.4f} ± {:.4f} nats a token.",
      n, layers.size(), names, all_short.difference.mean, all_short.difference.error);
}

std::string verdict_of(const Model& model, const Ablation& ablation,
                       const std::vector<AblationResult>& results) {
  if (results.size() < ablation.rows.size()) return "";
  if (ablation.name == "sinks") return sinks_verdict(results);
  if (ablation.name == "window") return window_verdict(results, model.trained_context());
  if (ablation.name == "linebreak") return linebreak_verdict(results);
  if (ablation.name == "softmax") return softmax_verdict(results);
  if (ablation.name == "layers") return layers_verdict(results);
  return kv_type_verdict(results);
}

// Horizontal bars would need a zero, which a perplexity has not; so points with error bars.
Plot points_plot(const std::string& name, const std::vector<AblationResult>& results) {
  Plot plot = {.name = name, .height = 130 + 42 * static_cast<int>(results.size())};
  double lowest = HUGE_VAL;
  double highest = 0;
  std::string tics;
  std::size_t longest = 0;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const Estimate perplexity = perplexity_of(results[i].nll);
    plot.data += fmt::format("{:.6g} {} {:.6g} \"{:.2f}\"\n", perplexity.mean, i, perplexity.error,
                             perplexity.mean);
    lowest = std::min(lowest, perplexity.mean - perplexity.error);
    highest = std::max(highest, perplexity.mean + perplexity.error);
    tics += fmt::format("{}{} {}", i > 0 ? ", " : "", gnuplot_string(results[i].row.label), i);
    longest = std::max(longest, results[i].row.label.size());
  }
  const bool is_wide = highest > 3 * lowest;
  const double margin = std::max(highest - lowest, 0.02 * highest);
  plot.script = fmt::format(
      "unset key\nset yrange [{}:-0.6]\nset ytics ({})\nset lmargin {}\nset rmargin 6\n"
      "set xlabel 'perplexity{}'\nset grid noytics xtics\n",
      static_cast<double>(results.size()) - 0.4, tics, longest + 3,
      is_wide ? " (logarithmic)" : "");
  if (is_wide) {
    plot.script +=
        fmt::format("set logscale x\nset xrange [{:.4g}:{:.4g}]\n", lowest / 1.3, highest * 1.6);
    plot.script += "set xtics add (20, 50, 200, 500, 2000, 5000)\n";
  } else {
    plot.script +=
        fmt::format("set xrange [{:.5g}:{:.5g}]\n", lowest - 0.2 * margin, highest + 0.35 * margin);
  }
  plot.script += fmt::format(
      "plot '{0}.dat' using 1:2:3 with xerrorbars lw 2 pt 7 ps 0.9 lc rgb '{1}', "
      "'' using 1:2:4 with labels offset 0,0.9 textcolor rgb '#333333'\n",
      name, colour::kBlue);
  return plot;
}

}  // namespace

Section ablation_section(const Model& model, const Ablation& ablation,
                         const std::vector<AblationResult>& results,
                         const std::filesystem::path& folder) {
  Section section = {.name = "ablation-" + ablation.name,
                     .title = ablation.title,
                     .about = ablation.about +
                              " Perplexity of the tokens after the largest cache of the table is "
                              "full; ± is the standard error.",
                     .verdict = verdict_of(model, ablation, results),
                     .settings = model_settings(model),
                     .table = table_of(ablation, results)};
  if (results.size() < ablation.rows.size())
    section.notes.push_back(
        fmt::format("stopped after {} of {} rows", results.size(), ablation.rows.size()));
  if (folder.empty() || results.empty()) return section;
  add_picture(section, points_plot(section.name, results),
              "Perplexity of each row with its standard error.", folder);
  write_section(section, folder);
  return section;
}

}  // namespace runnel::eval
