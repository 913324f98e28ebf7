# The Debian packages that the build and the tests need. Read by the scripts beside this one.
tools=(g++ cmake ninja-build pkg-config gnuplot-nox clang-format-14 clang-tidy-14 binutils jq qemu-user)
libraries=(libcli11-dev libfmt-dev nlohmann-json3-dev libpcre2-dev libxxhash-dev libedit-dev libgtest-dev
  libbenchmark-dev)
