#include "eval/perplexity_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "eval/experiment.h"
#include "eval/npy.h"
#include "eval/plot.h"
#include "eval/statistics.h"

namespace runnel::eval {
namespace {

constexpr int kPointsPerDecade = 10;

// One point of a curve: the perplexity over a bin's positions, and over everything up to its end.
struct CurvePoint {
  Bin bin;
  std::int64_t n = 0;
  double windowed = 0;
  double running = 0;
};

const NllSeries* find(const std::vector<NllSeries>& all, Policy policy) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const NllSeries& series) {
    return series.options.policy == policy;
  });
  return found == all.end() || found->nll.empty() ? nullptr : &*found;
}

// The tokens that the cache of the bounded policies holds; 0 when there is none.
std::int64_t cache_tokens(const std::vector<NllSeries>& all) {
  std::int64_t most = 0;
  for (const NllSeries& series : all)
    if (series.options.policy != Policy::kDense) most = std::max(most, series.cache_tokens());
  return most;
}

// Where "past the cache" begins: token S + W + 1 is the first that no longer sees every token
// before it, and what it predicts is the next.
std::int64_t first_past(std::int64_t cache) { return cache + 2; }

// The values at positions from `first` on.
std::vector<double> values_from(const NllSeries& series, std::int64_t first,
                                std::int64_t last = INT64_MAX) {
  std::vector<double> values;
  for (std::size_t i = 0; i < series.nll.size(); ++i) {
    if (series.positions[i] >= first && series.positions[i] <= last)
      values.push_back(static_cast<double>(series.nll[i]));
  }
  return values;
}

// a's value less b's at the positions in [first, last] that both have.
Estimate paired_difference(const NllSeries& a, const NllSeries& b, std::int64_t first,
                           std::int64_t last = INT64_MAX) {
  std::vector<double> differences;
  for (std::size_t i = 0, j = 0; i < a.nll.size() && j < b.nll.size();) {
    if (a.positions[i] < b.positions[j]) {
      ++i;
    } else if (b.positions[j] < a.positions[i]) {
      ++j;
    } else {
      if (a.positions[i] >= first && a.positions[i] <= last)
        differences.push_back(static_cast<double>(a.nll[i]) - static_cast<double>(b.nll[j]));
      ++i, ++j;
    }
  }
  return block_estimate(differences);
}

// Recomputation at a sample of positions, beside sinks at all of them: its mean is then the sinks'
// mean, corrected by the mean difference where both are known. Token by token the two hardly
// differ, so this is far more exact than the mean of the sample.
bool is_sampled(const NllSeries& series, const NllSeries* sink) {
  return series.options.policy == Policy::kRecompute && sink != nullptr &&
         series.nll.size() < sink->nll.size();
}

Estimate mean_nll(const NllSeries& series, const NllSeries* sink, std::int64_t first,
                  std::int64_t last = INT64_MAX) {
  if (!is_sampled(series, sink)) return block_estimate(values_from(series, first, last));
  Estimate mean = block_estimate(values_from(*sink, first, last));
  const Estimate difference = paired_difference(series, *sink, first, last);
  mean.mean += difference.mean;
  mean.error = std::hypot(mean.error, difference.error);
  mean.n = difference.n;
  return mean;
}

std::vector<CurvePoint> curve_of(const NllSeries& series, const NllSeries* sink) {
  std::vector<CurvePoint> points;
  if (series.positions.empty()) return points;
  double sum = 0;
  double n = 0;
  for (const Bin& bin : log_bins(series.positions.back(), kPointsPerDecade)) {
    const Estimate mean = mean_nll(series, sink, bin.first, bin.last);
    if (mean.n == 0) continue;
    const auto width = static_cast<double>(bin.last - bin.first + 1);
    sum += width * mean.mean;
    n += width;
    points.push_back(
        {.bin = bin, .n = mean.n, .windowed = std::exp(mean.mean), .running = std::exp(sum / n)});
  }
  return points;
}

const char* colour_of(Policy policy) {
  switch (policy) {
    case Policy::kDense:
      return colour::kGreen;
    case Policy::kWindow:
      return colour::kRed;
    case Policy::kSink:
      return colour::kBlue;
    case Policy::kRecompute:
      return colour::kBlack;
  }
  return colour::kGrey;
}

const char* title_of(Policy policy) {
  switch (policy) {
    case Policy::kDense:
      return "dense";
    case Policy::kWindow:
      return "window";
    case Policy::kSink:
      return "sinks + window";
    case Policy::kRecompute:
      return "recomputation";
  }
  return "?";
}

// A dashed line over the whole height with its label at the top, right of it or left of it.
std::string mark(std::int64_t position, const std::string& label, bool is_right, int n) {
  return fmt::format(
      "set arrow {0} from {1}, graph 0 to {1}, graph 1 nohead dt 2 lc rgb '#999999' back\n"
      "set label {0} {2} at {1}, graph 1.03 {3} textcolor rgb '#666666'\n",
      n, position, gnuplot_string(label), is_right ? "left" : "right");
}

