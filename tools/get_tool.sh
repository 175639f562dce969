#!/bin/sh
# Puts a tool into a virtual environment, from its Debian or Ubuntu package, without root:
#   get_tool.sh .venv icarus    Icarus Verilog: iverilog, vvp
#   get_tool.sh .venv qemu      the emulator of 64-bit Arm Linux: qemu-aarch64
set -eu
venv=$(cd "$1" && pwd)
case $2 in
  icarus) name="Icarus Verilog" packages=iverilog ;;
  # Programs that need no libraries are in the first, or in later releases in the second.
  qemu) name="qemu-aarch64" packages="qemu-user-static qemu-user" ;;
  *) echo "get_tool: the tool must be icarus or qemu, got $2" >&2; exit 1 ;;
esac
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "get_tool: $name is missing: install it with your system's packages (${packages##* })" >&2
  exit 1
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
# Without root, and without package lists on this machine: lists of our own.
own="-o Dir::State::Lists=$folder/lists -o Dir::Cache=$folder/cache -o Debug::NoLocking=true"
mkdir -p lists/partial cache/archives/partial

# Unpacks a package below $folder/package.
unpack() {
  apt-get -qq download "$1" 2>/dev/null || {
    # shellcheck disable=SC2086
    apt-get -qq $own update && apt-get -qq $own download "$1"
  } || {
    echo "get_tool: apt-get could not download $1: install it with your system's packages" >&2
    exit 1
  }
  dpkg-deb -x "$folder/$1"_*.deb "$folder/package"
}

put_icarus() {
  unpack iverilog
  rm -rf "$venv/icarus"
  mv "$folder/package" "$venv/icarus"
  base=$(dirname "$(find "$venv/icarus" -name ivlpp)")
  # The programs look for their parts under /usr unless they are told.
  printf '#!/bin/sh\nexec "%s" -B"%s" "$@"\n' "$venv/icarus/usr/bin/iverilog" "$base" >"$venv/bin/iverilog"
  printf '#!/bin/sh\nexec "%s" -M"%s" "$@"\n' "$venv/icarus/usr/bin/vvp" "$base" >"$venv/bin/vvp"
  chmod +x "$venv/bin/iverilog" "$venv/bin/vvp"
}

# One program, which stands alone; the package has those of all other processors, too.
put_qemu() {
  for package in $packages; do
    unpack "$package"
    for program in qemu-aarch64-static qemu-aarch64; do
      found="$folder/package/usr/bin/$program"
      if [ -f "$found" ]; then
        cp "$found" "$venv/bin/qemu-aarch64"
        return
      fi
    done
  done
  echo "get_tool: no qemu-aarch64 in $packages: install it with your system's packages" >&2
  exit 1
}

"put_$2"
