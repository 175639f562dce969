#!/bin/sh
# Puts Icarus Verilog into a virtual environment, from the Debian or Ubuntu package, without root: get_icarus.sh .venv
set -eu
venv=$(cd "$1" && pwd)
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "get_icarus: Icarus Verilog is missing: install it with your system's packages (iverilog)" >&2
  exit 1
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
# Without root, and without package lists on this machine: lists of our own.
own="-o Dir::State::Lists=$folder/lists -o Dir::Cache=$folder/cache -o Debug::NoLocking=true"
mkdir -p lists/partial cache/archives/partial
apt-get -qq download iverilog 2>/dev/null || {
  # shellcheck disable=SC2086
  apt-get -qq $own update && apt-get -qq $own download iverilog
} || {
  echo "get_icarus: apt-get could not download iverilog: install it with your system's packages" >&2
  exit 1
}
rm -rf "$venv/icarus"
dpkg-deb -x "$folder"/iverilog_*.deb "$venv/icarus"
base=$(dirname "$(find "$venv/icarus" -name ivlpp)")
# The programs look for their parts under /usr unless they are told.
printf '#!/bin/sh\nexec "%s" -B"%s" "$@"\n' "$venv/icarus/usr/bin/iverilog" "$base" >"$venv/bin/iverilog"
printf '#!/bin/sh\nexec "%s" -M"%s" "$@"\n' "$venv/icarus/usr/bin/vvp" "$base" >"$venv/bin/vvp"
chmod +x "$venv/bin/iverilog" "$venv/bin/vvp"
