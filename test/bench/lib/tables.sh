# shellcheck shell=sh disable=SC2154 # variables of capture
# Tables, as Markdown that reads well as plain text (POSIX sh; to be sourced).
#
#   markdown=FILE        # optional: they go there, too
#   text 'A line.'
#   table <ROWS          # fields separated by tabs, the first row is the heading

emit() {
  if [ -n "${markdown:-}" ]; then tee -a "$markdown"; else cat; fi
}

text() { printf '%s\n' "$*" | emit; }

# Numbers stand to the right.
table() {
  {
    awk -F '\t' '
      { for (i = 1; i <= NF; ++i) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) } columns = NF }
      function dashes(n,  s) { while (n-- > 0) s = s "-"; return s }
      END {
        for (row = 1; row <= NR; ++row) {
          line = "|"
          for (i = 1; i <= columns; ++i) line = line sprintf(i == 1 ? " %-*s |" : " %*s |", width[i], cell[row, i])
          print line
          if (row > 1) continue
          line = "|"
          for (i = 1; i <= columns; ++i) line = line (i == 1 ? dashes(width[i] + 2) : dashes(width[i] + 1) ":") "|"
          print line
        }
      }'
    echo
  } | emit
}

print_machine() {
  text "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores," \
    "$(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo)," \
    "Linux $(uname -r), $("$PG_CONFIG" --version)," \
    "train_perf $(git -C "$top" describe --always --dirty 2>/dev/null || echo '(not a clone)')"
  text ''
}
