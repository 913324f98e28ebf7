// What an experiment has to say: a title, what was done, a verdict in words, a table, pictures. The
// command line prints a section, files keep it, the report joins several in a page.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace runnel::eval {

// A cell without a value is an empty text.
using Cell = std::variant<std::string, std::int64_t, double>;

struct Column {
  std::string name;   // in files: "mean_nll"
  std::string title;  // for people: "mean NLL"
  int decimals = 2;   // of numbers with a fraction, for people; files keep them all
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;
};

struct Picture {
  std::string name;  // of its files, NAME.svg and NAME.png
  std::string caption;
};

struct Section {
  std::string name;  // of its files: "perplexity"
  std::string title;
  std::string about;    // what was done, for a reader who does not know
  std::string verdict;  // what came out
  std::vector<std::pair<std::string, Cell>> settings;
  Table table;
  std::vector<Picture> pictures;
  std::vector<std::string> notes;  // what the reader must know: "stopped early"
};

// For people: grouped thousands, fixed decimals.
std::string cell_text(const Cell& cell, int decimals);
std::string table_text(const Table& table);  // columns aligned, numbers to the right
std::string table_csv(const Table& table);
std::string section_json(const Section& section);
std::string section_text(const Section& section);  // for a terminal

// Writes NAME.csv and NAME.json into the folder, which is made when missing.
void write_section(const Section& section, const std::filesystem::path& folder);

// The path holds the old content or the new one, whole. Error names the path.
void write_file(const std::filesystem::path& path, std::string_view content);
std::string read_file(const std::filesystem::path& path);
void make_folder(const std::filesystem::path& folder);

}  // namespace runnel::eval
