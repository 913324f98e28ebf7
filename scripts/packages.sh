# The Debian packages of this project. Read by the scripts beside this one.
# The build needs the first two lists; tests, benchmarks and Python need the third as well.
tools=(g++ cmake ninja-build pkg-config binutils)
libraries=(libcli11-dev libfmt-dev nlohmann-json3-dev libpcre2-dev libutf8proc-dev libxxhash-dev libedit-dev libboost1.81-dev
  libsqlite3-dev libssl-dev libhiredis-dev opencl-headers)
test_packages=(libgtest-dev libbenchmark-dev gnuplot-nox clang-format-14 clang-tidy-14 jq qemu-user python3-venv
  python3-dev python3-torch ocl-icd-libopencl1 pocl-opencl-icd curl man-db mandoc zsh fish chromium redis-server
  haproxy)
