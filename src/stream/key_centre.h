// What all keys of a head have in common, kept out of their codes.
//
// Keys of one head are mostly one vector: their mean m before the rotation by position holds four
// fifths of their energy, and with biases (Qwen 2.5) nearly all of it. Codes of few bits should not
// be spent on it again and again. So a key of position p, k = R(p) (m + r), is stored as codes of
// R(p) r, and its score is
//
//   q . k  =  q . R(p) r  +  sum over pairs i of  a_i cos(w_i p) + b_i sin(w_i p)
//
// with a_i = q_x m_x + q_y m_y and b_i = q_y m_x - q_x m_y of pair i = (x, y): an inner product of
// the query's [a, b] with the position's angles, which all heads and most layers share. Dimensions
// that no position rotates give one more term, with a constant in place of an angle.
//
// The mean is that of kMeanKeys keys behind the first few tokens. Those and all before them are
// stored as they are, with zeros for angles: what a key is stored as depends on its stream up to it
// alone, not on chunks.
#pragma once

#include <cstdint>
#include <span>

namespace runnel {

inline constexpr int kMeanKeys = 64;
inline constexpr int kFirstMeanKey = 4;  // at least; the first tokens' keys are like no others
inline constexpr int kLargestCodedHead = 1024;

// How a layer's keys are rotated; `kind` tells the model's rotations apart.
struct KeyRotation {
  int kind = 0;
  int n_pairs = 0;
  bool is_interleaved = false;  // pairs (2 i, 2 i + 1), or else (i, i + n_pairs)

  // Dimensions that stand for the mean in queries of heads of head_dim, and in a position's angles.
  int n_angles(int head_dim) const { return 2 * n_pairs + (2 * n_pairs < head_dim ? 1 : 0); }
  bool operator==(const KeyRotation&) const = default;
};

// [n_pairs] each, of one position.
struct PositionAngles {
  const float* cosines = nullptr;
  const float* sines = nullptr;
};

// A rotated key before its rotation.
void unrotate(const KeyRotation& rotation, const PositionAngles& angles, std::span<const float> key,
              float* out);
// key -= R(p) mean
void subtract_mean(const KeyRotation& rotation, const PositionAngles& angles, const float* mean,
                   std::span<float> key);
// What a query, rotated, multiplies the angles with: [n_angles].
void project_on_angles(const KeyRotation& rotation, const float* mean, std::span<const float> query,
                       float* out);
// A position's angles in that order.
float angle_of(const KeyRotation& rotation, const PositionAngles& angles, int index);

}  // namespace runnel