Plot curves_plot(const Model& model, const std::vector<NllSeries>& all) {
  Plot plot = {.name = "perplexity"};
  double lowest = HUGE_VAL;
  double highest = 0;
  std::int64_t last = 1;
  std::string lines;
  int block = 0;
  const NllSeries* sink = find(all, Policy::kSink);
  for (const NllSeries& series : all) {
    const Policy policy = series.options.policy;
    plot.data += fmt::format("# {}: position, windowed, running\n", series.name());
    for (const CurvePoint& point : curve_of(series, sink)) {
      plot.data +=
          fmt::format("{:.6g} {:.6g} {:.6g}\n", point.bin.centre(), point.windowed, point.running);
      lowest = std::min(lowest, point.windowed);
      highest = std::max(highest, point.windowed);
      last = std::max(last, point.bin.last);
    }
    plot.data += "\n\n";
    const char* look = policy == Policy::kRecompute ? "points pt 7 ps 0.6" : "lines lw 2.5";
    lines +=
        fmt::format("{}'perplexity.dat' index {} using 1:2 with {} lc rgb '{}' title '{}'",
                    block > 0 ? ", " : "plot ", block, look, colour_of(policy), title_of(policy));
    ++block;
  }
  plot.script =
      "set logscale x\nset format x '%.0s%c'\nset xlabel 'position in the stream (tokens)'\n";
  plot.script +=
      "set ylabel 'perplexity'\nset key outside right center reverse Left\n"
      "set tmargin 3\nset rmargin 22\n";
  plot.script += fmt::format("set xrange [{}:{}]\n", 50, std::max<std::int64_t>(last, 100));
  if (highest > 4 * lowest) {
    plot.script +=
        fmt::format("set logscale y\nset yrange [{:.3g}:{:.3g}]\n", lowest / 1.3, highest * 1.3);
    plot.script += "set ytics add (5, 20, 30, 50, 70, 200, 300, 500, 2000, 5000)\n";
  } else {
    plot.script += fmt::format("set yrange [{:.3g}:{:.3g}]\n", lowest * 0.9, highest * 1.1);
  }
  const std::int64_t cache = cache_tokens(all);
  const std::int64_t trained = model.trained_context();
  const auto show = [&](std::int64_t position, const std::string& label, bool is_right, int n) {
    if (position > 0 && position <= last) plot.script += mark(position, label, is_right, n);
  };
  if (cache > 0 && std::abs(trained - cache) * 8 < trained) {
    show(cache, fmt::format("cache ({}) and trained length ({})", cache, trained), true, 1);
  } else {
    const bool is_cache_first = cache <= trained;
    show(cache, fmt::format("cache ({})", cache), !is_cache_first, 1);
    show(trained, fmt::format("trained length ({})", trained), cache == 0 || is_cache_first, 2);
  }
  plot.script += lines + "\n";
  return plot;
}

std::string curves_csv(const std::vector<NllSeries>& all) {
  std::string csv = "policy,first_position,last_position,tokens,perplexity,running_perplexity\n";
  const NllSeries* sink = find(all, Policy::kSink);
  for (const NllSeries& series : all) {
    for (const CurvePoint& p : curve_of(series, sink))
      csv += fmt::format("{},{},{},{},{:.6f},{:.6f}\n", series.name(), p.bin.first, p.bin.last, p.n,
                         p.windowed, p.running);
  }
  return csv;
}

Table table_of(const std::vector<NllSeries>& all, std::int64_t first) {
  Table table = {.columns = {{"policy", "policy"},
                             {"sinks", "sinks"},
                             {"window", "window"},
                             {"tokens", "tokens"},
                             {"perplexity", "perplexity", 3},
                             {"evicting_perplexity", "past the cache", 3},
                             {"evicting_error", "±", 3},
                             {"mean_nll", "mean NLL", 4},
                             {"cache_mib", "cache, MiB", 2},
                             {"tokens_per_second", "tokens/s", 0}}};
  const NllSeries* sink = find(all, Policy::kSink);
  for (const NllSeries& series : all) {
    const Estimate whole = mean_nll(series, sink, 1);
    const Estimate late = perplexity_of(mean_nll(series, sink, first));
    const auto n = static_cast<std::int64_t>(series.nll.size());
    table.rows.push_back({series.name(), std::int64_t{series.options.sinks},
                          series.options.window ? Cell(*series.options.window) : Cell("all"), n,
                          std::exp(whole.mean), late.n > 0 ? Cell(late.mean) : Cell("-"),
                          late.n > 0 ? Cell(late.error) : Cell("-"), whole.mean,
                          static_cast<double>(series.cache_bytes) / (1 << 20),
                          static_cast<double>(n) / std::max(series.seconds, 1e-9)});
  }
  return table;
}

// A factor in words.
std::string loss_text(double factor) {
  if (factor > 2) return fmt::format("collapses: perplexity is {:.1f} times", factor);
  if (factor > 1.01)
    return fmt::format("suffers: perplexity is {:.1f} % above", 100 * (factor - 1));
  return "does not suffer: perplexity is the same as";
}

