#include "eval/table3.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eval/attention.h"

namespace runnel::eval {
namespace {

constexpr int kSinks[] = {0, 1, 2, 4};

// arXiv 2309.17453, table 3: 160 million parameters, 1024 tokens in all.
struct PaperRow {
  Variant variant;
  double perplexity[4];
};
constexpr PaperRow kPaper[] = {{Variant::kVanilla, {27.87, 18.49, 18.05, 18.05}},
                               {Variant::kZero, {29214, 19.90, 18.27, 18.01}},
                               {Variant::kSink, {1235, 18.01, 18.01, 18.02}}};

Ablation rows_of(std::int64_t cache, const StreamOptions& base) {
  Ablation ablation = {.name = fmt::format("table3, cache {}", cache)};
  for (const int sinks : kSinks) {
    StreamOptions options = base;
    options.policy = sinks > 0 ? Policy::kSink : Policy::kWindow;
    options.sinks = sinks;
    options.window = cache - sinks;
    ablation.rows.push_back({fmt::format("{} + {}", sinks, cache - sinks), options, {}});
  }
  return ablation;
}

std::vector<std::int64_t> caches_of(const Model& model, const Table3Options& options) {
  if (!options.caches.empty()) return options.caches;
  const std::int64_t context = model.trained_context();
  return {context / 4 - 4, context / 2 - 4, context - 8};
}

void study_attention(const Model& model, std::string_view text, const StreamOptions& base,
                     const Table3Options& options, VariantResult& result) {
  const int length = std::min(options.attention_length, model.trained_context());
  StreamOptions stream = base;
  stream.policy = Policy::kDense;
  AttentionStudy study(model, {.stream = stream, .length = length, .first_tokens = 1});
  const auto texts = sentence_windows(model, text, options.attention_texts, length);
  if (texts.empty()) {
    throw Error(fmt::format(
        "table3: want sentences with {} tokens after their beginning, found none", length));
  }
  for (const auto& one : texts) study.add(one);
  result.even_share = study.even_share(1);
  for (int layer = 0; layer < study.n_layers(); ++layer) {
    double first = 0;
    double all = 0;
    for (int head = 0; head < study.n_heads(); ++head) {
      first += study.share(layer, head, 1) / study.n_heads();
      all += study.row_sum(layer, head) / study.n_heads();
    }
    result.first_token.push_back(first);
    result.nothing.push_back(result.variant == Variant::kZero ? 1 - all : 0);
  }
}

// By how many per cent perplexity is above that of the last row (the most sinks).
double excess(const std::vector<AblationResult>& rows, std::size_t row) {
  return 100 * std::expm1(rows[row].nll.mean - rows.back().nll.mean);
}

std::string range_text(double a, double b) {
  if (a > b) std::swap(a, b);
  const std::string low = fmt::format("{:.1f}", a);
  const std::string high = fmt::format("{:.1f}", b);
  return low == high ? low + " %" : fmt::format("{} to {} %", low, high);
}

std::string verdict_of(const std::vector<VariantResult>& results) {
  std::string text;
  for (const VariantResult& result : results) {
    if (result.by_cache.empty()) continue;
    double low[2] = {HUGE_VAL, HUGE_VAL};  // without sinks, with one
    double high[2] = {-HUGE_VAL, -HUGE_VAL};
    for (const auto& rows : result.by_cache) {
      for (std::size_t row : {0, 1}) {
        low[row] = std::min(low[row], excess(rows, row));
        high[row] = std::max(high[row], excess(rows, row));
      }
    }
    text += fmt::format("{}{}: {} above four sinks without any, {} with one.",
                        text.empty() ? "" : " ", variant_name(result.variant),
                        range_text(low[0], high[0]), range_text(low[1], high[1]));
  }
  return text;
}

std::vector<Cell> paper_row(const PaperRow& paper) {
  std::vector<Cell> row = {fmt::format("paper, {}", variant_name(paper.variant)),
                           std::int64_t{1024}};
  for (const double value : paper.perplexity) row.emplace_back(value);
  row.emplace_back(100 * (paper.perplexity[0] / paper.perplexity[3] - 1));
  row.emplace_back(std::string());
  row.emplace_back(std::string());
  return row;
}

std::vector<Cell> measured_row(const VariantResult& result, std::size_t at) {
  const std::vector<AblationResult>& rows = result.by_cache[at];
  std::vector<Cell> cells = {variant_name(result.variant), result.caches[at]};
  for (const AblationResult& row : rows) cells.emplace_back(std::exp(row.nll.mean));
  const Estimate& difference = rows.back().difference;  // of the most sinks to none
  cells.emplace_back(100 * std::expm1(-difference.mean));
  cells.emplace_back(100 * std::exp(-difference.mean) * difference.error);
  cells.emplace_back(rows.front().nll.n);
  return cells;
}

}  // namespace

std::string variant_name(Variant variant) {
  switch (variant) {
    case Variant::kVanilla:
      return "vanilla";
    case Variant::kZero:
      return "zero";
    case Variant::kSink:
      return "sink";
  }
  return "?";
}

VariantResult run_variant(const Model& model, Variant variant, std::string_view text,
                          std::span<const Token> tokens, const Table3Options& options,
                          const Progress& progress) {
  VariantResult result = {.variant = variant,
                          .model = model.name(),
                          .n_tokens = std::ssize(tokens),
                          .caches = caches_of(model, options)};
  for (const std::int64_t cache : result.caches) {
    if (cache < 16)
      throw Error(fmt::format("table3: want caches of 16 tokens or more, found {}", cache));
  }
  StreamOptions base = {.kv_type = options.kv_type};
  base.softmax = variant == Variant::kZero ? Softmax::kOffByOne : Softmax::kStandard;
  const double width = 1.0 / static_cast<double>(result.caches.size());
  for (std::size_t i = 0; i < result.caches.size(); ++i) {
    const Ablation ablation = rows_of(result.caches[i], base);
    auto rows = run_ablation(model, ablation, tokens,
                             part_of(progress, width * static_cast<double>(i), width));
    if (rows.size() < ablation.rows.size()) return result;
    result.by_cache.push_back(std::move(rows));
  }
  study_attention(model, text, base, options, result);
  return result;
}

Section table3_section(const std::vector<VariantResult>& results,
                       const std::filesystem::path& folder) {
  Section section = {
      .name = "table3",
      .title = "Pretraining with a sink",
      .about =
          "Three models of one shape: vanilla, a zero sink (softmax-off-by-one), a learnable sink "
          "token. Perplexity with 0, 1, 2 and 4 sinks, the cache holding as many tokens in all; "
          "tokens after the cache is full. Beside it table 3 of arXiv 2309.17453 (160 M "
          "parameters).",
      .verdict = verdict_of(results)};
  section.table.columns = {{"model", "model"},
                           {"cache", "cache"},
                           {"sinks_0", "no sinks"},
                           {"sinks_1", "1 sink"},
                           {"sinks_2", "2 sinks"},
                           {"sinks_4", "4 sinks"},
                           {"loss_percent", "lost without, %", 1},
                           {"loss_error", "±", 1},
                           {"tokens", "tokens"}};
  for (const VariantResult& result : results) {
    section.settings.emplace_back(variant_name(result.variant), result.model);
    for (std::size_t i = 0; i < result.by_cache.size(); ++i)
      section.table.rows.push_back(measured_row(result, i));
    if (result.by_cache.size() < result.caches.size())
      section.notes.push_back(fmt::format("{}: stopped after {} of {} caches",
                                          variant_name(result.variant), result.by_cache.size(),
                                          result.caches.size()));
  }
  for (const PaperRow& paper : kPaper) section.table.rows.push_back(paper_row(paper));
  if (!folder.empty()) write_section(section, folder);
  return section;
}

Section table3_attention_section(const std::vector<VariantResult>& results,
                                 const std::filesystem::path& folder) {
  Section section = {.name = "table3-attention",
                     .title = "Attention on the first token, by layer",
                     .about =
                         "In per cent, mean of heads and of queries in the second half of texts "
                         "that begin with a sentence. The zero sink takes what rests on nothing."};
  section.table.columns = {{"layer", "layer"}};
  std::size_t n_layers = 0;
  for (const VariantResult& result : results) {
    const std::string name = variant_name(result.variant);
    section.table.columns.push_back({name, name, 1});
    if (result.variant == Variant::kZero)
      section.table.columns.push_back({"zero_nothing", "zero, on nothing", 1});
    n_layers = std::max(n_layers, result.first_token.size());
    section.settings.emplace_back("even_share_" + name, 100 * result.even_share);
  }
  for (std::size_t layer = 0; layer < n_layers; ++layer) {
    std::vector<Cell> row = {static_cast<std::int64_t>(layer)};
    for (const VariantResult& result : results) {
      const bool is_there = layer < result.first_token.size();
      row.push_back(is_there ? Cell(100 * result.first_token[layer]) : Cell(std::string()));
      if (result.variant == Variant::kZero)
        row.push_back(is_there ? Cell(100 * result.nothing[layer]) : Cell(std::string()));
    }
    section.table.rows.push_back(std::move(row));
  }
  if (!folder.empty()) write_section(section, folder);
  return section;
}

}  // namespace runnel::eval
