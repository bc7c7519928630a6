# shellcheck shell=sh disable=SC2154 # variables of the benchmark
# What must hold (POSIX sh; to be sourced after tables.sh).
#
#   missed MESSAGE                              # a limit was missed
#   median_ratio COLUMN ROW VARIANT <RECORDS    # to train_perf's, of records for compare.pl
#   at_least LEAST VALUE WHAT                   # missed, if it is less
#   at_most MOST VALUE WHAT                     # the same, if it is more
#   report_limits                               # the end: prints them; its status is 1 if there are any

missed() { printf '%s\n' "$*" >>"$work/missed"; }

median_ratio() {
  awk -F '\t' -v column="$1" -v row="$2" -v variant="$3" '
    $1 == row { value[$3, $2] = $(3 + column); rounds[$2] = 1 }
    END { for (r in rounds) if (value["train_perf", r] > 0) print value[variant, r] / value["train_perf", r] }' |
    sort -g | awk '{ ratio[NR] = $1 } END { print ratio[int((NR + 1) / 2)] }'
}

at_least() {
  awk -v least="$1" -v value="$2" 'BEGIN { exit !(value + 0 >= least + 0) }' || missed "$3: $2, not $1"
}

at_most() {
  awk -v most="$1" -v value="$2" 'BEGIN { exit !(value + 0 <= most + 0) }' || missed "$3: $2, not $1"
}

report_limits() {
  if [ -s "$work/missed" ]; then
    text 'Limits that were missed:' "$(sed 's/^/- /' "$work/missed")"
    return 1
  fi
  text 'All limits are kept.'
}
