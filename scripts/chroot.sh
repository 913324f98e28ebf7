# A minimal Debian in a folder, for the scripts that try packages. Needs root and debootstrap.
#   new_chroot SUITE FOLDER    a fresh system, from an archive that is made once ($CHROOTS, default build/chroots)
#   inside FOLDER COMMAND...   runs it there
#   end_chroot FOLDER          deletes it

CHROOTS=${CHROOTS:-build/chroots}
MIRROR=${MIRROR:-$(grep -rhoP '^(deb (\[[^]]*\] )?|URIs: )\Khttps?://\S+' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
  grep -E '/debian/?$' | head -n 1 || true)}

new_chroot() {
  local suite=$1 folder=$2 archive=$CHROOTS/$1.tar
  mkdir -p "$CHROOTS" "$folder"
  if [[ ! -f $archive ]]; then
    echo "Making a minimal $suite (debootstrap)" >&2
    local made
    made=$(mktemp -d)
    debootstrap --variant=minbase "$suite" "$made" "$MIRROR" >"$archive.log" 2>&1 ||
      { tail -n 5 "$archive.log" >&2; rm -rf "$made"; return 1; }
    tar -C "$made" -cf "$archive.new" . && mv "$archive.new" "$archive"
    rm -rf "$made" "$archive.log"
  fi
  tar -C "$folder" -xf "$archive"
  cp /etc/resolv.conf "$folder/etc/resolv.conf"
  mount -t proc proc "$folder/proc" 2>/dev/null || mount --bind /proc "$folder/proc"
}

inside() {
  local folder=$1
  shift
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    chroot "$folder" "$@"
}

# Never while something is mounted there, which would go too.
end_chroot() {
  umount "$1/proc" 2>/dev/null || true
  if grep -qF " $1/" /proc/mounts; then
    echo "$1: something is mounted there, so it stays" >&2
  else
    rm -rf "$1"
  fi
}
