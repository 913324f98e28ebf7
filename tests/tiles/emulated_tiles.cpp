// A matrix unit in software, for the tests of the AMX kernels on processors that have none: each
// tile instruction traps, and the handler here does what the manual says it does. So the very
// machine code that ships is tested, and a wrong tile shape ends the test. Source: Intel 64 and
// IA-32 Architectures Software Developer's Manual, volume 2.
#include <cpuid.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "kernels/tables/tile_permission.h"

namespace {

constexpr int kTiles = 8;

struct Tile {
  int rows = 0;
  int row_bytes = 0;
  alignas(64) std::uint8_t bytes[16][64] = {};
};
thread_local Tile tiles[kTiles];

[[noreturn]] void fail(const char* what) {
  static_cast<void>(!::write(STDERR_FILENO, what, std::strlen(what)));
  static_cast<void>(!::write(STDERR_FILENO, "\n", 1));
  std::abort();
}

Tile& tile(int number) {
  if (number >= kTiles || tiles[number].rows == 0) fail("a tile is used that has no shape");
  return tiles[number];
}

void configure(const std::uint8_t* shapes) {
  if (shapes[0] != 1 || shapes[1] != 0) fail("tile shapes: palette 1 and start row 0 wanted");
  for (int i = 0; i < kTiles; ++i) {
    std::uint16_t row_bytes = 0;
    std::memcpy(&row_bytes, shapes + 16 + 2 * i, 2);
    const int rows = shapes[48 + i];
    if (rows > 16 || row_bytes > 64 || (rows == 0) != (row_bytes == 0))
      fail("a tile shape that traps");
    tiles[i] = {};
    tiles[i].rows = rows;
    tiles[i].row_bytes = row_bytes;
  }
}

float widen(std::uint8_t low, std::uint8_t high) {
  const std::uint32_t bits = std::uint32_t{high} << 24 | std::uint32_t{low} << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return std::fpclassify(value) == FP_SUBNORMAL ? 0 : value;
}

int widen(std::uint8_t byte, bool is_signed) {
  return is_signed ? static_cast<std::int8_t>(byte) : byte;
}

void multiply_bytes(Tile& c, const Tile& a, const Tile& b, bool b_is_signed) {
  for (int m = 0; m < c.rows; ++m) {
    for (int n = 0; n < c.row_bytes / 4; ++n) {
      std::int32_t sum;
      std::memcpy(&sum, &c.bytes[m][4 * n], 4);
      for (int k = 0; k < a.row_bytes; ++k)
        sum += widen(a.bytes[m][k], true) * widen(b.bytes[k / 4][4 * n + k % 4], b_is_signed);
      std::memcpy(&c.bytes[m][4 * n], &sum, 4);
    }
  }
}

// Even and odd elements are summed apart, then together, then added: in this order, each step
// rounded.
void multiply_pairs(Tile& c, const Tile& a, const Tile& b) {
  for (int m = 0; m < c.rows; ++m) {
    float even[16] = {};
    float odd[16] = {};
    for (int k = 0; k < b.rows; ++k) {
      const float a0 = widen(a.bytes[m][4 * k], a.bytes[m][4 * k + 1]);
      const float a1 = widen(a.bytes[m][4 * k + 2], a.bytes[m][4 * k + 3]);
      for (int n = 0; n < c.row_bytes / 4; ++n) {
        const std::uint8_t* pair = &b.bytes[k][4 * n];
        even[n] = std::fma(a0, widen(pair[0], pair[1]), even[n]);
        odd[n] = std::fma(a1, widen(pair[2], pair[3]), odd[n]);
      }
    }
    for (int n = 0; n < c.row_bytes / 4; ++n) {
      float sum;
      std::memcpy(&sum, &c.bytes[m][4 * n], 4);
      sum += even[n] + odd[n];
      std::memcpy(&c.bytes[m][4 * n], &sum, 4);
    }
  }
}

// A VEX-coded instruction with three bytes of prefix, which all tile instructions are.
struct Instruction {
  const std::uint8_t* code;
  const greg_t* registers;

  int map() const { return code[1] & 31; }
  int prefix() const { return code[2] & 3; }  // none, 66, F3, F2
  int third() const { return ~(code[2] >> 3) & 15; }
  int opcode() const { return code[3]; }
  int mode() const { return code[4] >> 6; }
  int reg() const { return code[4] >> 3 & 7; }
  int rm() const { return code[4] & 7; }

