#include "eval/attention_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/option_names.h"
#include "eval/experiment.h"
#include "eval/npy.h"
#include "eval/plot.h"

namespace runnel::eval {
namespace {

constexpr int kRanked = 12;        // heads in the table
constexpr int kMapsInPicture = 8;  // layers, evenly spread

struct HeadScore {
  int layer;
  int head;
  double first;      // share on the first token
  double first_few;  // share on the first k
};

std::vector<HeadScore> ranked(const AttentionStudy& study) {
  std::vector<HeadScore> scores;
  for (int layer = 0; layer < study.n_layers(); ++layer) {
    for (int head = 0; head < study.n_heads(); ++head) {
      scores.push_back({layer, head, study.share(layer, head, 1),
                        study.share(layer, head, study.options().first_tokens)});
    }
  }
  std::stable_sort(scores.begin(), scores.end(), [](const HeadScore& a, const HeadScore& b) {
    return a.first_few > b.first_few;
  });
  return scores;
}

double layer_share(const AttentionStudy& study, int layer, int k) {
  double sum = 0;
  for (int head = 0; head < study.n_heads(); ++head) sum += study.share(layer, head, k);
  return sum / study.n_heads();
}

// The first layer from which on every layer rests at least a fifth of its attention on the first
// token; n_layers when there is none.
int first_sink_layer(const AttentionStudy& study) {
  int layer = study.n_layers();
  while (layer > 0 && layer_share(study, layer - 1, 1) >= 0.2) --layer;
  return layer;
}

std::string verdict_of(const AttentionStudy& study) {
  const int n_layers = study.n_layers();
  int most = 0;
  int least = 0;
  int n_sink_heads = 0;
  for (int layer = 0; layer < n_layers; ++layer) {
    if (layer_share(study, layer, 1) > layer_share(study, most, 1)) most = layer;
    if (layer_share(study, layer, 1) < layer_share(study, least, 1)) least = layer;
    for (int head = 0; head < study.n_heads(); ++head)
      n_sink_heads += study.share(layer, head, 1) > 0.3 ? 1 : 0;
  }
  std::string text = fmt::format(
      "The first token gets {:.0f} % of the attention of later tokens in layer {} (the most) and "
      "{:.0f} % in layer {} (the least); looking at all tokens alike would give it {:.1f} %. {} of "
      "{} heads rest more than 30 % on it.",
      100 * layer_share(study, most, 1), most, 100 * layer_share(study, least, 1), least,
      100 * study.even_share(1), n_sink_heads, n_layers * study.n_heads());
  if (const int begins = first_sink_layer(study); begins < n_layers)
    text += fmt::format(" From layer {} on every layer rests a fifth or more.", begins);
  return text;
}

std::string viridis() {
  return "set palette defined (0 '#440154', 0.13 '#482878', 0.25 '#3e4989', 0.38 '#31688e', "
         "0.5 '#26828e', 0.63 '#1f9e89', 0.75 '#35b779', 0.88 '#6ece58', 1 '#fde725')\n";
}

std::string matrix_text(const std::vector<float>& values, std::size_t n_columns) {
  std::string text;
  for (std::size_t i = 0; i < values.size(); ++i)
    text += fmt::format("{:.4g}{}", values[i], (i + 1) % n_columns == 0 ? "\n" : " ");
  return text + "\n\n";
}

// log10 of the mean weights; what is not seen stays blank.
std::vector<float> logarithms(std::vector<float> weights) {
  for (float& weight : weights)
    weight = weight > 0 ? std::log10(std::max(weight, 1e-4f)) : std::nanf("");
  return weights;
}

std::vector<int> layers_shown(int n_layers) {
  const int n = std::min(n_layers, kMapsInPicture);
  std::vector<int> layers;
  layers.reserve(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) layers.push_back(n == 1 ? 0 : (n_layers - 1) * i / (n - 1));
  return layers;
}

// Small multiples: a map for each shown layer, on one scale.
Plot maps_plot(const AttentionStudy& study) {
  const std::vector<int> layers = layers_shown(study.n_layers());
  const int n_columns = std::min<int>(4, static_cast<int>(layers.size()));
  const int n_rows = (static_cast<int>(layers.size()) + n_columns - 1) / n_columns;
  const int length = study.options().length;
  Plot plot = {
      .name = "attention-layers", .width = 60 + 225 * n_columns + 60, .height = 70 + 240 * n_rows};
  plot.script = viridis();
  plot.script += fmt::format(
      "set multiplot layout {},{} margins 0.06,0.90,0.09,0.92 spacing 0.03,0.09\n"
      "set cbrange [-3:0]\nset yrange [{}.5:-0.5]\nset xrange [-0.5:{}.5]\nunset key\n"
      "set border 15 lw 0.5 lc rgb '#bbbbbb'\nunset grid\nset tics scale 0.4 font ',10'\n"
      "unset colorbox\nset datafile missing 'nan'\n",
      n_rows, n_columns, length - 1, length - 1);
  const int step = std::max(1, length <= 16 ? 4 : length / 4);
  plot.script += fmt::format("set xtics 0,{0}\nset ytics 0,{0}\n", step);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    plot.data +=
        matrix_text(logarithms(study.layer_map(layers[i])), static_cast<std::size_t>(length));
    const bool is_left = static_cast<int>(i) % n_columns == 0;
    const bool is_bottom = static_cast<int>(i) / n_columns == n_rows - 1;
    const bool is_last = i + 1 == layers.size();
    plot.script += fmt::format("set title 'layer {}' offset 0,-0.7 font ',12'\n", layers[i]);
    plot.script += is_left ? "set ylabel 'query' offset 1.5,0\n" : "unset ylabel\n";
    plot.script += is_bottom ? "set xlabel 'key' offset 0,0.7\n" : "unset xlabel\n";
    if (is_last) {
      plot.script +=
          "set colorbox user origin 0.92,0.15 size 0.018,0.7\n"
          "set cbtics ('0.1 %%' -3, '1 %%' -2, '10 %%' -1, '100 %%' 0) scale 0\n";
    }
    plot.script += fmt::format("plot 'attention-layers.dat' index {} matrix with image\n", i);
  }
  plot.script += "unset multiplot\n";
  return plot;
}

// Layers across, heads down: the share on the first tokens.
Plot scores_plot(const AttentionStudy& study) {
  const int k = study.options().first_tokens;
  Plot plot = {.name = "sink-scores",
               .width = std::clamp(24 * study.n_layers() + 240, 620, 1100),
               .height = std::clamp(16 * study.n_heads() + 180, 300, 800)};
  const std::vector<float> scores = [&] {
    std::vector<float> values;
    for (int head = 0; head < study.n_heads(); ++head)
      for (int layer = 0; layer < study.n_layers(); ++layer)
        values.push_back(static_cast<float>(100 * study.share(layer, head, k)));
    return values;
  }();
  plot.data = matrix_text(scores, static_cast<std::size_t>(study.n_layers()));
  plot.script = viridis();
  plot.script += fmt::format(
      "unset key\nunset grid\nset border 15 lw 0.5 lc rgb '#bbbbbb'\nset tics scale 0\n"
      "set xlabel 'layer'\nset ylabel 'head'\nset cblabel 'on the first {}, %'\n"
      "set cbrange [0:100]\nset yrange [{}.5:-0.5]\nset xrange [-0.5:{}.5]\n"
      "set xtics {}\nset ytics {}\n",
      k, study.n_heads() - 1, study.n_layers() - 1, study.n_layers() > 16 ? 4 : 1,
      study.n_heads() > 16 ? 4 : 1);
  plot.script += "plot 'sink-scores.dat' matrix with image";
  const bool is_small = study.n_heads() * study.n_layers() <= 128;
  if (is_small) {
    plot.script +=
        ", '' matrix using 1:2:(sprintf('%.0f', $3)):($3 > 60 ? 0x222222 : 0xffffff) with labels "
        "font ',11' textcolor rgb variable";
  }
  plot.script += "\n";
  return plot;
}

std::string scores_csv(const AttentionStudy& study) {
  std::string csv = "layer,head,row_sum";
  for (int k = 1; k <= study.options().first_tokens; ++k) csv += fmt::format(",first_{}", k);
  csv += "\n";
  for (int layer = 0; layer < study.n_layers(); ++layer) {
    for (int head = 0; head < study.n_heads(); ++head) {
      csv += fmt::format("{},{},{:.6f}", layer, head, study.row_sum(layer, head));
      for (int k = 1; k <= study.options().first_tokens; ++k)
        csv += fmt::format(",{:.6f}", study.share(layer, head, k));
      csv += "\n";
    }
  }
  return csv;
}

void write_maps(const AttentionStudy& study, const std::filesystem::path& folder) {
  std::vector<float> layers;
  std::vector<float> heads;
  for (int layer = 0; layer < study.n_layers(); ++layer) {
    const std::vector<float> map = study.layer_map(layer);
    layers.insert(layers.end(), map.begin(), map.end());
    for (int head = 0; study.options().keeps_heads && head < study.n_heads(); ++head) {
      const std::vector<float> head_map = study.head_map(layer, head);
      heads.insert(heads.end(), head_map.begin(), head_map.end());
    }
  }
  const std::int64_t n = study.options().length;
  write_npy(folder / "attention-layers.npy", layers, {study.n_layers(), n, n});
  if (!heads.empty())
    write_npy(folder / "attention-heads.npy", heads, {study.n_layers(), study.n_heads(), n, n});
}

Table table_of(const AttentionStudy& study) {
  const int k = study.options().first_tokens;
  Table table = {.columns = {{"rank", "rank"},
                             {"layer", "layer"},
                             {"head", "head"},
                             {"first_token", "on the first token, %", 1},
                             {"first_tokens", fmt::format("on the first {}, %", k), 1},
                             {"row_sum", "sum of a row", 3}}};
  const std::vector<HeadScore> scores = ranked(study);
  for (std::size_t i = 0; i < std::min<std::size_t>(scores.size(), kRanked); ++i) {
    const HeadScore& s = scores[i];
    table.rows.push_back({static_cast<std::int64_t>(i + 1), std::int64_t{s.layer},
                          std::int64_t{s.head}, 100 * s.first, 100 * s.first_few,
                          study.row_sum(s.layer, s.head)});
  }
  return table;
}

}  // namespace

