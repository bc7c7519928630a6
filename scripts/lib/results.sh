# shellcheck shell=sh
# Counts what passed and failed (POSIX sh; to be sourced).
#
#   RESULTS=/tmp/results               # the file that collects the counts
#   . scripts/lib/results.sh
#   record 'clang-format' 1 0          # LABEL PASSED FAILED
#   print_totals                       # "N passed, M failed"; fails unless M = 0 and N > 0
#
# conclude_… LABEL STATUS LOG…: counts what a finished test program wrote, prints its log if it failed.
# A program that failed without naming a failed test counts as one.

lap_began=$(date +%s)

# Sets seconds to the time since the last call.
lap() {
  now=$(date +%s)
  seconds=$((now - lap_began)) lap_began=$now
}

record() {
  lap
  printf '%s %s %s\n' "$2" "$3" "$1" >>"$RESULTS"
  printf '  %s: %s passed, %s failed, %s s\n' "$1" "$2" "$3" "$seconds"
}

print_totals() {
  awk '{ passed += $1; failed += $2 }
    END { printf "%d passed, %d failed\n", passed, failed; exit !(passed > 0 && failed == 0) }' "$RESULTS"
}

# count PATTERN FILE…: the lines that match.
count() {
  pattern=$1
  shift
  cat "$@" 2>/dev/null | grep -cE "$pattern" || true
}

# conclude LABEL STATUS PASSED FAILED LOG
conclude() {
  failed=$4
  [ "$2" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
  [ "$3" -gt 0 ] || [ "$failed" -gt 0 ] || failed=1
  [ "$failed" -eq 0 ] || sed 's/^/    /' "$5"
  record "$1" "$3" "$failed"
}

# pg_regress and pg_isolation_regress: "test a ... ok" in PostgreSQL 15, TAP from 16.
conclude_regress() {
  conclude "$1" "$2" "$(count '^(test|    ) *[^ ]+ +\.\.\. ok|^ok [0-9]' "$3")" \
    "$(count '\.\.\. FAILED|^not ok [0-9]' "$3")" "$3"
}

# prove with its raw TAP kept below a folder: conclude_tap LABEL STATUS LOG FOLDER. Top-level assertions
# count; a file that broke its plan counts as a failure more, skipped and todo ones are only mentioned.
conclude_tap() {
  cat "$4"/*/*/* >"$4/all" 2>/dev/null || true
  tap_skipped=$(count '^(ok .*# *(skip|SKIP)|not ok .*# *TODO|1\.\.0)' "$4/all")
  [ "$tap_skipped" -eq 0 ] || grep -hE '^(ok .*# *(skip|SKIP)|not ok .*# *TODO|1\.\.0)' "$4/all" | sed 's/^/    /'
  tap_ok=$(($(count '^ok( |$)' "$4/all") - $(count '^ok .*# *(skip|SKIP)' "$4/all")))
  tap_failed=$(($(count '^not ok( |$)' "$4/all") - $(count '^not ok .*# *TODO' "$4/all")))
  conclude "$1" "$2" "$tap_ok" "$((tap_failed + $(count '^  Parse errors: ' "$3")))" "$3"
}
