# Nix: a derivation of the checkout that it lies in:
#   nix-build -E 'with import <nixpkgs> { }; callPackage ./packaging/recipes/runnel.nix { }'
# Elsewhere src is fetchurl of a release's source archive (make wheels makes it).
{ lib, stdenv, cmake, ninja, pkg-config, boost, cli11, fmt, hiredis, libedit, nlohmann_json
, opencl-headers, openssl, pcre2, sqlite, utf8proc, xxHash }:

stdenv.mkDerivation {
  pname = "runnel";
  version = "0.1.0";
  src = lib.cleanSource ../..;

  nativeBuildInputs = [ cmake ninja pkg-config ];
  buildInputs = [ boost cli11 fmt hiredis libedit nlohmann_json opencl-headers openssl pcre2 sqlite utf8proc xxHash ];
  cmakeFlags = [ "-DRUNNEL_TESTS=OFF" "-DRUNNEL_BENCH=OFF" ];
  outputs = [ "out" "dev" "man" ];

  doInstallCheck = true;
  installCheckPhase = ''
    $out/bin/runnel generate $out/share/runnel/models/novella-7m-q8_0.gguf -p "It was a dark night" -n 5
  '';

  meta = {
    description = "Large language models on endless streams, in constant memory and at constant speed";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    mainProgram = "runnel";
  };
}
