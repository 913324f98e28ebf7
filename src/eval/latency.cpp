#include "eval/latency.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "eval/experiment.h"
#include "eval/plot.h"
#include "eval/statistics.h"

namespace runnel::eval {
namespace {

// `n` tokens of an endless repetition of `tokens`, from `first` on.
std::vector<Token> cyclic(std::span<const Token> tokens, std::int64_t first, std::int64_t n) {
  std::vector<Token> taken;
  taken.reserve(static_cast<std::size_t>(n));
  for (std::int64_t i = first; i < first + n; ++i)
    taken.push_back(tokens[static_cast<std::size_t>(i) % tokens.size()]);
  return taken;
}

struct Measured {
  double seconds = 0;  // median of one token
  std::size_t bytes = 0;
};

// Fills the stream, then feeds single tokens; nullopt when told to stop.
std::optional<Measured> measure(const Model& model, const StreamOptions& options,
                                std::span<const Token> tokens, std::int64_t filled, int n_timed,
                                const Progress& progress) {
  Stream stream = model.open(options);
  const auto n_all = static_cast<double>(filled + 1 + n_timed);
  const auto is_wanted = [&] {
    return goes_on(progress, static_cast<double>(stream.position()) / n_all);
  };
  stream.feed(cyclic(tokens, 0, filled), [&](std::int64_t) { return is_wanted(); });
  if (!is_wanted()) return std::nullopt;
  std::vector<double> seconds;
  for (int i = 0; i <= n_timed && is_wanted(); ++i) {
    const std::vector<Token> token = cyclic(tokens, filled + i, 1);
    const auto start = std::chrono::steady_clock::now();
    stream.feed(token);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    if (i > 0) seconds.push_back(time.count());  // the first one warms up
  }
  if (!is_wanted()) return std::nullopt;
  return Measured{.seconds = median(std::move(seconds)), .bytes = stream.bytes()};
}

std::optional<LatencyRow> measure_window(const Model& model, std::span<const Token> tokens,
                                         const LatencyOptions& options, std::int64_t window,
                                         const Progress& progress) {
  StreamOptions stream = options.stream;
  stream.window = window;
  stream.policy = Policy::kSink;
  const std::int64_t full = stream.sinks + window + 1;
  const auto sink =
      measure(model, stream, tokens, full, options.tokens, part_of(progress, 0, 1. / 3));
  if (!sink) return std::nullopt;
  stream.policy = Policy::kRecompute;
  const auto recompute = measure(model, stream, tokens, full, options.recomputed_tokens,
                                 part_of(progress, 1. / 3, 1. / 3));
  if (!recompute) return std::nullopt;
  stream.policy = Policy::kDense;
  stream.window.reset();
  const std::int64_t dense_tokens = window * options.dense_factor;
  const auto dense = measure(model, stream, tokens, dense_tokens, options.tokens,
                             part_of(progress, 2. / 3, 1. / 3));
  if (!dense) return std::nullopt;
  return LatencyRow{.window = window,
                    .dense_tokens = dense_tokens,
                    .sink_seconds = sink->seconds,
                    .recompute_seconds = recompute->seconds,
                    .dense_seconds = dense->seconds,
                    .sink_bytes = sink->bytes,
                    .recompute_bytes = recompute->bytes,
                    .dense_bytes = dense->bytes};
}

std::string windows_text(int n) { return fmt::format("{} window{}", n, n == 1 ? "" : "s"); }

double mib(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

Plot times_plot(const LatencyOptions& options, const std::vector<LatencyRow>& rows) {
  Plot plot = {.name = "latency", .height = 420};
  double lowest = 1e9;
  double highest = 0;
  std::string tics;
  for (const LatencyRow& row : rows) {
    plot.data += fmt::format("{} {:.6g} {:.6g} {:.6g} \"{:.0f}x\"\n", row.window,
                             row.recompute_seconds * 1e3, row.dense_seconds * 1e3,
                             row.sink_seconds * 1e3, row.ratio());
    lowest = std::min({lowest, row.sink_seconds * 1e3, row.dense_seconds * 1e3});
    highest = std::max(highest, row.recompute_seconds * 1e3);
    tics += fmt::format("{}{}", tics.empty() ? "" : ", ", row.window);
  }
  const double first = static_cast<double>(rows.front().window);
  const double last = static_cast<double>(rows.back().window);
  plot.script = fmt::format(
      "set logscale xy\nset xrange [{:.6g}:{:.6g}]\nset yrange [{:.4g}:{:.4g}]\nset xtics ({})\n"
      "set xlabel 'window (tokens)'\nset ylabel 'time of one token (ms)'\n"
      "set key outside right center reverse Left\nset rmargin 31\n",
      first / 1.25, last * 1.25, lowest / 1.6, highest * 2.2, tics);
  plot.script += fmt::format(
      "plot 'latency.dat' using 1:2 with linespoints lw 2.5 pt 7 lc rgb '{}' title "
      "'recomputation', "
      "'' using 1:3 with linespoints lw 2.5 pt 9 ps 1.2 lc rgb '{}' title 'dense, {}', "
      "'' using 1:4 with linespoints lw 2.5 pt 5 lc rgb '{}' title 'sinks + window', "
      "'' using 1:2:5 with labels offset 0,1 textcolor rgb '#333333' notitle\n",
      colour::kBlack, colour::kGreen, windows_text(options.dense_factor), colour::kBlue);
  return plot;
}

}  // namespace

std::vector<LatencyRow> run_latency(const Model& model, std::span<const Token> tokens,
                                    const LatencyOptions& options, const Progress& progress) {
  if (tokens.empty() || options.windows.empty() || options.tokens < 1 ||
      options.recomputed_tokens < 1 || options.dense_factor < 1) {
    throw Error("latency: want tokens, windows and something to time");
  }
  std::vector<LatencyRow> rows;
  for (const std::int64_t window : options.windows) {
    const auto n_windows = static_cast<double>(options.windows.size());
    const auto row = measure_window(
        model, tokens, options, window,
        part_of(progress, static_cast<double>(rows.size()) / n_windows, 1 / n_windows));
    if (!row) break;
    rows.push_back(*row);
  }
  return rows;
}

Section latency_section(const Model& model, const LatencyOptions& options,
                        const std::vector<LatencyRow>& rows, const std::filesystem::path& folder) {
  Section section = {
      .name = "latency",
      .title = "Time and memory of one token",
      .about = fmt::format(
          "The median time of one token over a full cache of {} sinks and a window, over the same "
          "tokens recomputed for every token, and over a dense cache of {}.",
          options.stream.sinks, windows_text(options.dense_factor)),
      .settings = model_settings(model)};
  section.table.columns = {{"window", "window"},
                           {"sink_ms", "sinks, ms", 3},
                           {"recompute_ms", "recompute, ms", 3},
                           {"dense_ms", "dense, ms", 3},
                           {"recompute_to_sink", "recompute : sinks", 1},
                           {"sink_mib", "sinks, MiB", 2},
                           {"recompute_mib", "recompute, MiB", 2},
                           {"dense_mib", "dense, MiB", 2}};
  for (const LatencyRow& row : rows) {
    section.table.rows.push_back({row.window, row.sink_seconds * 1e3, row.recompute_seconds * 1e3,
                                  row.dense_seconds * 1e3, row.ratio(), mib(row.sink_bytes),
                                  mib(row.recompute_bytes), mib(row.dense_bytes)});
  }
  if (!rows.empty()) {
    const auto best = std::max_element(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
      return a.ratio() < b.ratio();
    });
    section.verdict = fmt::format(
        "A token over sinks and window is up to {:.0f} times as fast as recomputation (at window "
        "{}).",
        best->ratio(), best->window);
  }
  if (rows.size() < options.windows.size())
    section.notes.push_back(
        fmt::format("stopped after {} of {} windows", rows.size(), options.windows.size()));
  if (folder.empty() || rows.empty()) return section;
  add_picture(section, times_plot(options, rows),
              "Median time of one token; the numbers are recomputation over sinks.", folder);
  write_section(section, folder);
  return section;
}

}  // namespace runnel::eval
