#!/usr/bin/env bash
# Debian packages of this build: lintian finds nothing, and in a fresh, minimal Debian of this machine's suite they
# install, work and go away again. Where root and debootstrap are there; `make test-debs` does more.
source tests/cli/support.sh
skip() {
  echo "SKIPPED: $*"
  exit 0
}
[[ -z ${EMULATOR:-}${SANITIZE:-} ]] || skip "another processor, or sanitizers"
[[ $(id -u) -eq 0 ]] || skip "not root"
for program in debootstrap dpkg-shlibdeps cpack lintian; do
  command -v $program >/dev/null || skip "no $program"
done
[[ -f ${BUILD_DIR:?}/python/runnel/_engine.pyi ]] || skip "no Python module in this build"
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)

(cd "$BUILD_DIR" && umask 022 && cpack -G DEB -B "$WORK/debs") >"$WORK/log" 2>&1 || fail "$(tail -n 20 "$WORK/log")"
[[ $(ls "$WORK"/debs/*.deb | wc -l) -eq 4 ]] || fail "want 4 packages, found $(ls "$WORK/debs")"
# This build installs into lib, not into lib/ARCHITECTURE as a package would.
lintian --fail-on error,warning --suppress-tags pkg-config-unavailable-for-cross-compilation "$WORK"/debs/*.deb >"$WORK/log" 2>/dev/null || fail "lintian: $(cat "$WORK/log")"

export CHROOTS=$BUILD_DIR/chroots
source scripts/chroot.sh
new_chroot "$suite" "$WORK/root" 2>"$WORK/log" || skip "no minimal $suite: $(tail -n 1 "$WORK/log")"
end_chroot "$WORK/root"
scripts/try-debs.sh "$suite" "$WORK/debs"
