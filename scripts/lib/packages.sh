# shellcheck shell=sh
# Debian packages that a script needs (POSIX sh; to be sourced, needs root only when something is missing).
#
#   . scripts/lib/packages.sh
#   install_packages make postgresql-15      # or one string: "make postgresql-15"
#
# Only what is missing is installed; the package lists are refreshed only when apt cannot do without.
# Where PostgreSQL was not installed before, Debian's default cluster is not created.
# Output of apt is shown only if it fails. Returns non-zero when a package could not be installed.

# The words of LIST that are not installed, one per line.
missing_packages() {
  # shellcheck disable=SC2048 # a list of words
  for package in $*; do
    status=$(dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | head -n 1) || true
    [ "$status" = installed ] || printf '%s\n' "$package"
  done
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

prevent_default_cluster() {
  [ -z "$(missing_packages postgresql-common)" ] || [ -e /etc/postgresql-common/createcluster.conf ] || {
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  }
}

install_packages() {
  # shellcheck disable=SC2046,SC2048,SC2086 # a list of words
  set -- $(missing_packages $*)
  [ "$#" -gt 0 ] || return 0
  echo "installing: $*"
  case " $*" in *' postgresql'*) prevent_default_cluster ;; esac
  apt_log=$(mktemp)
  if apt_install "$@" >"$apt_log" 2>&1 ||
    { apt-get update >>"$apt_log" 2>&1 && apt_install "$@" >>"$apt_log" 2>&1; }; then
    rm -f "$apt_log"
  else
    tail -n 40 "$apt_log" >&2
    rm -f "$apt_log"
    return 1
  fi
}
