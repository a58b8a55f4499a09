#!/bin/sh
# Installs the device's side of fancl under /opt/fancl, and its service. Run again to update.
#   sudo sh install.sh fancl-0.1.0-py3-none-any.whl [FOLDER_WITH_WHEELS]
# With a folder of wheels (made with `pip download`), nothing is fetched from the network.
set -eu

say() { printf '%s\n' "$*"; }
stop() { say "error: $*" >&2; exit 1; }

[ $# -ge 1 ] || stop "give the wheel: sh install.sh fancl-VERSION-py3-none-any.whl [FOLDER_WITH_WHEELS]"
wheel=$1
wheels=${2:-}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}

[ "$(id -u)" = 0 ] || stop "this writes to /opt and /etc; run it with sudo"
[ -f "$wheel" ] || stop "there is no file $wheel"
[ "$(uname -s)" = Linux ] || stop "the device's side runs on Linux only, this is $(uname -s)"
case $(uname -m) in
    x86_64 | aarch64) ;;
    *) stop "a 64-bit system is needed (x86-64 or aarch64), this is $(uname -m)" ;;
esac
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10) or sys.maxsize < 2**32)' ||
    stop "a 64-bit Python 3.10 or later is needed; name one: PYTHON=python3.12 sh install.sh ..."

if [ ! -x /opt/fancl/bin/python ]; then
    "$python" -m venv /opt/fancl ||
        stop "cannot make /opt/fancl; on Debian and Ubuntu: apt install python3-venv"
fi

say "installing $wheel into /opt/fancl ..."
if [ -n "$wheels" ]; then
    set -- --no-index --find-links "$wheels"
else
    set --
fi
# Twice: first what it needs, then the wheel itself even if its version has not changed.
/opt/fancl/bin/python -m pip install -q "$@" "${wheel}[edge]"
/opt/fancl/bin/python -m pip install -q "$@" --no-deps --force-reinstall "$wheel"

getent group edge-inbox >/dev/null || groupadd --system edge-inbox
getent passwd edge-watch >/dev/null ||
    useradd --system --user-group --no-create-home --home-dir /var/lib/edge-watch \
        --shell /usr/sbin/nologin edge-watch
usermod --append --groups edge-inbox edge-watch
# Whoever brings pictures writes into the inbox by being in the group edge-inbox.
if [ ! -d /camera/inbox ]; then
    install -d -m 2770 -o root -g edge-inbox /camera/inbox
fi
install -d -m 0750 -o edge-watch -g edge-watch /var/lib/edge-watch

install -d -m 0755 /etc/edge-watch /opt/fancl/share
install -m 0644 "$here/README.md" /opt/fancl/share/README.md
[ -e /etc/edge-watch/config.toml ] ||
    install -m 0644 "$here/edge.example.toml" /etc/edge-watch/config.toml
for command in edge-watch edge-gallery edge-report edge-admin; do
    ln -sf "/opt/fancl/bin/$command" "/usr/local/bin/$command"
done

if [ -d /run/systemd/system ]; then
    install -m 0644 "$here/edge-watch.service" /etc/systemd/system/edge-watch.service
    systemctl daemon-reload
    say "service installed, not started; put a model in place first (see /opt/fancl/share/README.md):"
else
    say "no systemd here: start edge-watch yourself; put a model in place first:"
fi
say "  sudo -u edge-watch edge-admin model install MODEL.onnx --state /var/lib/edge-watch"