Section attention_section(const Model& model, const AttentionStudy& study,
                          const std::filesystem::path& folder) {
  const AttentionOptions& options = study.options();
  Section section = {
      .name = "attention",
      .title = "Attention maps and sinks",
      .about = fmt::format(
          "Attention averaged over {} texts of {} tokens, each from the beginning of a sentence; "
          "policy {}, {} softmax. Shares are of queries from position {} on. The table ranks the "
          "heads by the share they rest on the first {} tokens.",
          study.n_texts(), options.length, policy_name(options.stream.policy),
          softmax_name(*options.stream.softmax), options.first_query, options.first_tokens),
      .verdict = verdict_of(study),
      .settings = model_settings(model),
      .table = table_of(study)};
  section.settings.emplace_back("texts", std::int64_t{study.n_texts()});
  section.settings.emplace_back("length", std::int64_t{options.length});
  section.settings.emplace_back("even_share_of_first_token", study.even_share(1));
  if (folder.empty()) return section;
  make_folder(folder);
  add_picture(section, maps_plot(study),
              "Mean attention by layer, logarithmic scale: the left column is the first token.",
              folder);
  add_picture(section, scores_plot(study),
              fmt::format("Attention on the first {} tokens by layer and head, in per cent.",
                          options.first_tokens),
              folder);
  write_file(folder / "sink-scores.csv", scores_csv(study));
  write_maps(study, folder);
  write_section(section, folder);
  return section;
}

}  // namespace runnel::eval
