# shellcheck shell=sh disable=SC2154 # variables of capture
# What is printed: Markdown that reads well as plain text (POSIX sh; to be sourced).
#
#   markdown=FILE                    # optional: it goes there, too
#   text PARAGRAPH…
#   table <ROWS                      # fields separated by tabs, the first row is the heading
#   compare COLUMN FORMAT HEADING <RECORDS   # of $variants, see compare.pl

emit() {
  if [ -n "$markdown" ]; then tee -a "$markdown"; else cat; fi
}

text() { printf '%s\n\n' "$@" | emit; }

table() { perl "$bench/lib/table.pl" | emit; }

compare() {
  # shellcheck disable=SC2046 # a list of words
  perl "$bench/lib/compare.pl" "$1" "$2" "$3" none $(peers) | table
}

print_machine() {
  text "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, \
$(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r), \
$("$PG_CONFIG" --version), train_perf $(git -C "$top" describe --always --dirty 2>/dev/null || echo '(not a clone)'), \
load $(cut -d ' ' -f 1 /proc/loadavg) before the start"
}
