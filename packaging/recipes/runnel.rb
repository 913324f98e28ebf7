# Homebrew: a formula for a tap. URL and sha256 are those of a release's source archive (make wheels makes it).
class Runnel < Formula
  desc "Large language models on endless streams, in constant memory"
  homepage "https://example.org/runnel"
  url "https://example.org/runnel/runnel-0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license "MIT"

  depends_on "cmake" => :build
  depends_on "cli11" => :build
  depends_on "ninja" => :build
  depends_on "nlohmann-json" => :build
  depends_on "opencl-headers" => :build
  depends_on "pkgconf" => :build
  depends_on "boost"
  depends_on "fmt"
  depends_on "libedit"
  depends_on :linux
  depends_on "openssl@3"
  depends_on "pcre2"
  depends_on "sqlite"
  depends_on "utf8proc"
  depends_on "xxhash"

  def install
    system "cmake", "-S", ".", "-B", "build", "-G", "Ninja", "-DRUNNEL_TESTS=OFF", "-DRUNNEL_BENCH=OFF", *std_cmake_args
    system "cmake", "--build", "build"
    system "cmake", "--install", "build"
    pkgshare.install "models/novella-7m-q8_0.gguf"
  end

  test do
    system bin/"runnel", "generate", pkgshare/"novella-7m-q8_0.gguf", "-p", "It was a dark night", "-n", "5"
  end
end
