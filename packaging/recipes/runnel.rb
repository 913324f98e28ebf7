# Homebrew: a formula for a tap. As it stands it builds the checkout that it lies in:
#   brew install --HEAD packaging/recipes/runnel.rb
# In a tap, homepage, url and sha256 of a release's source archive (make wheels makes it) take the place of head.
class Runnel < Formula
  desc "Large language models on endless streams, in constant memory"
  license "MIT"
  head "file://#{File.expand_path("../..", __dir__)}", using: :git, branch: "main"

  depends_on "cmake" => :build
  depends_on "cli11" => :build
  depends_on "ninja" => :build
  depends_on "nlohmann-json" => :build
  depends_on "opencl-headers" => :build
  depends_on "pkgconf" => :build
  depends_on "boost"
  depends_on "fmt"
  depends_on "hiredis"
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
  end

  test do
    model = share/"runnel/models/novella-7m-q8_0.gguf"
    system bin/"runnel", "generate", model, "-p", "It was a dark night", "-n", "5"
  end
end
