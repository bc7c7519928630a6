# shellcheck shell=sh
# Debian systems in a folder, one for each PostgreSQL that Debian 12 does not have (POSIX sh; to be sourced).
#
#   . scripts/lib/packages.sh
#   . scripts/lib/roots.sh
#   prepare_root 17                # trixie; 18: forky. A minute and a half the first time, then nothing
#   in_root 17 sh /tmp/job.sh      # the command inside, with /proc, /sys and /dev
#   path=$(root_path 17)           # where it is on this machine
#
# They are kept in TRAIN_PERF_CACHE (/var/cache/train_perf) and rebuilt when the package list changes.
# Each command runs in a mount namespace of its own, so nothing stays mounted, however it ends.

TRAIN_PERF_CACHE=${TRAIN_PERF_CACHE:-/var/cache/train_perf}

root_path() { echo "$TRAIN_PERF_CACHE/root-$1"; }

root_suite() {
  case $1 in
    17) echo trixie ;;
    18) echo forky ;;
    *) echo "no Debian suite is known for PostgreSQL $1" >&2; return 1 ;;
  esac
}

root_packages() {
  echo "postgresql-$1 postgresql-server-dev-$1 postgresql-$1-pgtap postgresql-$1-cron" \
    "postgresql-$1-pgaudit g++ make libipc-run-perl libtap-parser-sourcehandler-pgtap-perl"
}

root_stamp() { echo "$(root_suite "$1") $(root_packages "$1")" | cksum; }

# The Debian mirror that apt uses here.
debian_mirror() {
  found=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    sed -n -e 's/^URIs: *\([^ ]*\).*/\1/p' -e 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\).*/\2/p' |
    grep -m 1 -E '^http.*/debian/?$') || true
  echo "${found:-http://deb.debian.org/debian}"
}

# Runs a command whose mounts end with it. Inside a chroot "/" is no mount point, and its propagation
# cannot be changed.
own_mounts() {
  if unshare --mount true 2>/dev/null; then propagation=private; else propagation=unchanged; fi
  unshare --mount --propagation "$propagation" "$@"
}

# with_kernel_mounts ROOT COMMAND…: COMMAND runs on this machine, with /proc, /sys and /dev in ROOT.
with_kernel_mounts() {
  # shellcheck disable=SC2016 # expanded by the inner shell
  own_mounts sh -c '
    root=$1 mounted= status=
    shift
    trap : INT TERM
    for dir in proc sys dev dev/pts dev/shm; do
      [ -d "/$dir" ] || continue
      mount --bind "/$dir" "$root/$dir" || { status=1; break; }
      mounted="$dir $mounted"
    done
    [ -n "$status" ] || { "$@"; status=$?; }
    for dir in $mounted; do umount "$root/$dir" || umount --lazy "$root/$dir"; done
    exit "$status"' sh "$@"
}

in_root() {
  entered=$(root_path "$1")
  shift
  with_kernel_mounts "$entered" chroot "$entered" env TMPDIR=/tmp "$@"
}

mounts_below() { awk -v below="$1/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo; }

remove_root() {
  [ -e "$1" ] || return 0
  mounts_below "$1" | sort -r | while read -r mounted; do umount "$mounted"; done
  if [ -n "$(mounts_below "$1")" ]; then
    echo "something is still mounted in $1: not removed" >&2
    return 1
  fi
  rm -rf --one-file-system "$1"
}

# What of the machine's apt and network settings a root needs to reach the same mirror.
copy_network_settings() {
  apt-config dump | grep -E '^Acquire::(https?|Check-|Retries|Force)' >"$1/etc/apt/apt.conf.d/90host" || true
  echo 'Acquire::Check-Valid-Until "false";' >>"$1/etc/apt/apt.conf.d/90host"
  echo 'Acquire::Languages "none";' >>"$1/etc/apt/apt.conf.d/90host"
  cp /etc/hosts /etc/resolv.conf "$1/etc/"
}

# Bare system; debootstrap of Debian 12 does not know the newest suites, all use the script of sid.
bootstrap_root() {
  eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
  [ -z "${http_proxy:-}" ] || export http_proxy
  own_mounts debootstrap --variant=minbase "$2" "$1" "$(debian_mirror)" \
    /usr/share/debootstrap/scripts/sid || return
  echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/unsafe-io"
  mkdir -p "$1/etc/postgresql-common"
  echo 'create_main_cluster = false' >"$1/etc/postgresql-common/createcluster.conf"
  copy_network_settings "$1"
}

build_root() {
  # shellcheck disable=SC2046 # a list of words
  remove_root "$2" &&
    bootstrap_root "$2" "$(root_suite "$1")" &&
    in_root "$1" apt-get update &&
    in_root "$1" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
      apt-get install -y --no-install-recommends $(root_packages "$1") &&
    in_root "$1" apt-get clean &&
    root_stamp "$1" >"$2/train_perf.stamp"
}

# prepare_root VERSION: does nothing when it is complete already.
prepare_root() (
  mkdir -p "$TRAIN_PERF_CACHE" || return
  exec 8>"$TRAIN_PERF_CACHE/root-$1.lock"
  flock 8
  root=$(root_path "$1")
  [ "$(cat "$root/train_perf.stamp" 2>/dev/null)" = "$(root_stamp "$1")" ] || build_root "$1" "$root" 8>&-
)