std::string window_verdict(const NllSeries& window, const NllSeries* sink, std::int64_t cache) {
  const Estimate late = block_estimate(values_from(window, first_past(cache)));
  if (late.n == 0) return "";
  const std::int64_t leaves = window.cache_tokens() + 1;
  if (sink == nullptr) {
    return fmt::format(
        "Window attention loses its first token at position {}; perplexity from there "
        "on is {:.2f}. ",
        leaves, std::exp(late.mean));
  }
  const Estimate difference = paired_difference(window, *sink, first_past(cache));
  return fmt::format(
      "When its first token leaves, at position {}, window attention {} that with "
      "sinks, {:.2f} from there on. ",
      leaves, loss_text(std::exp(difference.mean)), std::exp(late.mean));
}

std::string sink_verdict(const NllSeries& sink, const NllSeries* recompute, std::int64_t cache) {
  const Estimate late = block_estimate(values_from(sink, first_past(cache)));
  if (late.n == 0) return "";
  std::string text =
      fmt::format("With {} sinks perplexity past the cache is {:.2f}, over {} tokens",
                  sink.options.sinks, std::exp(late.mean), cell_text(late.n, 0));
  if (recompute != nullptr) {
    const Estimate difference = paired_difference(sink, *recompute, first_past(cache));
    if (difference.n > 0) {
      text += fmt::format(
          "; at the {} positions that were also recomputed it is {:+.2f} % from recomputation (± "
          "{:.2f})",
          cell_text(difference.n, 0), 100 * (std::exp(difference.mean) - 1),
          100 * difference.error);
    }
  }
  return text + ". ";
}

std::string dense_verdict(const NllSeries& dense, std::int64_t trained) {
  const Estimate inside = block_estimate(values_from(dense, trained / 2, trained));
  const Estimate outside = block_estimate(values_from(dense, 2 * trained));
  if (inside.n == 0 || outside.n == 0) return "";
  return fmt::format(
      "Dense attention goes from {:.1f} at the end of the trained length ({}) to {:.1f} beyond "
      "twice that. ",
      std::exp(inside.mean), trained, std::exp(outside.mean));
}

std::string verdict_of(const Model& model, const std::vector<NllSeries>& all) {
  const std::int64_t cache = cache_tokens(all);
  const NllSeries* recompute = find(all, Policy::kRecompute);
  std::string text;
  if (const NllSeries* window = find(all, Policy::kWindow))
    text += window_verdict(*window, find(all, Policy::kSink), cache);
  if (const NllSeries* sink = find(all, Policy::kSink))
    text += sink_verdict(*sink, recompute, cache);
  if (const NllSeries* dense = find(all, Policy::kDense))
    text += dense_verdict(*dense, model.trained_context());
  if (!text.empty()) text.pop_back();
  return text;
}

void add_notes(Section& section, const PerplexityRun& run, bool is_complete) {
  if (!is_complete) {
    section.notes.push_back(fmt::format("stopped after {} tokens", cell_text(run.position(), 0)));
  }
  for (const NllSeries& series : run.series()) {
    const auto n = static_cast<std::int64_t>(series.nll.size());
    if (n + 1 >= run.position() || n == 0) continue;
    section.notes.push_back(
        series.options.policy == Policy::kDense
            ? fmt::format("dense: only the first {} tokens, it costs the square of the length",
                          cell_text(series.positions.back() + 1, 0))
            : fmt::format("{}: {} positions, all of the first {} and a sample of the others evenly "
                          "spread on the logarithmic axis; "
                          "means are the sinks', corrected by the difference at those positions",
                          series.name(), cell_text(n, 0), cell_text(series.cache_tokens() + 1, 0)));
  }
}

}  // namespace

Section perplexity_section(const Model& model, const PerplexityRun& run, bool is_complete,
                           const std::filesystem::path& folder) {
  const std::vector<NllSeries>& all = run.series();
  const std::int64_t cache = cache_tokens(all);
  Section section = {
      .name = "perplexity",
      .title = "Perplexity along the stream",
      .about =
          "The same tokens under each policy, one stream each. Lower is better; a flat line is a "
          "model that goes on as well as it began.",
      .verdict = verdict_of(model, all),
      .settings = model_settings(model),
      .table = table_of(all, first_past(cache))};
  section.settings.emplace_back("tokens", run.position());
  section.settings.emplace_back("cache_tokens", cache);
  add_notes(section, run, is_complete);
  if (folder.empty()) return section;
  add_picture(section, curves_plot(model, all),
              "Perplexity against position, averaged over neighbouring positions.", folder);
  write_file(folder / "perplexity-curves.csv", curves_csv(all));
  for (const NllSeries& series : all) {
    write_npy(folder / fmt::format("perplexity-{}.npy", series.name()), series.nll,
              {static_cast<std::int64_t>(series.nll.size())});
  }
  write_section(section, folder);
  return section;
}

}  // namespace runnel::eval
