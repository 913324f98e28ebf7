// Endless text in constant memory: endless MODEL PROMPT [TOKENS]
#include <runnel/runnel.h>

#include <cstdlib>
#include <exception>
#include <iostream>

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: endless MODEL PROMPT [TOKENS]\n";
    return 2;
  }
  try {
    const runnel::Model model = runnel::Model::load(argv[1]);
    runnel::Stream stream = model.open({.sinks = 4});
    stream.feed(argv[2]);
    const long limit = argc > 3 ? std::atol(argv[3]) : -1;
    for (long n = 0; n != limit; ++n) std::cout << stream.next().text << std::flush;
    std::cerr << "\nposition " << stream.position() << ", evicted " << stream.evicted() << ", "
              << stream.bytes() << " bytes\n";
  } catch (const std::exception& error) {
    std::cerr << "endless: " << error.what() << "\n";
    return 1;
  }
}