  std::int64_t value(int number) const {
    static constexpr int kPlaces[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                        REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                        REG_R12, REG_R13, REG_R14, REG_R15};
    return registers[kPlaces[number]];
  }
  // The operand in memory, the value of its index register, and the instruction's length.
  std::uint8_t* memory(std::int64_t* stride, int* length) const {
    int base = rm();
    int at = 5;
    *stride = 0;
    if (base == 4) {
      const int sib = code[at++];
      base = sib & 7;
      const int index = (sib >> 3 & 7) | ((code[1] & 0x40) != 0 ? 0 : 8);
      if (index != 4) *stride = value(index) << (sib >> 6);
    }
    if (mode() == 0 && (base & 7) == 5) fail("an address that the tile emulator does not know");
    std::int64_t address = value(base | ((code[1] & 0x20) != 0 ? 0 : 8));
    if (mode() == 1) address += static_cast<std::int8_t>(code[at]);
    if (mode() == 2) {
      std::int32_t displacement;
      std::memcpy(&displacement, code + at, 4);
      address += displacement;
    }
    *length = at + (mode() == 1 ? 1 : mode() == 2 ? 4 : 0);
    return reinterpret_cast<std::uint8_t*>(address);
  }
};

// Asked once: a virtual machine answers slowly.
const bool has_shapes = [] {
  constexpr unsigned kAmxTile = 1u << 24;  // CPUID 7.0, edx
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAmxTile) != 0;
}();
const unsigned offset_of_shapes = [] {
  constexpr unsigned kXsave = 0xd;
  constexpr unsigned kShapes = 17;
  unsigned size = 0, offset = 0, c = 0, d = 0;
  __get_cpuid_count(kXsave, kShapes, &size, &offset, &c, &d);
  return offset;
}();

// The length of the instruction, or 0 where it is none of ours.
int execute(const Instruction& i) {
  enum { kNone, k66, kF3, kF2 };
  if (i.code[0] != 0xc4 || i.map() != 2) return 0;
  std::int64_t stride;
  int length = 5;
  if (i.opcode() == 0x49 && i.prefix() == kNone && has_shapes) {
    return 0;  // the processor does it
  } else if (i.opcode() == 0x49 && i.mode() != 3 && i.prefix() == kNone) {
    configure(i.memory(&stride, &length));
  } else if (i.opcode() == 0x49 && i.mode() == 3 && i.prefix() == kNone) {  // tilerelease
    for (Tile& t : tiles) t = {};
  } else if (i.opcode() == 0x49 && i.mode() == 3 && i.prefix() == kF2) {  // tilezero
    std::memset(tile(i.reg()).bytes, 0, sizeof(Tile::bytes));
  } else if (i.opcode() == 0x4b && i.prefix() == kF2) {  // tileloadd
    Tile& t = tile(i.reg());
    const std::uint8_t* from = i.memory(&stride, &length);
    std::memset(t.bytes, 0, sizeof(t.bytes));
    for (int row = 0; row < t.rows; ++row)
      std::memcpy(t.bytes[row], from + row * stride, static_cast<std::size_t>(t.row_bytes));
  } else if (i.opcode() == 0x4b && i.prefix() == kF3) {  // tilestored
    const Tile& t = tile(i.reg());
    std::uint8_t* to = i.memory(&stride, &length);
    for (int row = 0; row < t.rows; ++row)
      std::memcpy(to + row * stride, t.bytes[row], static_cast<std::size_t>(t.row_bytes));
  } else if (i.opcode() == 0x5c || i.opcode() == 0x5e) {
    Tile& c = tile(i.reg());
    const Tile& a = tile(i.rm());
    const Tile& b = tile(i.third());
    if (c.rows != a.rows || c.row_bytes != b.row_bytes || a.row_bytes != 4 * b.rows)
      fail("tile shapes that do not fit each other");
    if (i.opcode() == 0x5c && i.prefix() == kF3) {  // tdpbf16ps
      multiply_pairs(c, a, b);
    } else if (i.opcode() == 0x5e && (i.prefix() == kF2 || i.prefix() == kF3)) {
      multiply_bytes(c, a, b, i.prefix() == kF2);  // tdpbssd, tdpbsud
    } else {
      return 0;
    }
  } else {
    return 0;
  }
  return length;
}

// On a processor that has tiles only those trap that touch their numbers, as long as the system has
// not been asked for them. The shapes are among the registers that the system puts aside. Source:
// the same manual, volume 1, chapter 13.
void take_shapes(const ucontext_t* context) {
  constexpr unsigned kShapes = 17;
  const auto* saved = reinterpret_cast<const std::uint8_t*>(context->uc_mcontext.fpregs);
  std::uint64_t present;
  std::memcpy(&present, saved + 512, 8);
  const std::uint8_t* shapes = saved + offset_of_shapes;
  thread_local std::uint8_t known[64] = {};
  if ((present >> kShapes & 1) == 0) fail("no tile shapes");
  if (std::memcmp(shapes, known, sizeof(known)) == 0) return;
  std::memcpy(known, shapes, sizeof(known));
  configure(shapes);
}

// Traps are slow: tile instructions that follow are taken along.
void on_illegal_instruction(int, siginfo_t*, void* context) {
  auto* const interrupted = static_cast<ucontext_t*>(context);
  if (has_shapes) take_shapes(interrupted);
  greg_t* registers = interrupted->uc_mcontext.gregs;
  int length = 0;
  int n_executed = 0;
  do {
    length = execute({reinterpret_cast<const std::uint8_t*>(registers[REG_RIP]), registers});
    registers[REG_RIP] += length;
    ++n_executed;
  } while (length > 0);
  if (n_executed == 1) fail("illegal instruction");
}

}  // namespace

// In place of the library's own.
bool runnel::kernels::may_use_tiles() {
  struct sigaction action = {};
  action.sa_sigaction = on_illegal_instruction;
  action.sa_flags = SA_SIGINFO;
  return ::sigaction(SIGILL, &action, nullptr) == 0;
}
