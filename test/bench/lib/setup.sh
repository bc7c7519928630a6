# shellcheck shell=sh disable=SC2154 # variables of the benchmark
# What a benchmark begins with (POSIX sh; to be sourced after scripts/lib/cluster.sh).
#
#   usage STATUS            # prints the comment at the top of the script
#   fail MESSAGE…
#   quietly COMMAND…        # its output is shown only if it fails
#   set_up                  # $PG_CONFIG, $work: a directory that goes at the end, with the servers in it
#   install_tree            # builds this tree, if $build is not empty, and finds the server's programs

usage() {
  sed -n '2,/^set/s/^#\( \|$\)//p' "$0"
  exit "$1"
}

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

quietly() {
  "$@" >"$work/log" 2>&1 || {
    tail -n 40 "$work/log" >&2
    fail "failed: $*"
  }
}

clean_up() {
  for server in "$work"/*/data "$work"/*/*/data; do stop_cluster "${server%/data}" || true; done
  rm -rf "$work"
}

# Tests and the demo install into the same place.
take_turn() {
  cache=${TRAIN_PERF_CACHE:-/var/cache/train_perf}
  mkdir -p "$cache"
  exec 9>"$cache/server-$PG_VERSION.lock"
  flock --nonblock 9 || {
    echo 'waiting for another run to end'
    flock 9
  }
}

set_up() {
  if [ -z "${PG_CONFIG:-}" ]; then
    PG_CONFIG=$PG_BIN/pg_config
    take_turn
  fi
  work=$(mktemp -d "${TMPDIR:-/tmp}/train_perf_bench.XXXXXX")
  chmod 755 "$work"
  trap clean_up EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

# In a copy: the tree stays as it is. Without bitcode, which would take as long again.
build() {
  mkdir "$work/tree"
  (cd "$top" && tar -cf - --exclude=.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' .) |
    tar -C "$work/tree" -xf -
  set -- make -s -C "$work/tree" with_llvm=no PG_CONFIG="$PG_CONFIG"
  quietly "$@" -j "$(nproc)"
  quietly "$@" install
}

install_tree() {
  PG_BIN=$("$PG_CONFIG" --bindir)
  PATH=$PG_BIN:$PATH
  [ -z "$build" ] || build
}
