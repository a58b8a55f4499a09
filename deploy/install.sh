#!/bin/sh
# Installs the device's side of fancl from the folder this file lies in; nothing is fetched.
# The folder is made by `make wheelhouse` on a machine with internet.
#   sudo sh install.sh               install, or update what is there
#   sudo sh install.sh --rollback    go back to the program before the last update
#   sudo sh install.sh --uninstall   remove program and service; pictures, state, settings stay
#   --root DIR                       everything below DIR and no user: to try it out
set -eu
umask 022

say() { printf '%s\n' "$*"; }
stop() { say "error: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
root=
task=install
while [ $# -gt 0 ]; do
    case $1 in
        --rollback | --uninstall) task=${1#--} ;;
        --root) [ $# -ge 2 ] || stop "--root needs a folder"; root=$2; shift ;;
        -h | --help) sed -n '2,7s/^# //p' "$0"; exit 0 ;;
        *) stop "unknown word '$1'; see: sh install.sh --help" ;;
    esac
    shift
done
if [ -n "$root" ]; then
    mkdir -p "$root"
    root=$(cd "$root" && pwd)
elif [ "$(id -u)" != 0 ]; then
    stop "this writes to /opt and /etc: run it with sudo"
fi

# Two slots hold the program, and the link /opt/fancl names the one in use: an update fills the
# other one, and the change from one to the other is a single rename.
opt=$root/opt
program=$opt/fancl
unit=$root/etc/systemd/system/edge-watch.service
commands="edge-watch edge-gallery edge-report edge-admin"

check_machine() {
    [ "$(uname -s)" = Linux ] || stop "the device's side runs on Linux only, this is $(uname -s)"
    for needed in TARGET SHA256SUMS requirements.txt wheels; do
        [ -e "$here/$needed" ] ||
            stop "$here has no $needed: run install.sh from the folder made by 'make wheelhouse'"
    done
    read -r platform version <"$here/TARGET"
    machine=$(uname -m)
    [ "$machine" = "$platform" ] ||
        stop "this folder is for $platform, this machine is $machine; make the right one with" \
            "'make wheelhouse PLATFORM=$machine' (aarch64 or x86_64; there is nothing for 32 bits)"
    glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || stop "a Linux with glibc is needed (Debian," \
        "Raspberry Pi OS, Ubuntu), this one has another C library"
    minor=${glibc#*.}
    [ "${minor%%.*}" -ge 28 ] || stop "glibc 2.28 or later is needed, this is $glibc: use Debian 12" \
        "or Raspberry Pi OS 12 or later"
    find_python
    [ -L "$program" ] || [ ! -e "$program" ] ||
        stop "$program is there and not from this installer: move it away first"
    say "checking the files ..."
    (cd "$here" && sha256sum --check --quiet --strict SHA256SUMS) ||
        stop "a file of $here is damaged or missing: copy the folder again"
    # Unpacked, the wheels take over three times their size.
    wanted=$((4 * $(du -sk "$here/wheels" | cut -f1)))
    mkdir -p "$opt"
    free=$(df -Pk "$opt" | awk 'NR == 2 {print $4}')
    [ "$free" -ge "$wanted" ] || stop "$((wanted / 1024)) MB are needed in $opt," \
        "$((free / 1024)) MB are free: make room first"
}

find_python() {
    for python in "${PYTHON:-python3}" "python$version"; do
        found=$("$python" -c 'import sys; print("%d.%d %d" % (*sys.version_info[:2], sys.maxsize))' \
            2>/dev/null) || continue
        [ "${found% *}" = "$version" ] || continue
        [ "${found#* }" -gt 4294967296 ] || stop "$python has 32 bits though the kernel has 64:" \
            "put a 64-bit system on the card (on a Raspberry Pi: Raspberry Pi OS 64-bit)"
        return 0
    done
    stop "this folder is for Python $version, and this machine has none (python3 is" \
        "$(python3 --version 2>&1 || true)); make another with 'make wheelhouse PYTHON_VERSION=...'," \
        "or name an interpreter: PYTHON=/path/to/python$version sh install.sh"
}

slot_in_use() { if [ -L "$program" ]; then readlink "$program"; fi; }

other_slot() { if [ "$(slot_in_use)" = fancl.a ]; then say fancl.b; else say fancl.a; fi; }

fill_slot() {
    new=$opt/$1
    say "installing into $new ..."
    rm -rf "$new"
    "$python" -m venv --without-pip "$new"
    # pip comes along as a wheel and runs from it: the system needs neither pip nor python3-venv.
    PIP_CONFIG_FILE=/dev/null "$new/bin/python" "$(echo "$here"/wheels/pip-*.whl)/pip" --isolated \
        install --quiet --no-cache-dir --disable-pip-version-check --no-index \
        --find-links "$here/wheels" --require-hashes --requirement "$here/requirements.txt"
    mkdir -p "$new/share"
    for file in README.md edge.example.toml edge-watch.service ftp drop-ins; do
        cp -R "$here/$file" "$new/share/"
    done
    answers "$1" || stop "the new program does not run here (see above); nothing was changed"
    sync
    touch "$new/complete"
    sync
}

answers() {
    for command in $commands; do
        (cd / && "$opt/$1/bin/$command" --version >/dev/null) || return 1
    done
    # The commands load it late, and a build for other processors ends the program at once.
    (cd / && "$opt/$1/bin/python" -I -c "import onnxruntime")
}

# The program in this slot is the one that runs from now on; a power cut leaves the old or the new.
use_slot() {
    ln -sfn "$1" "$program.next"
    mv -fT "$program.next" "$program"
    mkdir -p "$root/usr/local/bin" "$(dirname "$unit")"
    cp "$program/share/edge-watch.service" "$unit.next"
    mv -f "$unit.next" "$unit"
    for command in $commands; do
        ln -sfn "/opt/fancl/bin/$command" "$root/usr/local/bin/$command"
    done
    sync
    if has_systemd; then systemctl daemon-reload; fi
}

has_systemd() { [ -d "$root/run/systemd/system" ]; }

service_runs() {
    has_systemd || return 1
    case $(systemctl is-active edge-watch 2>/dev/null || true) in
        active | activating | reloading) return 0 ;;
        *) return 1 ;;
    esac
}

