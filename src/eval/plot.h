// Pictures through gnuplot, run as a program of its own.
//
// A plot is two files, NAME.dat and NAME.gp, from which `gnuplot NAME.gp` makes NAME.svg and
// NAME.png again; the files are kept, so that a person can change the picture.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "eval/section.h"

namespace runnel::eval {

// Of a palette that colour-blind readers can tell apart (Okabe and Ito).
namespace colour {
inline constexpr const char* kBlue = "#0072B2";
inline constexpr const char* kGreen = "#009E73";
inline constexpr const char* kRed = "#D55E00";
inline constexpr const char* kGrey = "#777777";
inline constexpr const char* kBlack = "#222222";
}  // namespace colour

struct Plot {
  std::string name;
  std::string data;    // NAME.dat
  std::string script;  // gnuplot commands that read 'NAME.dat'; the style and the output are set
  int width = 860;     // pixels
  int height = 480;
};

// Text inside a gnuplot string of single quotes.
std::string gnuplot_string(std::string_view text);

// Makes all four files in `folder`. Error: gnuplot is not installed, or refuses the script; data
// and script are there all the same.
void draw(const Plot& plot, const std::filesystem::path& folder);

// draw() into the section: the picture, or else a note why there is none.
void add_picture(Section& section, const Plot& plot, const std::string& caption,
                 const std::filesystem::path& folder);

}  // namespace runnel::eval