# Stops the service, changes the slot, starts it; where the new one does not start, the old one is
# put back.
change_to() {
    before=$(slot_in_use)
    if service_runs; then
        say "stopping the service ..."
        systemctl stop edge-watch
        use_slot "$1"
        say "starting it with the new program ..."
        systemctl start edge-watch && return 0
        say "the service does not start with $1; journalctl -u edge-watch says why" >&2
        [ -n "$before" ] || exit 1
        systemctl stop edge-watch || true
        use_slot "$before"
        rm "$opt/$1/complete"
        systemctl start edge-watch || stop "the program before does not start either"
        stop "the update was taken back, the program before runs again"
    fi
    use_slot "$1"
}

make_users() {
    getent group edge-inbox >/dev/null || groupadd --system edge-inbox
    getent passwd edge-watch >/dev/null ||
        useradd --system --user-group --no-create-home --home-dir /var/lib/edge-watch \
            --shell /usr/sbin/nologin edge-watch
    usermod --append --groups edge-inbox edge-watch
}

make_folders() {
    mkdir -p "$root/var/lib" "$root/camera" "$root/etc/edge-watch"
    # Whoever brings pictures writes into the inbox by being in the group edge-inbox.
    if [ -n "$root" ]; then
        mkdir -p "$root/camera/inbox" "$root/var/lib/edge-watch"
    else
        [ -d /camera/inbox ] || install -d -m 2770 -o root -g edge-inbox /camera/inbox
        install -d -m 0750 -o edge-watch -g edge-watch /var/lib/edge-watch
    fi
    [ -e "$root/etc/edge-watch/config.toml" ] ||
        cp "$here/edge.example.toml" "$root/etc/edge-watch/config.toml"
}

install_program() {
    check_machine
    slot=$(other_slot)
    fill_slot "$slot"
    [ -n "$root" ] || make_users
    make_folders
    change_to "$slot"
    say "installed: $(cd / && "$program/bin/edge-watch" --version)"
    if has_systemd && service_runs; then return 0; fi
    say "the service is not running; put a model in place, then start it:"
    say "  sudo -u edge-watch edge-admin model install MODEL.onnx --state /var/lib/edge-watch"
    say "  sudo systemctl enable --now edge-watch"
}

roll_back() {
    slot=$(other_slot)
    [ -e "$opt/$slot/complete" ] || stop "there is no program before this one in $opt/$slot"
    answers "$slot" || stop "the program before does not run any more; nothing was changed"
    change_to "$slot"
    say "in use now: $(cd / && "$program/bin/edge-watch" --version)"
}

uninstall() {
    if has_systemd && [ -e "$unit" ]; then systemctl disable --now edge-watch; fi
    rm -f "$unit"
    for command in $commands; do
        [ ! -L "$root/usr/local/bin/$command" ] || rm "$root/usr/local/bin/$command"
    done
    if has_systemd; then systemctl daemon-reload; fi
    [ ! -L "$program" ] || rm "$program"
    rm -rf "$opt/fancl.a" "$opt/fancl.b"
    say "removed. Still there: $root/var/lib/edge-watch (all it knows), $root/camera/inbox," \
        "$root/etc/edge-watch, and the user edge-watch"
}

case $task in
    install) install_program ;;
    rollback) roll_back ;;
    uninstall) uninstall ;;
esac
